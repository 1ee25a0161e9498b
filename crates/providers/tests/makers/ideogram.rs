//! Ideogram: forms, links, and what a checker lets through.

use std::sync::Arc;

use image::{DynamicImage, GrayImage, ImageFormat};
use scumble_providers::{Call, Cost, Made, MakerError, MakerId, Makers};
use serde_json::{Value, json};

use crate::desk::*;
use crate::far::{Far, Heard, Say, file, json, text};

struct Ideogram {
    api: Far,
    cdn: Arc<Far>,
    makers: Arc<Makers>,
}

type Answered = fn(&Heard, usize) -> Option<Say>;

impl Ideogram {
    async fn new(more: &str, answered: Answered) -> Self {
        let cdn = Far::new(|heard, before| {
            assert_eq!(heard.header("api-key"), None);
            match (heard.path.as_str(), before) {
                ("/expired", _) => text(403, "WORDS"),
                ("/cut", 0) => Say::Cut(200, "image/png", png(), 30),
                _ => file("image/png", &png()),
            }
        });
        let cdn = Arc::new(cdn.await);
        let place = cdn.url.clone();
        let api = Far::new(move |heard, before| {
            assert_eq!((heard.method.as_str(), heard.header("api-key")), ("POST", Some(KEY)));
            answered(heard, before).unwrap_or_else(|| answer(&place, &[(7, true), (8, true)]))
        });
        let api = api.await;
        let makers = makers(&section("ideogram", &api.url, more));
        Self { api, cdn, makers }
    }

    async fn run(&self, call: &Call) -> (Result<Made, MakerError>, Ear) {
        run(&self.makers, MakerId::Ideogram, call).await
    }

    /// The form that a call becomes: its path, and its parts in words.
    async fn form(&self, call: &Call) -> (String, Vec<(String, String)>) {
        self.run(call).await.0.unwrap();
        let heard = self.api.heard().pop().unwrap();
        let word = |part: crate::far::Part| match (&part.file, &part.kind) {
            (Some(file), Some(kind)) => (part.name, format!("{file} {kind} {}", part.bytes.len())),
            (None, Some(kind)) => (part.name.clone(), format!("{kind} {}", part.text())),
            _ => (part.name.clone(), part.text()),
        };
        let parts = heard.parts().into_iter().map(word).collect();
        (heard.path, parts)
    }
}

fn answer(place: &str, pictures: &[(u64, bool)]) -> Say {
    let picture = |(seed, safe): &(u64, bool)| {
        let url = safe.then(|| format!("{place}/api/images/ephemeral/{seed}.png?exp=1&sig=ab%2Fc"));
        json!({ "prompt": "a longer prompt", "resolution": "1024x1024", "is_image_safe": safe, "seed": seed, "url": url })
    };
    let data: Vec<Value> = pictures.iter().map(picture).collect();
    json(200, json!({ "created": "2026-11-20T08:30:00+00:00", "data": data }))
}

fn v2(more: Value) -> Call {
    let mut values = json!({ "prompt": "a red panda", "aspect_ratio": "1:1", "expand_prompt": true, "style": "auto",
                             "sync_mode": false, "negative_prompt": "" });
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call("fal-ai/ideogram/v2", values)
}

