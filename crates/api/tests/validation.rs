//! Every problem at once, in fal's words.

use scumble_api::{ErrorAnswer, ImageFormat, ImageRequest, ImageSize, Scope, Size, find};
use serde_json::{Value, json};

fn parse(id: &str, body: &Value) -> Result<ImageRequest, Vec<(String, String)>> {
    parse_in(Scope::Wire, id, body)
}

fn parse_in(scope: Scope, id: &str, body: &Value) -> Result<ImageRequest, Vec<(String, String)>> {
    let endpoint = find(id).expect("an endpoint of the table");
    let path = |loc: &[Value]| loc.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(".");
    match endpoint.parse(body, scope) {
        Ok(input) => Ok(input.request()),
        Err(problems) => Err(problems.iter().map(|p| (path(&p.loc), p.kind.clone())).collect()),
    }
}

fn refused(id: &str, body: &Value, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(parse(id, body), Err(expected), "{body}");
}

#[test]
fn defaults_are_filled_once() {
    let input = parse("fal-ai/flux/schnell", &json!({ "prompt": "a cat" })).expect("valid");
    assert_eq!(
        input,
        ImageRequest {
            prompt: "a cat".into(),
            negative_prompt: String::new(),
            size: Size::Pixels(ImageSize { width: 1024, height: 768 }),
            steps: 4,
            guidance: None,
            seed: None,
            images: 1,
            format: ImageFormat::Png,
            sync_mode: false,
            max_sequence_length: None,
        }
    );
    let dev = parse("fal-ai/flux/dev", &json!({ "prompt": "" })).expect("an empty prompt is a prompt");
    assert_eq!((dev.steps, dev.guidance, dev.format), (28, Some(3.5), ImageFormat::Jpeg));
}

#[test]
fn sizes_come_as_presets_or_objects() {
    let size = |value: Value| {
        parse("fal-ai/flux/dev", &json!({ "prompt": "x", "image_size": value })).map(|i| i.size.pixels(None))
    };
    assert_eq!(size(json!("portrait_16_9")), Ok(ImageSize { width: 576, height: 1024 }));
    assert_eq!(size(json!({ "width": 640 })), Ok(ImageSize { width: 640, height: 512 }));
    assert_eq!(size(Value::Null), Ok(ImageSize { width: 1024, height: 768 }));
    assert!(size(json!("huge")).is_err());
    assert!(size(json!(512)).is_err());
}

#[test]
fn all_problems_come_at_once() {
    let body = json!({
        "num_inference_steps": 0, "num_images": 9, "output_format": "gif", "sync_mode": "perhaps",
        "image_size": { "width": 7, "height": 20000 }, "seed": -2,
    });
    refused(
        "fal-ai/flux/schnell",
        &body,
        &[
            ("body.prompt", "missing"),
            ("body.image_size.width", "greater_than_equal"),
            ("body.image_size.height", "less_than_equal"),
            ("body.num_inference_steps", "greater_than_equal"),
            ("body.seed", "greater_than_equal"),
            ("body.sync_mode", "bool_parsing"),
            ("body.num_images", "less_than_equal"),
            ("body.output_format", "literal_error"),
        ],
    );
}

#[test]
fn a_problem_names_its_limit_its_input_and_its_page() {
    let endpoint = find("scumble/starter").expect("the starter");
    let problems = endpoint.parse(&json!({ "prompt": "x", "num_images": 9 }), Scope::Wire).expect_err("too many");
    assert_eq!(
        serde_json::to_value(&problems).expect("JSON"),
        json!([{
            "loc": ["body", "num_images"], "msg": "Input should be less than or equal to 4",
            "type": "less_than_equal", "url": "https://docs.fal.ai/errors/#less_than_equal",
            "ctx": { "le": 4 }, "input": 9,
        }])
    );
    assert_eq!(ErrorAnswer::invalid(&problems).message(), "num_images: Input should be less than or equal to 4");
}

