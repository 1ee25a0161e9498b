//! What programs and people read about every endpoint, as files: a change of the table shows here in words. Written anew by
//! `UPDATE_EXPECT=1 cargo test -p scumble-api --test faces`.

use std::path::PathBuf;

use expect_test::expect_file;
use scumble_api::faces::{self, Edition, Places};
use scumble_api::{Answers, ENDPOINTS, Endpoint, Lack, Standing};
use serde_json::Value;

fn places() -> Places {
    Places { run: "http://h/run".into(), queue: "http://h/queue".into(), pages: "http://h".into() }
}

/// As in an installation that has nothing but the starter.
fn standing(endpoint: &Endpoint) -> Standing {
    let nothing = |lack| Answers::Nothing { lack, advice: "What to do about it.".to_owned() };
    let answers = match (endpoint.id, endpoint.family.maker()) {
        ("scumble/starter", _) => Answers::Here,
        (_, Some(_)) => nothing(Lack::Key),
        (_, None) => nothing(Lack::Weights),
    };
    Standing::of(endpoint, Some(&answers))
}

fn file(id: &str, end: &str) -> PathBuf {
    let name = format!("{}.{end}", id.replace('/', "-"));
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/faces").join(name)
}

/// Without the bytes of sample pictures.
fn short(text: &str) -> String {
    let mut parts = text.split("data:image/png;base64,");
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+/=".contains(c));
        short = short + "data:image/png;base64,…" + rest;
    }
    short
}

#[test]
fn openapi() {
    for endpoint in ENDPOINTS {
        let document = faces::openapi(endpoint, &places(), Edition::V3_1);
        let text = short(&format!("{:#}\n", document["components"]["schemas"]));
        expect_file![file(endpoint.id, "json")].assert_eq(&text);
    }
    let whole = faces::openapi(&ENDPOINTS[0], &places(), Edition::V3_0);
    expect_file![file("whole", "json")].assert_eq(&format!("{whole:#}\n"));
    // of the whole server: the endpoints' schemas are above
    let document = faces::openapi_of_server(&places());
    let calls = |(path, methods): (&String, &Value)| {
        let names = methods.as_object().into_iter().flatten().map(|(method, call)| {
            let answers: Vec<&str> =
                call["responses"].as_object().into_iter().flatten().map(|(s, _)| s.as_str()).collect();
            format!("{method} {path} {} {}\n", call["operationId"].as_str().unwrap_or_default(), answers.join(" "))
        });
        names.collect::<String>()
    };
    let list: String = document["paths"].as_object().into_iter().flatten().map(calls).collect();
    expect_file![file("server", "calls")].assert_eq(&list);
}

#[test]
fn llms() {
    for endpoint in ENDPOINTS {
        expect_file![file(endpoint.id, "md")].assert_eq(&short(&faces::llms_of(
            endpoint,
            &places(),
            &standing(endpoint),
        )));
    }
    expect_file![file("all", "md")].assert_eq(&faces::llms(&places(), &standing));
}

#[test]
fn terminal() {
    for endpoint in ENDPOINTS {
        expect_file![file(endpoint.id, "txt")].assert_eq(&short(&faces::terminal_page(endpoint, &standing(endpoint))));
    }
    expect_file![file("all", "txt")].assert_eq(&faces::terminal_list(&standing));
}