fn v3(path: &str, more: Value) -> Call {
    let mut values = json!({ "rendering_speed": "BALANCED", "num_images": 1, "sync_mode": false });
    if path != "/reframe" {
        values["prompt"] = "a lantern".into();
        values["expand_prompt"] = true.into();
    }
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call(&format!("fal-ai/ideogram/v3{path}"), values)
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn the_second_model_is_asked_in_json() {
    let ideogram = Ideogram::new("", |_, _| None).await;
    let values = json!({ "aspect_ratio": "10:16", "expand_prompt": false, "style": "render_3D", "negative_prompt": "text",
                         "seed": 12345 });
    let (made, ear) = ideogram.run(&v2(values)).await;
    let heard = ideogram.api.heard().pop().unwrap();
    let expected = json!({ "image_request": {
        "prompt": "a red panda", "model": "V_2", "aspect_ratio": "ASPECT_10_16", "magic_prompt_option": "OFF",
        "style_type": "RENDER_3D", "seed": 12345, "negative_prompt": "text", "num_images": 1,
    } });
    assert_eq!((heard.path.as_str(), heard.json()), ("/generate", expected));
    let made = made.unwrap();
    let file = &made.files[0];
    assert_eq!((file.content_type, file.name.as_str(), made.seed), ("image/png", "image.png", Some(7)));
    assert!(ear.log().contains("a longer prompt"), "{}", ear.log());
    assert_eq!(ideogram.cdn.heard()[0].path, "/api/images/ephemeral/7.png?exp=1&sig=ab%2Fc");
    // an empty negative prompt is none; the drawn seed fits
    ideogram.run(&Call { seed: (1 << 31) + 3, ..v2(json!({})) }).await.0.unwrap();
    let request = ideogram.api.heard().pop().unwrap().json()["image_request"].clone();
    assert_eq!((request.get("negative_prompt"), &request["seed"]), (None, &json!(3)));
    for (endpoint, model) in [("v2/turbo", "V_2_TURBO"), ("v2a", "V_2A"), ("v2a/turbo", "V_2A_TURBO")] {
        let call = Call { endpoint: format!("fal-ai/ideogram/{endpoint}"), ..v2(json!({})) };
        ideogram.run(&call).await.0.unwrap();
        assert_eq!(ideogram.api.heard().pop().unwrap().json()["image_request"]["model"], model);
    }
    // where the maker has dropped it
    let ideogram = Ideogram::new("v2_model = \"V_3\"", |_, _| None).await;
    let (path, parts) = ideogram.form(&v2(json!({ "aspect_ratio": "16:9", "style": "anime" }))).await;
    assert_eq!(path, "/v1/ideogram-v3/generate");
    assert!(parts.contains(&("resolution".into(), "1312x736".into())), "{parts:?}");
    assert!(parts.contains(&("style_type".into(), "GENERAL".into())), "{parts:?}");
}

#[tokio::test]
async fn every_path_of_the_third_has_its_own_fields_and_no_others() {
    let ideogram = Ideogram::new("", |_, _| None).await;
    let values = json!({
        "image_size": "square_hd", "rendering_speed": "QUALITY", "num_images": 2, "seed": 12345, "style": "GENERAL",
        "negative_prompt": "text", "expand_prompt": false,
        "color_palette": { "members": [
            { "rgb": { "r": 1, "g": 2 }, "color_weight": 0.01 },
            { "rgb": { "r": 255, "g": 136, "b": 0 } },
        ] },
    });
    let (path, parts) = ideogram.form(&with_image(v3("", values), "image_urls", png())).await;
    let reference = format!("image.png image/png {}", png().len());
    let palette = "application/json {\"members\":[{\"color_hex\":\"#FF8800\",\"color_weight\":0.5},\
                   {\"color_hex\":\"#010200\",\"color_weight\":0.05}]}";
    assert_eq!(path, "/v1/ideogram-v3/generate");
    assert_eq!(
        parts,
        pairs(&[
            ("prompt", "a lantern"),
            ("magic_prompt", "OFF"),
            ("resolution", "1024x1024"),
            ("negative_prompt", "text"),
            ("style_type", "GENERAL"),
            ("rendering_speed", "QUALITY"),
            ("num_images", "2"),
            ("seed", "12345"),
            ("style_reference_images", &reference),
            ("color_palette", palette),
        ])
    );
    let image = |call: Call| with_image(call, "image_url", png());
    let picture = ("image", reference.as_str());
    let remix = v3(
        "/remix",
        json!({ "strength": 0.804, "image_size": "landscape_4_3", "negative_prompt": "",
                                      "style_codes": ["AAFF5733", "00000000"], "seed": 1 }),
    );
    let (path, parts) = ideogram.form(&image(remix)).await;
    assert_eq!(path, "/v1/ideogram-v3/remix");
    assert_eq!(
        parts,
        pairs(&[
            picture,
            ("prompt", "a lantern"),
            ("magic_prompt", "ON"),
            ("image_weight", "80"),
            ("resolution", "1152x864"),
            ("rendering_speed", "DEFAULT"),
            ("num_images", "1"),
            ("seed", "1"),
            ("style_codes", "AAFF5733"),
            ("style_codes", "00000000"),
        ])
    );
    let reframe =
        v3("/reframe", json!({ "image_size": { "width": 1280, "height": 720 }, "style": "DESIGN", "seed": 5 }));
    let (path, parts) = ideogram.form(&image(reframe.clone())).await;
    assert_eq!(path, "/v1/ideogram-v3/reframe");
    assert_eq!(
        parts,
        pairs(&[
            picture,
            ("resolution", "1312x736"),
            ("rendering_speed", "DEFAULT"),
            ("num_images", "1"),
            ("seed", "5")
        ])
    );
    assert!(ideogram.run(&image(reframe)).await.1.log().contains("style DESIGN has no effect"));
    let values = json!({ "style": "AUTO", "seed": 6, "color_palette": { "name": "EMBER" } });
    let (path, parts) = ideogram.form(&image(v3("/replace-background", values))).await;
    assert_eq!(path, "/v1/ideogram-v3/replace-background");
    assert_eq!(
        parts,
        pairs(&[
            picture,
            ("prompt", "a lantern"),
            ("magic_prompt", "ON"),
            ("rendering_speed", "DEFAULT"),
            ("num_images", "1"),
            ("seed", "6"),
            ("color_palette", "application/json {\"name\":\"EMBER\"}"),
        ])
    );
}

#[tokio::test]
async fn masks_go_in_both_polarities() {
    let mask = GrayImage::from_fn(64, 48, |x, _| image::Luma([if x < 32 { 200 } else { 90 }]));
    let mask = encoded(&DynamicImage::ImageLuma8(mask), ImageFormat::Png);
    let edit = with_image(v3("/edit", json!({ "rendering_speed": "TURBO" })), "image_url", png());
    for (more, left) in [("", 255), ("fal_mask_white_is_edited = true", 0)] {
        let ideogram = Ideogram::new(more, |_, _| None).await;
        ideogram.run(&with_image(edit.clone(), "mask_url", mask.clone())).await.0.unwrap();
        let heard = ideogram.api.heard().pop().unwrap();
        assert_eq!(heard.path, "/v1/ideogram-v3/inpaint");
        let parts = heard.parts();
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["image", "mask", "prompt", "magic_prompt", "rendering_speed", "num_images", "seed"]);
        assert_eq!((parts[1].file.as_deref(), parts[1].kind.as_deref()), (Some("mask.png"), Some("image/png")));
        let sent = image::load_from_memory(&parts[1].bytes).unwrap().into_luma8();
        assert_eq!((sent.get_pixel(5, 5).0, sent.get_pixel(60, 5).0), ([left], [255 - left]));
        // a mask of another size is refused
        let other = with_image(edit.clone(), "mask_url", picture(32, 24, ImageFormat::Png));
        assert_eq!(told(&ideogram.run(&other).await.0), bad("value_error", json!(["body", "mask_url"])));
    }
    // the old name of the path, and files of a kind that the maker does not take
    let ideogram = Ideogram::new("inpaint_path = \"/v1/ideogram-v3/edit\"", |_, _| None).await;
    let gif = v3("/edit", json!({}));
    let gif = with_image(with_image(gif, "image_url", picture(64, 48, ImageFormat::Gif)), "mask_url", mask);
    ideogram.run(&gif).await.0.unwrap();
    let heard = ideogram.api.heard().pop().unwrap();
    assert_eq!((heard.path.as_str(), heard.parts()[0].kind.as_deref()), ("/v1/ideogram-v3/edit", Some("image/png")));
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_before_it_costs_anything() {
    let ideogram = Ideogram::new("", |_, _| None).await;
    let place = |field: &str| json!(["body", field]);
    let value = |field: &str| bad("value_error", place(field));
    let nine: Vec<Value> = (0..9).map(|r| json!({ "rgb": { "r": r } })).collect();
    for (call, expected) in [
        (v3("", json!({ "prompt": "  " })), value("prompt")),
        (v3("", json!({ "style_codes": ["AAFF5733"], "style": "AUTO" })), value("style_codes")),
        (v3("", json!({ "style_codes": ["AAFF573"] })), value("style_codes")),
        (v3("", json!({ "style_codes": ["AAFF573G"] })), value("style_codes")),
        (with_image(v3("", json!({ "style_codes": ["AAFF5733"] })), "image_urls", png()), value("style_codes")),
        (with_image(v3("", json!({ "style": "DESIGN" })), "image_urls", png()), value("image_urls")),
        (v3("", json!({ "color_palette": { "name": "EMBER", "members": nine[..1] } })), value("color_palette")),
        (v3("", json!({ "color_palette": { "name": "NONE" } })), bad("one_of", place("color_palette"))),
        (
            v3("", json!({ "color_palette": { "members": nine } })),
            bad("sequence_too_long", json!(["body", "color_palette", "members"])),
        ),
        (
            v3("", json!({ "color_palette": { "members": [{ "rgb": { "r": 256 } }] } })),
            bad("value_error", json!(["body", "color_palette", "members", "r"])),
        ),
        (v3("", json!({ "seed": 1u64 << 31 })), bad("less_than_equal", place("seed"))),
        (v3("", json!({ "seed": -1 })), bad("greater_than_equal", place("seed"))),
        (v3("", json!({ "rendering_speed": "FLASH" })), bad("one_of", place("rendering_speed"))),
        (with_image(v3("/reframe", json!({})), "image_url", png()), bad("missing", place("image_size"))),
        (v3("/remix", json!({})), bad("missing", place("image_url"))),
        (v2(json!({ "style": "oil" })), bad("one_of", place("style"))),
    ] {
        assert_eq!(told(&ideogram.run(&call).await.0), expected);
    }
    let noise = |x: u32, y: u32| {
        image::Rgb([0u32, 8, 16].map(|bits| {
            (x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503)).wrapping_mul(2_246_822_519) >> bits)
                as u8
        }))
    };
    let noisy = encoded(&DynamicImage::ImageRgb8(image::RgbImage::from_fn(2048, 1800, noise)), ImageFormat::Png);
    assert!(noisy.len() > 10 * 1024 * 1024, "{}", noisy.len());
    let call = with_image(v3("/remix", json!({})), "image_url", noisy);
    let (result, _) = ideogram.run(&call).await;
    assert_eq!(told(&result), bad("file_too_large", json!(["body", "image_url"])));
    assert_eq!(result.err().unwrap().refusal().unwrap().problem.ctx["max_size"], 10_485_760);
    assert!(ideogram.api.heard().is_empty());
}

