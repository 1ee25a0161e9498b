//! Every endpoint of the table over HTTP, answered by stand-ins: what was asked for is what comes, in the documented form.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use base64::Engine as _;
use reqwest::Method;
use scumble_api::{ENDPOINTS, Endpoint, FileShape, Kind};
use scumble_testkit::server::{Setup, TestServer};
use serde_json::{Map, Value, json};

async fn server() -> TestServer {
    TestServer::standing_in(Setup::default()).await
}

async fn call(server: &TestServer, endpoint: &Endpoint, input: &Map<String, Value>) -> Value {
    let answer = server.request(Method::POST, &format!("/run/{}", endpoint.id)).json(input).send().await.unwrap();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{}: {body}", endpoint.id);
    body
}

/// The full example, with two small pictures, a seed and the pictures inside the answer, as far as it has such fields.
fn small(endpoint: &Endpoint) -> Map<String, Value> {
    let mut input = endpoint.full_example();
    let wanted = [
        ("image_size", json!({ "width": 96, "height": 80 })),
        ("num_images", json!(2)),
        ("seed", json!(11)),
        ("sync_mode", json!(true)),
    ];
    input.extend(wanted.into_iter().filter(|(name, _)| endpoint.field(name).is_some()).map(|(n, v)| (n.to_owned(), v)));
    input
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn stand_ins_obey_size_number_format_sync_mode_and_seed_of_every_endpoint() {
    let server = server().await;
    // the starter is no stand-in: it is always there
    for endpoint in ENDPOINTS.iter().filter(|e| e.id != "scumble/starter") {
        let output = call(&server, endpoint, &small(endpoint)).await;
        let shape = endpoint.output;
        let expected = [
            ("timings", shape.timings),
            ("seed", shape.seed),
            ("has_nsfw_concepts", shape.flags),
            ("prompt", shape.prompt),
        ];
        let expected = expected.into_iter().filter(|(_, there)| *there).map(|(name, _)| name);
        assert_eq!(keys(&output), ["images"].into_iter().chain(expected).collect::<Vec<_>>(), "{}", endpoint.id);
        let images = output["images"].as_array().unwrap();
        let count = if endpoint.field("num_images").is_some() { 2 } else { 1 };
        assert_eq!(images.len(), count, "{}", endpoint.id);
        if shape.seed {
            assert_eq!(output["seed"], 11, "{}", endpoint.id);
        }
        for image in images {
            check_picture(endpoint, image).await;
        }
    }
}

async fn check_picture(endpoint: &Endpoint, image: &Value) {
    let expected: &[&str] = match endpoint.output.file {
        FileShape::Image => &["url", "width", "height", "content_type"],
        FileShape::LongImage => &["url", "content_type", "file_name", "file_size", "width", "height"],
        FileShape::File { .. } => &["url", "content_type", "file_name", "file_size"],
    };
    assert_eq!(keys(image), expected, "{}", endpoint.id);
    let url = image["url"].as_str().unwrap();
    assert_eq!(url.starts_with("data:"), endpoint.field("sync_mode").is_some(), "{}", endpoint.id);
    let bytes = match url.split_once(";base64,") {
        Some((_, text)) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        None => reqwest::get(url).await.unwrap().bytes().await.unwrap().to_vec(),
    };
    let format = image::guess_format(&bytes).unwrap();
    assert_eq!(format.to_mime_type(), image["content_type"].as_str().unwrap(), "{}", endpoint.id);
    let picture = image::load_from_memory(&bytes).unwrap();
    if endpoint.field("image_size").is_some() {
        assert_eq!((picture.width(), picture.height()), (96, 80), "{}", endpoint.id);
    } else if endpoint.edits() && endpoint.field("aspect_ratio").is_none() {
        // as large as the sample picture
        assert_eq!((picture.width(), picture.height()), (256, 256), "{}", endpoint.id);
    }
}

#[tokio::test]
async fn every_refused_field_is_named_with_its_place_its_kind_and_its_limit() {
    let server = server().await;
    for endpoint in ENDPOINTS {
        for field in endpoint.fields() {
            let (wrong, limit) = match field.kind {
                Kind::Integer { max, .. } => (json!(max + 1), Some(("le", json!(max)))),
                Kind::Number { min, .. } if min.is_finite() => (json!(min - 1.0), Some(("ge", json!(min)))),
                _ => (json!({ "no": ["such", "thing"] }), None),
            };
            let mut input = endpoint.least_example();
            input.insert(field.name.into(), wrong);
            let answer =
                server.request(Method::POST, &format!("/run/{}", endpoint.id)).json(&input).send().await.unwrap();
            if matches!(field.kind, Kind::ImageSize { .. } | Kind::Object(_)) {
                // an object of unknown names is an object
                continue;
            }
            assert_eq!(answer.status(), 422, "{} {}", endpoint.id, field.name);
            let body: Value = answer.json().await.unwrap();
            let problem = &body["detail"][0];
            assert_eq!(problem["loc"], json!(["body", field.name]), "{}", endpoint.id);
            assert!(problem["msg"].is_string() && problem["type"].is_string() && problem["url"].is_string());
            if let Some((name, value)) = limit {
                assert_eq!(problem["ctx"][name], value, "{} {}", endpoint.id, field.name);
            }
        }
    }
}

#[tokio::test]
async fn vectors_come_as_svg_and_a_broken_picture_is_refused_at_its_field() {
    let server = server().await;
    let recraft = scumble_api::find("fal-ai/recraft/v2/text-to-image").unwrap();
    let input = json!({ "prompt": "<b>&", "style": "vector_illustration/line_art" });
    let output = call(&server, recraft, input.as_object().unwrap()).await;
    let image = &output["images"][0];
    assert_eq!((&image["content_type"], &image["file_name"]), (&json!("image/svg+xml"), &json!("image.svg")));
    let file = reqwest::get(image["url"].as_str().unwrap()).await.unwrap();
    assert_eq!(file.headers()["x-content-type-options"], "nosniff");
    assert!(file.headers()["content-security-policy"].to_str().unwrap().contains("sandbox"));
    let text = file.text().await.unwrap();
    assert!(text.starts_with("<svg") && text.contains("&lt;b&gt;&amp;"), "{text}");

    let input = json!({ "prompt": "x", "image_url": "data:image/png;base64,AAAA", "mask_url": "no address" });
    let answer = server.request(Method::POST, "/run/fal-ai/flux-pro/v1/fill").json(&input).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let body: Value = answer.json().await.unwrap();
    let found: Vec<_> =
        body["detail"].as_array().unwrap().iter().map(|p| (p["loc"][1].clone(), p["type"].clone())).collect();
    assert_eq!(
        found,
        [(json!("image_url"), json!("image_load_error")), (json!("mask_url"), json!("file_download_error"))]
    );
}
