//! Walks the table: what every page promises of every field, and what it refuses.

use scumble_api::{ENDPOINTS, Endpoint, Field, Kind, PRESETS, Scope};
use serde_json::{Map, Value, json};

/// A value that a field of this kind refuses, whatever its limits.
fn wrong(kind: &Kind) -> Value {
    match kind {
        Kind::Text | Kind::Image | Kind::Mask { .. } | Kind::Weights { .. } => json!(7),
        Kind::Integer { max, .. } => json!(max + 1),
        Kind::Number { max, .. } if max.is_finite() => json!(max + 0.5),
        Kind::Number { .. } => json!("much"),
        Kind::Boolean => json!("perhaps"),
        Kind::Choice(_) | Kind::ImageSize { .. } => json!("no such word"),
        Kind::Seed => json!(-2),
        Kind::Hex { .. } => json!("xyz"),
        Kind::List { .. } => json!("not a list"),
        Kind::Object(_) => json!("not an object"),
    }
}

/// Values at the edges of what a field takes.
fn edges(kind: &Kind) -> Vec<Value> {
    match *kind {
        Kind::Text => vec![json!(""), json!("ä\u{1f98e}\n")],
        Kind::Image | Kind::Mask { .. } => {
            vec![json!("https://example.com/a.png"), json!("data:image/png;base64,AA==")]
        }
        Kind::Weights { .. } => vec![json!("owner/name"), json!("data:application/octet-stream;base64,AA==")],
        Kind::Integer { min, max } => vec![json!(min), json!(max)],
        Kind::Number { min, max } if min.is_finite() => vec![json!(min), json!(max)],
        Kind::Number { .. } => vec![json!(-3.5), json!(100)],
        Kind::Boolean => vec![json!(true), json!(false)],
        Kind::Choice(words) => words.iter().map(|word| json!(word)).collect(),
        Kind::ImageSize { min, .. } => vec![json!({ "width": min, "height": min }), json!({}), json!({ "width": 512 })],
        Kind::Seed => vec![json!(0), json!(u64::MAX)],
        Kind::Hex { digits } => vec![json!("0".repeat(digits)), json!("aF".repeat(digits / 2))],
        Kind::List { item, max } => {
            let many = edges(item).into_iter().cycle().take(max).collect();
            vec![json!([]), Value::Array(many)]
        }
        Kind::Object(shape) => {
            let least = shape.fields.iter().filter(|f| f.is_required());
            vec![least.map(|f| (f.name.to_owned(), edges(&f.kind)[0].clone())).collect::<Map<_, _>>().into()]
        }
    }
}

/// The names of refused fields and the kinds of their problems.
fn problems(endpoint: &'static Endpoint, body: Map<String, Value>) -> Vec<(String, String)> {
    let problems = endpoint.parse(&Value::Object(body), Scope::Wire).err().unwrap_or_default();
    problems.iter().map(|p| (p.loc[1].as_str().unwrap_or_default().to_owned(), p.kind.clone())).collect()
}

fn with(endpoint: &Endpoint, field: &Field, value: Value) -> Map<String, Value> {
    let mut body = endpoint.least_example();
    body.insert(field.name.to_owned(), value);
    body
}

#[test]
fn ids_are_unique_and_well_formed() {
    let mut ids: Vec<&str> = ENDPOINTS.iter().map(|e| e.id).collect();
    assert!(ids.iter().all(|id| scumble_api::EndpointId::parse(id).is_some()));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), ENDPOINTS.len());
    // 13 pages and 12 siblings, FLUX dev and four of its family, HiDream-I1 dev, and the starter
    assert_eq!(ENDPOINTS.len(), 32);
}

#[test]
fn examples_are_accepted_as_they_stand() {
    for endpoint in ENDPOINTS {
        assert!(!endpoint.example().is_empty(), "{}: the example is no object of JSON", endpoint.id);
        for example in [endpoint.example(), endpoint.least_example(), endpoint.full_example()] {
            assert_eq!(problems(endpoint, example), [], "{}", endpoint.id);
        }
    }
}

#[test]
fn nothing_promises_a_checker_that_is_not_there() {
    for endpoint in ENDPOINTS {
        if let Some(field) = endpoint.field("enable_safety_checker") {
            let says = match endpoint.family.maker() {
                Some(_) => ["Black Forest Labs always checks", "Whether the maker refuses"],
                None => ["Where none is set, nothing is checked"; 2],
            };
            assert!(says.iter().any(|words| field.help.contains(words)), "{}: {}", endpoint.id, field.help);
        }
        let seeded = endpoint.field("num_images").is_none_or(|field| field.help.contains("seed"));
        assert!(seeded, "{}: num_images says nothing of the seed", endpoint.id);
    }
    assert!(scumble_api::FLAGS_HELP.contains("has set no checker"));
}