#[test]
fn numbers_are_read_as_leniently_as_pydantic_reads_them() {
    let body =
        json!({ "prompt": "x", "num_inference_steps": "3", "num_images": 2.0, "sync_mode": "yes", "seed": u64::MAX });
    let input = parse("scumble/starter", &body).expect("valid");
    assert_eq!((input.steps, input.images, input.sync_mode, input.seed), (3, 2, true, Some(u64::MAX)));
    refused("scumble/starter", &json!({ "prompt": "x", "seed": 1.5 }), &[("body.seed", "int_from_float")]);
    refused("scumble/starter", &json!({ "prompt": "x", "seed": "one" }), &[("body.seed", "int_parsing")]);
    refused("scumble/starter", &json!({ "prompt": 5 }), &[("body.prompt", "string_type")]);
    refused("scumble/starter", &json!({ "prompt": null }), &[("body.prompt", "string_type")]);
    refused("scumble/starter", &json!([1]), &[("body", "model_attributes_type")]);
}

#[test]
fn sizes_that_are_too_large_for_a_model_are_scaled_to_it() {
    let size =
        |id: &str, value: Value| parse(id, &json!({ "prompt": "x", "image_size": value })).map(|i| i.size.pixels(None));
    let pixels = |width, height| Ok(ImageSize { width, height });
    assert_eq!(size("scumble/starter", json!("square_hd")), pixels(512, 512));
    assert_eq!(size("scumble/starter", json!("landscape_16_9")), pixels(512, 288));
    assert_eq!(size("scumble/starter", json!({ "width": 1536, "height": 1024 })), pixels(512, 352));
    assert_eq!(size("fal-ai/flux/dev", json!({ "width": 14142, "height": 14142 })), pixels(2048, 2048));
    assert_eq!(size("fal-ai/flux-pro/v1.1", json!({ "width": 14142, "height": 14142 })), pixels(4096, 4096));
    let sized = |id, width, height| json!({ "id": id, "size": { "width": width, "height": height } });
    for (case, loc, kind) in [
        // fal's own limit
        (sized("scumble/starter", 14143, 512), "body.image_size.width", "less_than_equal"),
        (sized("scumble/starter", 512, 0), "body.image_size.height", "greater_than_equal"),
        // no picture of this ratio is within the model's limits
        (sized("scumble/starter", 14142, 100), "body.image_size", "image_too_small"),
    ] {
        let body = json!({ "prompt": "x", "image_size": case["size"] });
        refused(case["id"].as_str().expect("an id"), &body, &[(loc, kind)]);
    }
}

#[test]
fn unknown_fields_are_ignored_and_named() {
    let endpoint = find("scumble/starter").expect("the starter");
    let input = endpoint.parse(&json!({ "prompt": "x", "loras": [], "promt": "y" }), Scope::Wire).expect("valid");
    assert_eq!(input.ignored(), ["loras", "promt"]);
    assert!(!input.values().contains_key("loras"));
}

#[test]
fn the_owner_may_go_beyond_the_page() {
    let body = json!({ "prompt": "x", "num_inference_steps": 30, "max_sequence_length": 48 });
    let input = parse_in(Scope::Local, "fal-ai/flux/schnell", &body).expect("valid at home");
    assert_eq!((input.steps, input.max_sequence_length), (30, Some(48)));
    assert!(parse("fal-ai/flux/schnell", &body).is_err());
    assert!(
        parse_in(Scope::Local, "fal-ai/flux/schnell", &json!({ "prompt": "x", "num_inference_steps": 0 })).is_err()
    );
}

#[test]
fn many_unknown_fields_are_named_in_part_and_counted() {
    let endpoint = find("scumble/starter").expect("the starter");
    let mut body = json!({ "prompt": "x", "y".repeat(1000): 1 });
    for n in 0..500 {
        body[format!("k{n}")] = 1.into();
    }
    let input = endpoint.parse(&body, Scope::Wire).expect("valid");
    assert_eq!((input.ignored().len(), input.ignored()[0].chars().count()), (20, 65));
    let notes = input.notes();
    assert_eq!(notes.len(), 21);
    assert_eq!(notes[1], "scumble/starter has no field k0; it was ignored");
    assert_eq!(notes[20], "…and 481 more fields that scumble/starter does not have; they were ignored");
}

