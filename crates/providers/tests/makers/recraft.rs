//! Recraft: styles, shapes and words.

use std::sync::Arc;

use image::ImageFormat;
use scumble_providers::{Call, Cost, Made, MakerError, MakerId, Makers};
use serde_json::{Value, json};

use crate::desk::*;
use crate::far::{Far, Heard, Say, file, json, text};

const SVG: &[u8] =
    b"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 4 3\"><rect width=\"4\" height=\"3\"/></svg>";

struct Recraft {
    api: Far,
    cdn: Arc<Far>,
    makers: Arc<Makers>,
}

type Answered = fn(&Heard, usize) -> Option<Say>;

fn webp() -> Vec<u8> {
    picture(64, 48, ImageFormat::WebP)
}

impl Recraft {
    async fn new(more: &str, answered: Answered) -> Self {
        let cdn = Far::new(|heard, _| {
            assert_eq!(heard.header("authorization"), None);
            match heard.path.as_str() {
                "/gone" => text(404, "WORDS"),
                path if path.contains("vector") => file("image/svg+xml", SVG),
                _ => file("image/webp", &webp()),
            }
        });
        let cdn = Arc::new(cdn.await);
        let place = cdn.url.clone();
        let api = Far::new(move |heard, before| {
            assert_eq!(heard.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
            let body = heard.json();
            assert!(body.get("style_id").is_none() || body.get("style").is_none(), "{body}");
            assert!(body.get("substyle").is_none() || body.get("style").is_some(), "{body}");
            answered(heard, before).unwrap_or_else(|| {
                let vector = body.get("image_format").is_none();
                let path = format!("/SIG/rs:fit:1024:1024:0/raw:1/plain/abs://external/{}", if vector { "vector" } else { "1" });
                let credits = if vector { 44 } else { 22 };
                json(200, json!({ "created": 1, "credits": credits, "data": [{ "image_id": "1", "url": format!("{place}{path}") }] }))
            })
        });
        let api = api.await;
        let makers = makers(&section("recraft", &api.url, more));
        Self { api, cdn, makers }
    }

    async fn run(&self, call: &Call) -> (Result<Made, MakerError>, Ear) {
        run(&self.makers, MakerId::Recraft, call).await
    }

    async fn body(&self, more: Value) -> Value {
        self.run(&panda(more)).await.0.unwrap();
        self.api.heard().pop().unwrap().json()
    }
}

fn panda(more: Value) -> Call {
    let mut values = json!({ "prompt": "a red panda", "image_size": "square_hd", "style": "realistic_image", "colors": [],
                             "enable_safety_checker": false });
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call("fal-ai/recraft/v2/text-to-image", values)
}

#[tokio::test]
async fn every_field_has_its_place() {
    let recraft = Recraft::new("", |_, _| None).await;
    let values = json!({ "style": "realistic_image/b_and_w", "colors": [{ "r": 255, "g": 136 }], "enable_safety_checker": true,
                         "image_size": "portrait_16_9" });
    let expected = json!({
        "prompt": "a red panda", "size": "1024x1820", "style": "realistic_image", "substyle": "b_and_w",
        "controls": { "colors": [{ "rgb": [255, 136, 0] }] }, "block_nsfw": true, "n": 1, "response_format": "url",
        "image_format": "webp", "model": "recraftv2",
    });
    assert_eq!(recraft.body(values).await, expected);
    assert_eq!(recraft.api.heard()[0].path, "/v1/images/generations");
    assert_eq!(recraft.cdn.heard()[0].path, "/SIG/rs:fit:1024:1024:0/raw:1/plain/abs://external/1");
    let body = recraft.body(json!({ "style": "any", "image_size": { "width": 1280, "height": 720 } })).await;
    assert_eq!((&body["style"], &body["size"], body.get("controls")), (&json!("any"), &json!("1820x1024"), None));
    // a style of one's own goes without the default style
    let id = "00000000-0000-4000-8000-000000000002";
    let body = recraft.body(json!({ "style_id": id })).await;
    assert_eq!((&body["style_id"], body.get("style"), body.get("substyle")), (&json!(id), None, None));
    let (made, ear) = recraft.run(&panda(json!({}))).await;
    let made = made.unwrap();
    let file = &made.files[0];
    assert_eq!((file.content_type, file.name.as_str(), made.seed, made.units), ("image/webp", "image.webp", None, 1));
    assert_eq!((ear.spent(), &file.bytes[..]), (Cost::from_usd(0.022), &webp()[..]));
}

#[tokio::test]
async fn shapes_are_drawn_as_shapes() {
    let recraft = Recraft::new("", |_, _| None).await;
    let (made, ear) = recraft.run(&panda(json!({ "style": "vector_illustration/line_art" }))).await;
    let made = made.unwrap();
    let body = recraft.api.heard().pop().unwrap().json();
    assert_eq!(
        (&body["style"], &body["substyle"], body.get("image_format")),
        (&json!("vector_illustration"), &json!("line_art"), None)
    );
    let file = &made.files[0];
    assert_eq!(
        (file.content_type, file.name.as_str(), file.size, &file.bytes[..]),
        ("image/svg+xml", "image.svg", None, SVG)
    );
    assert_eq!((ear.spent(), made.units), (Cost::from_usd(0.044), 2));
    // a style that the maker has no longer: its base, with a line, or an error where the owner wants one
    let (made, ear) = recraft.run(&panda(json!({ "style": "icon/uneven_fill" }))).await;
    made.unwrap();
    let body = recraft.api.heard().pop().unwrap().json();
    assert_eq!((&body["style"], body.get("substyle")), (&json!("icon"), None));
    assert!(ear.log().contains("uneven_fill"), "{}", ear.log());
    let strict = Recraft::new("strict_styles = true", |_, _| None).await;
    let (result, _) = strict.run(&panda(json!({ "style": "icon/uneven_fill" }))).await;
    assert_eq!(told(&result), bad("feature_not_supported", json!(["body", "style"])));
    // the model of shapes by its own name, once
    let wrong = |heard: &Heard, _: usize| {
        (heard.json()["model"] == "recraftv2")
            .then(|| json(400, json!({ "code": "invalid_image_type", "message": "WORDS" })))
    };
    let recraft = Recraft::new("", wrong).await;
    let (made, _) = recraft.run(&panda(json!({ "style": "icon/outline" }))).await;
    made.unwrap();
    let models: Vec<Value> = recraft.api.heard().iter().map(|heard| heard.json()["model"].clone()).collect();
    assert_eq!(models, ["recraftv2", "recraftv2_vector"]);
    let (result, _) = recraft.run(&panda(json!({}))).await;
    assert_eq!(told(&result), failed(false), "for pixels there is no other");
    let always: Answered = |_, _| Some(json(400, json!({ "code": "invalid_image_type", "message": "WORDS" })));
    let recraft = Recraft::new("", always).await;
    assert_eq!(told(&recraft.run(&panda(json!({ "style": "icon/outline" }))).await.0), failed(false));
    assert_eq!(recraft.api.heard().len(), 2);
}

#[tokio::test]
async fn what_the_model_does_not_take_is_refused_before_it_costs_anything() {
    let recraft = Recraft::new("", |_, _| None).await;
    for (values, expected) in [
        (json!({ "prompt": "" }), bad("sequence_too_short", json!(["body", "prompt"]))),
        (json!({ "prompt": "ü".repeat(1001) }), bad("sequence_too_long", json!(["body", "prompt"]))),
        (json!({ "style_id": "mine" }), bad("value_error", json!(["body", "style_id"]))),
        (json!({ "colors": [{ "r": 300 }] }), bad("value_error", json!(["body", "colors", "r"]))),
    ] {
        assert_eq!(told(&recraft.run(&panda(values)).await.0), expected);
    }
    assert!(recraft.api.heard().is_empty());
    recraft.run(&panda(json!({ "prompt": "ü".repeat(1000) }))).await.0.unwrap();
}

#[tokio::test]
async fn what_recraft_may_answer() {
    for (answered, expected, sent) in [
        ((|_, _| Some(text(401, "request unauthorized"))) as Answered, unavailable(false), 1),
        (|_, _| Some(text(404, "404 page not found")), unavailable(false), 1),
        (|_, _| Some(json(402, json!({ "code": "not_enough_credits", "message": "WORDS" }))), unavailable(false), 1),
        (|_, _| Some(json(400, json!({ "code": "not_enough_credits", "message": "WORDS" }))), unavailable(false), 1),
        (|_, _| Some(json(400, json!({ "code": "moderation_failed", "message": "WORDS" }))), moderated("prompt"), 1),
        (|_, _| Some(json(422, json!({ "code": "x", "message": "Inappropriate WORDS" }))), moderated("prompt"), 1),
        (
            |_, _| Some(json(400, json!({ "code": "invalid_style", "message": "WORDS" }))),
            bad("feature_not_supported", json!(["body", "style"])),
            1,
        ),
        (|_, _| Some(json(400, json!({ "code": "invalid_request", "message": "WORDS" }))), failed(false), 1),
        (|_, _| Some(json(413, json!({ "code": "x", "message": "WORDS" }))), failed(false), 1),
        (|_, _| Some(json(500, json!({ "code": "internal_error", "message": "WORDS" }))), unavailable(true), 2),
        (|_, _| Some(text(503, "<html><body>WORDS</body></html>")), unavailable(true), 3),
        (|_, _| Some(json(200, json!({ "created": 1, "credits": 0, "data": [] }))), nothing(), 1),
        (|_, _| Some(json(200, json!({ "data": [{ "image_id": "1" }] }))), nothing(), 1),
        (|_, _| Some(text(200, "WORDS")), failed(false), 1),
        (|_, _| Some(json(200, json!({ "data": [{ "b64_json": "%" }] }))), failed(false), 1),
        (|_, _| Some(Say::Gone), late(), 1),
    ] {
        let recraft = Recraft::new("", answered).await;
        let (result, ear) = recraft.run(&panda(json!({}))).await;
        assert_eq!((told(&result), recraft.api.heard().len()), (expected, sent), "{}", ear.log());
    }
    let own = json!({ "style_id": "00000000-0000-4000-8000-000000000002" });
    let recraft =
        Recraft::new("", |_, _| Some(json(400, json!({ "code": "invalid_style", "message": "WORDS" })))).await;
    assert_eq!(told(&recraft.run(&panda(own)).await.0), bad("value_error", json!(["body", "style_id"])));
    // a picture inside the answer
    let inline: Answered = |_, _| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(webp());
        Some(json(200, json!({ "credits": 22, "data": [{ "image_id": "1", "b64_json": text }] })))
    };
    let recraft = Recraft::new("", inline).await;
    assert_eq!(bytes(&recraft.run(&panda(json!({}))).await.0)[0], webp());
    // a link that is dead
    let recraft = Recraft::new("", |_, _| None).await;
    let gone = format!("{}/gone", recraft.cdn.url);
    let api = Far::new(move |_, _| json(200, json!({ "data": [{ "image_id": "1", "url": gone }] }))).await;
    let makers = makers(&section("recraft", &api.url, ""));
    let (result, ear) = run(&makers, MakerId::Recraft, &panda(json!({}))).await;
    assert_eq!((told(&result), api.heard().len()), (failed(false), 1));
    let again = Call { resume: Some(ear.ticket()), ..panda(json!({})) };
    let _ = run(&makers, MakerId::Recraft, &again).await;
    assert_eq!(api.heard().len(), 1, "what was answered is not asked again");
}

#[tokio::test]
async fn requests_are_spaced_over_all_jobs() {
    let recraft = Recraft::new("requests_per_second = 5", |_, _| None).await;
    let began = std::time::Instant::now();
    let calls = (0..6).map(|_| {
        let makers = recraft.makers.clone();
        tokio::spawn(async move { run_beside_others(&makers, MakerId::Recraft, &panda(json!({}))).await.0.map(drop) })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    // a second is 2 ms at the pace of these tests
    assert!(began.elapsed() >= std::time::Duration::from_millis(2));
    assert_eq!(recraft.api.heard().len(), 6);
}