#[tokio::test]
async fn what_ideogram_may_answer() {
    for (answered, expected, sent) in [
        (
            (|_, _| Some(json(422, json!({ "error": "Prompt provided failed safety check due to WORDS" }))))
                as Answered,
            moderated("prompt"),
            1,
        ),
        (
            |_, _| Some(json(422, json!({ "error": "Image provided failed safety check due to WORDS" }))),
            moderated("image_url"),
            1,
        ),
        (|_, _| Some(answer("", &[(1, false), (2, false)])), moderated("prompt"), 1),
        (
            |_, _| Some(json(200, json!({ "data": [{ "is_image_safe": true, "seed": 1, "url": "" }] }))),
            moderated("prompt"),
            1,
        ),
        (|_, _| Some(json(200, json!({ "data": [] }))), nothing(), 1),
        (|_, _| Some(text(200, "WORDS")), failed(false), 1),
        (|_, _| Some(json(200, json!({ "WORDS": 1 }))), failed(false), 1),
        (|_, _| Some(json(400, json!({ "error": "WORDS" }))), failed(false), 1),
        (|_, _| Some(text(400, "Invalid input provided. WORDS")), failed(false), 1),
        (|_, _| Some(json(422, json!({ "error": "WORDS" }))), failed(false), 1),
        (|_, _| Some(json(401, json!({ "error": "WORDS" }))), unavailable(false), 1),
        (|_, _| Some(json(403, json!({ "error": "WORDS" }))), unavailable(false), 1),
        (|_, _| Some(json(402, json!({ "error": "WORDS" }))), unavailable(false), 1),
        (|_, _| Some(json(400, json!({ "error": "not enough credits WORDS" }))), unavailable(false), 1),
        (|_, _| Some(json(404, json!({ "error": "WORDS" }))), unavailable(false), 1),
        (|_, _| Some(text(503, "upstream WORDS")), unavailable(true), 3),
        (|_, _| Some(text(500, "WORDS")), unavailable(true), 2),
        (|_, _| Some(text(502, "WORDS")), unavailable(true), 1),
        // it may have been drawn
        (|_, _| Some(text(504, "WORDS")), late(), 1),
        (|_, _| Some(Say::Gone), late(), 1),
        (|_, _| Some(Say::Cut(200, "application/json", vec![b' '; 100], 50)), late(), 1),
    ] {
        let ideogram = Ideogram::new("", answered).await;
        let call = with_image(v3("/remix", json!({})), "image_url", png());
        let (result, ear) = ideogram.run(&call).await;
        assert_eq!((told(&result), ideogram.api.heard().len()), (expected, sent), "{}", ear.log());
    }
    let ideogram = Ideogram::new("deadline_s = 0.3", |_, _| Some(Say::Silence)).await;
    assert_eq!(told(&ideogram.run(&v2(json!({}))).await.0), late());
    let ideogram = Ideogram::new("", |_, before| (before == 0).then(|| text(429, "WORDS"))).await;
    ideogram.run(&v2(json!({}))).await.0.unwrap();
    assert_eq!(ideogram.api.heard().len(), 2);
}