#[test]
fn a_picture_of_another_size_than_asked_for_is_told_of() {
    let notes = |size: Value| {
        let endpoint = find("scumble/starter").expect("the starter");
        endpoint.parse(&json!({ "prompt": "x", "image_size": size }), Scope::Wire).expect("valid").notes()
    };
    let told = "scumble/starter does not draw 1024x768; the picture is scaled to 512x384";
    assert_eq!(notes(json!("landscape_4_3")), [told]);
    assert_eq!(notes(json!({ "width": 1024, "height": 768 })), [told]);
    for drawn in [json!("square"), json!({ "width": 128 }), Value::Null] {
        assert_eq!(notes(drawn), [""; 0]);
    }
}

#[test]
fn texts_have_a_limit_and_are_not_sent_back() {
    for (id, field, max) in [
        ("scumble/starter", "prompt", 32 * 1024),
        ("fal-ai/flux/dev", "prompt", 32 * 1024),
        ("fal-ai/ideogram/v3", "negative_prompt", 32 * 1024),
        ("fal-ai/ideogram/v3/remix", "image_url", 8 * 1024),
    ] {
        let endpoint = find(id).expect("an endpoint");
        let body = |length: usize| {
            let mut body = endpoint.least_example();
            body.insert(field.to_owned(), "x".repeat(length).into());
            Value::Object(body)
        };
        assert!(endpoint.parse(&body(max), Scope::Wire).is_ok(), "{id} {field}");
        for length in [max + 1, 2_000_000] {
            let problems = endpoint.parse(&body(length), Scope::Wire).expect_err("too long");
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert_eq!((problem.field(), problem.kind.as_str()), (field, "sequence_too_long"));
            assert!(problem.msg.contains(&max.to_string()) && problem.input.is_none(), "{}", problem.msg);
            assert_eq!(problem.ctx["max_length"], max);
        }
    }
    let picture = json!({ "prompt": "x", "image_url": format!("data:image/png;base64,{}", "A".repeat(100_000)) });
    assert!(find("fal-ai/ideogram/v3/remix").expect("it").parse(&picture, Scope::Wire).is_ok(), "a data URI");
}

#[test]
fn a_seed_of_minus_one_is_a_random_one_where_the_model_is_open() {
    for seed in [json!(-1), json!("-1"), json!(-1.0)] {
        let input = parse("fal-ai/flux/dev", &json!({ "prompt": "x", "seed": seed })).expect("valid");
        assert_eq!(input.seed, None);
    }
    assert_eq!(parse("scumble/starter", &json!({ "prompt": "x", "seed": -1 })).map(|input| input.seed), Ok(None));
    refused("scumble/starter", &json!({ "prompt": "x", "seed": -2 }), &[("body.seed", "greater_than_equal")]);
    refused("fal-ai/flux-pro", &json!({ "prompt": "x", "seed": -1 }), &[("body.seed", "greater_than_equal")]);
}

#[test]
fn a_body_in_an_input_wrapper_is_told_to_leave_it_out() {
    let endpoint = find("fal-ai/flux/dev").expect("an endpoint");
    let problems = endpoint.parse(&json!({ "input": { "prompt": "x" } }), Scope::Wire).expect_err("wrapped");
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert!(problem.msg.contains("leave out the input wrapper"), "{}", problem.msg);
    assert_eq!(problem.loc, [json!("body"), json!("input")]);
    // a field of that name beside the others is one that the endpoint does not have
    let input = endpoint.parse(&json!({ "prompt": "x", "input": { "prompt": "y" } }), Scope::Wire).expect("valid");
    assert_eq!(input.ignored(), ["input"]);
    refused("fal-ai/flux/dev", &json!({ "input": "x" }), &[("body.prompt", "missing")]);
}

#[test]
fn a_field_that_another_endpoint_of_the_family_has_is_pointed_to() {
    let notes = |id: &str, name: &str| {
        let body = json!({ "prompt": "x", "image_url": "u", name: "y" });
        find(id).expect("an endpoint").parse(&body, Scope::Wire).expect("valid").notes().join("\n")
    };
    let said = notes("fal-ai/flux/dev", "loras");
    assert!(said.contains("has no field loras; it was ignored (fal-ai/flux-lora has it)"), "{said}");
    assert!(said.contains("has no field image_url; it was ignored (fal-ai/flux/dev/image-to-image has it)"), "{said}");
    let said = notes("fal-ai/flux/dev/image-to-image", "loras");
    assert!(said.contains("(fal-ai/flux-lora/image-to-image has it)"), "{said}");
}