#[test]
fn every_word_and_every_edge_is_accepted() {
    for endpoint in ENDPOINTS {
        for field in endpoint.fields() {
            for value in edges(&field.kind) {
                let said = value.to_string();
                assert_eq!(
                    problems(endpoint, with(endpoint, field, value)),
                    [],
                    "{} {} {said}",
                    endpoint.id,
                    field.name
                );
            }
            if let Kind::ImageSize { .. } = field.kind {
                // a model that draws small pictures only scales the large presets
                for (name, width, height) in PRESETS.iter().filter(|_| endpoint.id != "scumble/starter") {
                    let input = endpoint.parse(&Value::Object(with(endpoint, field, json!(name))), Scope::Wire);
                    let size = input.expect("a preset").request().size.pixels(None);
                    assert_eq!((size.width, size.height), (*width, *height), "{} {name}", endpoint.id);
                }
            }
        }
    }
}

#[test]
fn one_wrong_value_is_one_problem_at_its_field() {
    for endpoint in ENDPOINTS {
        for field in endpoint.fields() {
            let found = problems(endpoint, with(endpoint, field, wrong(&field.kind)));
            assert_eq!(found.len(), 1, "{} {}: {found:?}", endpoint.id, field.name);
            assert_eq!(found[0].0, field.name, "{}", endpoint.id);
        }
        let missing = problems(endpoint, Map::new());
        let required = endpoint.fields().iter().filter(|f| f.is_required());
        let expected: Vec<_> = required.map(|f| (f.name.to_owned(), "missing".to_owned())).collect();
        assert_eq!(missing, expected, "{}", endpoint.id);
    }
}

#[test]
fn defaults_are_values_that_their_own_field_accepts() {
    for endpoint in ENDPOINTS {
        for (field, default) in endpoint.fields().iter().filter_map(|f| Some((f, f.default()?))) {
            let input = endpoint.parse(&Value::Object(endpoint.least_example()), Scope::Wire).expect("the example");
            if !endpoint.least_example().contains_key(field.name) {
                assert_eq!(input.values()[field.name], default, "{} {}", endpoint.id, field.name);
            }
            assert_eq!(problems(endpoint, with(endpoint, field, default)), [], "{} {}", endpoint.id, field.name);
        }
    }
}

#[test]
fn problems_inside_lists_and_objects_are_found_where_they_are() {
    let endpoint = scumble_api::find("fal-ai/ideogram/v3").expect("it is in the table");
    let member = |weight: f64| json!({ "rgb": { "r": 300 }, "color_weight": weight });
    let body = json!({
        "prompt": "x", "style_codes": ["0a1B2c3D", "nothex"], "style": "AUTO", "image_urls": ["a", 4],
        "color_palette": { "name": "EMBER", "members": [member(0.5), member(7.0)] },
    });
    let problems = endpoint.parse(&body, Scope::Wire).expect_err("many problems");
    let found: Vec<_> = problems.iter().map(|p| (Value::from(p.loc.clone()), p.kind.as_str())).collect();
    let expected = [
        (json!(["body", "image_urls", 1]), "string_type"),
        (json!(["body", "color_palette", "members", 0, "rgb", "r"]), "less_than_equal"),
        (json!(["body", "color_palette", "members", 1, "rgb", "r"]), "less_than_equal"),
        (json!(["body", "color_palette", "members", 1, "color_weight"]), "less_than_equal"),
        (json!(["body", "color_palette", "name"]), "value_error"),
        (json!(["body", "style_codes", 1]), "string_pattern_mismatch"),
        (json!(["body", "style_codes"]), "value_error"),
        (json!(["body", "style_codes"]), "value_error"),
    ];
    assert_eq!(found, expected);
    let long = json!({ "prompt": "x", "input_image_urls": ["a", "b", "c", "d"] });
    let omnigen = scumble_api::find("fal-ai/omnigen-v2").expect("it is in the table");
    let problems = omnigen.parse(&long, Scope::Wire).expect_err("one too many");
    assert_eq!((problems[0].kind.as_str(), &problems[0].ctx["max_length"]), ("sequence_too_long", &json!(3)));
}