#[tokio::test]
async fn safe_pictures_are_given_and_paid_for_with_the_others() {
    let ideogram = Ideogram::new("", |_, _| None).await;
    let place = ideogram.cdn.url.clone();
    let api = Far::new(move |_, _| answer(&place, &[(5, false), (7, true), (8, true)])).await;
    let makers = makers(&section("ideogram", &api.url, ""));
    let (made, ear) = run(&makers, MakerId::Ideogram, &v3("", json!({ "num_images": 3 }))).await;
    let made = made.unwrap();
    assert_eq!((made.files.len(), made.seed, ear.spent()), (2, Some(7), Cost::from_usd(0.18)));
    assert!(ear.log().contains("2 of 3"), "{}", ear.log());
    assert_eq!(makers.spent(MakerId::Ideogram), Cost::from_usd(0.18));
}

#[tokio::test]
async fn pictures_are_fetched_again_and_never_ordered_again() {
    let ideogram = Ideogram::new("", |_, _| None).await;
    for (path, expected) in [("/cut", None), ("/expired", Some(failed(false))), ("", Some(failed(true)))] {
        let url =
            if path.is_empty() { "http://127.0.0.1:1/x".to_owned() } else { format!("{}{path}", ideogram.cdn.url) };
        let data = json!([{ "is_image_safe": true, "seed": 1, "url": url }]);
        let api = Far::new(move |_, _| json(200, json!({ "data": data.clone() }))).await;
        let makers = makers(&section("ideogram", &api.url, ""));
        let (result, ear) = run(&makers, MakerId::Ideogram, &v2(json!({}))).await;
        match expected {
            None => assert_eq!(bytes(&result)[0], png()),
            Some(expected) => assert_eq!(told(&result), expected),
        }
        assert_eq!(api.heard().len(), 1);
        // after a restart the answer is still known
        let again = Call { resume: Some(ear.ticket()), ..v2(json!({})) };
        let _ = run(&makers, MakerId::Ideogram, &again).await;
        assert_eq!(api.heard().len(), 1, "{path}");
    }
    let sent = json!({ "maker": "ideogram", "tasks": { "0": { "state": "sent" } } }).to_string();
    let (result, _) = ideogram.run(&Call { resume: Some(sent), ..v2(json!({})) }).await;
    assert_eq!((told(&result), ideogram.api.heard().len()), (late(), 0));
}