#[test]
fn sizes_follow_ratios_pictures_and_fixed_rules() {
    let size = |id: &str, body: Value| {
        let endpoint = scumble_api::find(id).expect("it is in the table");
        format!("{:?}", endpoint.parse(&body, Scope::Wire).expect("valid").request().size)
    };
    assert!(size("fal-ai/ideogram/v2", json!({ "prompt": "x", "aspect_ratio": "16:9" })).contains("width: 1312"));
    assert!(size("fal-ai/flux-pro/v1.1-ultra", json!({ "prompt": "x" })).contains("width: 2752"));
    assert!(size("fal-ai/aura-flow", json!({ "prompt": "x" })).contains("width: 1024, height: 1024"));
    let stable = "fal-ai/stable-diffusion-v35-large";
    assert!(size(stable, json!({ "prompt": "x" })).contains("width: 1024, height: 768"));
    let control = json!({ "path": "a/b", "control_image_url": "https://c/d.png" });
    assert_eq!(size(stable, json!({ "prompt": "x", "controlnet": control })), r#"Like("https://c/d.png")"#);
    let asked = json!({ "prompt": "x", "controlnet": control, "image_size": "square" });
    assert!(size(stable, asked).contains("width: 512"));
    let fill = json!({ "prompt": "x", "image_url": "u", "mask_url": "m" });
    assert_eq!(size("fal-ai/flux-pro/v1/fill", fill), r#"Like("u")"#);
}

#[test]
fn inputs_name_every_picture_they_refer_to() {
    let endpoint = scumble_api::find("fal-ai/stable-diffusion-v35-large").expect("it is in the table");
    let body = json!({
        "prompt": "x",
        "controlnet": { "path": "a/b", "control_image_url": "c" },
        "ip_adapter": { "path": "a/b", "image_encoder_path": "e", "image_url": "i", "mask_image_url": "m", "scale": 1 },
    });
    let pictures = endpoint.parse(&body, Scope::Wire).expect("valid").pictures();
    let found: Vec<_> = pictures.iter().map(|p| (p.path.join("."), p.url.as_str())).collect();
    let expected =
        [("controlnet.control_image_url", "c"), ("ip_adapter.image_url", "i"), ("ip_adapter.mask_image_url", "m")];
    assert_eq!(found, expected.map(|(path, url)| (path.to_owned(), url)));
}

#[test]
fn inputs_name_the_weights_they_refer_to_and_what_stands_beside() {
    let weights = |id: &str, body: Value| {
        let input = scumble_api::find(id).expect("it is in the table").parse(&body, Scope::Wire).expect("valid");
        let short =
            |field: Option<(Vec<String>, String)>| field.map(|(path, text)| format!("{}={text}", path.join(".")));
        let all = input.weights().into_iter();
        all.map(|w| (w.path.join("."), w.source, short(w.subfolder), short(w.weight_name), w.pickles))
            .collect::<Vec<_>>()
    };
    let loras = json!({ "prompt": "x", "loras": [{ "path": "a" }, { "path": "b", "weight_name": "c" }] });
    let expected = [
        ("loras.0.path".to_owned(), "a".to_owned(), None, None, false),
        ("loras.1.path".to_owned(), "b".to_owned(), None, Some("loras.1.weight_name=c".to_owned()), false),
    ];
    assert_eq!(weights("fal-ai/hidream-i1-full", loras), expected);
    let ip = json!({ "prompt": "x", "ip_adapter": {
        "path": "a", "subfolder": "b", "weight_name": "", "image_encoder_path": "c", "image_encoder_weight_name": "d",
        "image_url": "u", "scale": 1,
    } });
    let expected = [
        ("ip_adapter.path".to_owned(), "a".to_owned(), Some("ip_adapter.subfolder=b".to_owned()), None, true),
        (
            "ip_adapter.image_encoder_path".to_owned(),
            "c".to_owned(),
            None,
            Some("ip_adapter.image_encoder_weight_name=d".to_owned()),
            true,
        ),
    ];
    assert_eq!(weights("fal-ai/stable-diffusion-v35-large", ip), expected);
    let sizes = scumble_api::find("fal-ai/flux/dev/image-to-image").expect("it is in the table");
    let size = sizes.parse(&json!({ "prompt": "x", "image_url": "u" }), Scope::Wire).expect("valid").request().size;
    assert_eq!(format!("{size:?}"), r#"Like("u")"#);
}
