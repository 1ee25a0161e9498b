//! Black Forest Labs: submit, ask, fetch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::{DynamicImage, GrayImage, ImageFormat};
use scumble_providers::{Call, Cost, Made, MakerError, MakerId, Makers, Options};
use serde_json::{Value, json};

use crate::desk::*;
use crate::far::{Far, Heard, Say, file, json, text};

/// A whole maker: where tasks are submitted, where they are asked after, and where pictures are fetched, each at a place
/// of its own. The task's id is its seed.
struct Bfl {
    api: Far,
    polls: Far,
    delivery: Arc<Far>,
    makers: Arc<Makers>,
}

type Polled = fn(id: &str, asked: usize) -> Option<Say>;

impl Bfl {
    async fn new(more: &str, submit: fn(&Heard, usize) -> Option<Say>, polled: Polled) -> Self {
        Self::with(more, submit, polled, |_, _| None).await
    }

    async fn with(
        more: &str,
        submit: fn(&Heard, usize) -> Option<Say>,
        polled: Polled,
        delivered: fn(&Heard, usize) -> Option<Say>,
    ) -> Self {
        let delivery = Far::new(move |heard, before| {
            assert_eq!(heard.header("x-key"), None, "no key goes where pictures are");
            delivered(heard, before).unwrap_or_else(|| file("image/jpeg", &jpeg()))
        });
        let delivery = Arc::new(delivery.await);
        let place = delivery.url.clone();
        let polls = Far::new(move |heard, asked| {
            assert_eq!(heard.header("x-key"), Some(KEY));
            let id = heard.path.split("id=").nth(1).unwrap();
            polled(id, asked).unwrap_or_else(|| ready(&place, id))
        });
        let polls = polls.await;
        let place = polls.url.clone();
        let api = Far::new(move |heard, before| {
            assert_eq!((heard.method.as_str(), heard.header("x-key")), ("POST", Some(KEY)));
            submit(heard, before).unwrap_or_else(|| {
                let id = heard.json()["seed"].to_string();
                json(200, json!({ "id": id, "polling_url": format!("{place}/v1/get_result?id={id}"), "cost": 4.0 }))
            })
        });
        let api = api.await;
        let makers = makers(&section("bfl", &api.url, more));
        Self { api, polls, delivery, makers }
    }

    async fn run(&self, call: &Call) -> (Result<Made, MakerError>, Ear) {
        run(&self.makers, MakerId::Bfl, call).await
    }

    fn submits(&self) -> usize {
        self.api.heard().len()
    }
}

fn ready(delivery: &str, id: &str) -> Say {
    let sample = format!("{delivery}/results/{id}/sample.jpeg?se=2026-11-20T12%3A10%3A00Z&sig=a%2Fb%3D'");
    json(
        200,
        json!({ "id": id, "status": "Ready", "result": { "sample": sample, "seed": id.parse::<u64>().unwrap() } }),
    )
}

fn status(id: &str, status: &str) -> Option<Say> {
    Some(json(200, json!({ "id": id, "status": status, "result": null, "details": null })))
}

fn prompt(more: Value) -> Value {
    let mut values =
        json!({ "prompt": "a red panda", "safety_tolerance": "2", "output_format": "jpeg", "num_images": 1 });
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    values
}

fn plain() -> Call {
    call("fal-ai/flux-pro/v1.1", prompt(json!({ "image_size": "landscape_4_3", "enable_safety_checker": true })))
}

#[tokio::test]
async fn a_task_is_submitted_asked_after_and_fetched() {
    let bfl = Bfl::new(
        "",
        |_, _| None,
        |id, asked| match asked {
            0 => status(id, "Pending"),
            1 => status(id, "SomethingNew"),
            2 => Some(json(202, json!({ "state": "Reasoning" }))),
            3 => Some(json(429, json!({ "detail": "WORDS" }))),
            4 => Some(text(503, "WORDS")),
            5 => Some(Say::Gone),
            6 => Some(text(200, "no JSON")),
            7 => Some(json(200, json!({ "state": "Generating" }))),
            _ => None,
        },
    )
    .await;
    let (made, ear) = bfl.run(&plain()).await;
    let made = made.unwrap();
    assert_eq!(
        (made.seed, ear.spent(), made.units, made.model.as_str()),
        (Some(42), Cost::from_usd(0.04), 1, "flux-pro-1.1")
    );
    let file = &made.files[0];
    assert_eq!((&file.bytes[..], file.content_type, file.name.as_str()), (&jpeg()[..], "image/jpeg", "image.jpeg"));
    assert_eq!((file.size, bfl.submits(), bfl.polls.heard().len()), (Some((64, 48)), 1, 9));
    let expected = json!({ "prompt": "a red panda", "prompt_upsampling": false, "safety_tolerance": 2,
                           "output_format": "jpeg", "width": 1024, "height": 768, "seed": 42 });
    assert_eq!(bfl.api.heard()[0].json(), expected);
    // signatures cover every letter
    let expected = "/results/42/sample.jpeg?se=2026-11-20T12%3A10%3A00Z&sig=a%2Fb%3D'";
    assert_eq!(bfl.delivery.heard()[0].path, expected);
    assert_eq!(bfl.makers.spent(MakerId::Bfl), Cost::from_usd(0.04));
    // the id was kept before anybody asked after it
    assert!(ear.ticket().contains("get_result?id=42"), "{}", ear.ticket());
    assert_eq!(scumble_providers::maker_ids(&ear.ticket()), ["42"]);
    assert!(ear.log().contains("Generating") && ear.log().contains("$0.04"), "{}", ear.log());
}

#[tokio::test]
async fn every_field_has_its_place() {
    let bfl = Bfl::new("", |_, _| None, |_, _| None).await;
    let photo = picture(300, 256, ImageFormat::Png);
    let sent = async |call: Call| {
        let (made, ear) = bfl.run(&call).await;
        made.unwrap();
        let heard = bfl.api.heard().pop().unwrap();
        (heard.path.clone(), heard.json(), ear.log())
    };
    // flux-pro: steps and guidance without effect, said so
    let values = prompt(json!({ "image_size": { "width": 1280, "height": 720 }, "num_inference_steps": 28,
                                "guidance_scale": 3.5, "safety_tolerance": "6", "output_format": "png",
                                "enhance_prompt": true, "seed": 5 }));
    let (path, body, log) = sent(call("fal-ai/flux-pro", values)).await;
    let expected = json!({ "prompt": "a red panda", "prompt_upsampling": true, "safety_tolerance": 6,
                           "output_format": "png", "width": 1280, "height": 736, "seed": 5 });
    assert_eq!((path.as_str(), body), ("/v1/flux-pro-1.1", expected));
    assert!(log.contains("num_inference_steps, guidance_scale: no effect"), "{log}");
    // a seed of more bits is reduced; a tolerance may be a number
    let values = prompt(json!({ "seed": 4_294_967_300u64, "safety_tolerance": 5, "enable_safety_checker": false }));
    let (_, body, log) = sent(call("fal-ai/flux-pro/v1.1", values)).await;
    assert_eq!((&body["seed"], &body["safety_tolerance"]), (&json!(4), &json!(5)));
    assert!(log.contains("enable_safety_checker has no effect"), "{log}");
    // ultra
    let values = prompt(json!({ "aspect_ratio": "21:9", "raw": true }));
    let (path, body, _) = sent(call("fal-ai/flux-pro/v1.1-ultra", values)).await;
    let expected = json!({ "prompt": "a red panda", "prompt_upsampling": false, "safety_tolerance": 2,
                           "output_format": "jpeg", "aspect_ratio": "21:9", "raw": true, "seed": 42 });
    assert_eq!((path.as_str(), body), ("/v1/flux-pro-1.1-ultra", expected));
    let values = prompt(json!({ "aspect_ratio": "7:5", "image_prompt_strength": 0.4 }));
    let (_, body, _) = sent(with_image(call("fal-ai/flux-pro/v1.1-ultra", values), "image_url", photo.clone())).await;
    assert_eq!((&body["aspect_ratio"], &body["image_prompt_strength"]), (&json!("7:5"), &json!(0.4)));
    assert_eq!(body["image_prompt"], BASE64.encode(&photo));
    // redux: the prompt may be empty
    for endpoint in ["fal-ai/flux-pro/v1.1/redux", "fal-ai/flux-pro/v1/redux"] {
        let values = prompt(json!({ "prompt": "", "image_size": "square", "guidance_scale": 3.5 }));
        let (path, body, _) = sent(with_image(call(endpoint, values), "image_url", photo.clone())).await;
        assert_eq!((path.as_str(), &body["prompt"], &body["width"]), ("/v1/flux-pro-1.1", &json!(""), &json!(512)));
        assert_eq!(body["image_prompt"], BASE64.encode(&photo));
    }
    let values = prompt(json!({ "prompt": "", "aspect_ratio": "1:1", "raw": false }));
    let redux = with_image(call("fal-ai/flux-pro/v1.1-ultra/redux", values), "image_url", photo.clone());
    let (path, body, _) = sent(redux).await;
    assert_eq!((path.as_str(), &body["image_prompt_strength"]), ("/v1/flux-pro-1.1-ultra", &json!(0.1)));
}

#[tokio::test]
async fn a_mask_is_white_where_the_picture_is_drawn_anew() {
    let bfl = Bfl::new("", |_, _| None, |_, _| None).await;
    let fill = |mask: Vec<u8>| {
        let fill = call("fal-ai/flux-pro/v1/fill", prompt(json!({})));
        let fill = with_image(fill, "image_url", picture(512, 256, ImageFormat::Jpeg));
        with_image(fill, "mask_url", mask)
    };
    let half = |width: u32, height: u32| {
        let mask = GrayImage::from_fn(width, height, |x, _| image::Luma([if x < width / 2 { 255 } else { 0 }]));
        encoded(&DynamicImage::ImageLuma8(mask), ImageFormat::Png)
    };
    for mask in [half(512, 256), half(256, 128)] {
        bfl.run(&fill(mask)).await.0.unwrap();
        let body = bfl.api.heard().pop().unwrap().json();
        assert_eq!(body["image"], BASE64.encode(picture(512, 256, ImageFormat::Jpeg)));
        assert_eq!((body.get("steps"), body.get("guidance"), body.get("width")), (None, None, None));
        let sent = BASE64.decode(body["mask"].as_str().unwrap()).unwrap();
        let sent = image::load_from_memory(&sent).unwrap();
        assert_eq!((sent.width(), sent.height(), sent.color()), (512, 256, image::ColorType::L8));
        let sent = sent.into_luma8();
        assert_eq!((sent.get_pixel(10, 10).0, sent.get_pixel(500, 200).0), ([255], [0]));
    }
    // off by more than a hundredth: nothing is sent
    let before = bfl.submits();
    assert_eq!(told(&bfl.run(&fill(half(512, 262))).await.0), bad("value_error", json!(["body", "mask_url"])));
    // a picture that is too small, and one that is none
    let small = with_image(call("fal-ai/flux-pro/v1/fill", prompt(json!({}))), "image_url", png());
    let (result, _) = bfl.run(&small).await;
    assert_eq!(told(&result), bad("image_too_small", json!(["body", "image_url"])));
    assert_eq!(result.err().unwrap().refusal().unwrap().problem.ctx["min_width"], 256);
    let none = with_image(call("fal-ai/flux-pro/v1/fill", prompt(json!({}))), "image_url", b"<html>".to_vec());
    assert_eq!(told(&bfl.run(&none).await.0), bad("image_load_error", json!(["body", "image_url"])));
    assert_eq!(bfl.submits(), before);
}

#[tokio::test]
async fn what_no_model_takes_is_refused_before_it_costs_anything() {
    let bfl = Bfl::new("", |_, _| None, |_, _| None).await;
    for (endpoint, values, expected) in [
        ("fal-ai/flux-pro", json!({ "prompt": " \n" }), bad("value_error", json!(["body", "prompt"]))),
        ("fal-ai/flux-pro", json!({ "safety_tolerance": "7" }), bad("one_of", json!(["body", "safety_tolerance"]))),
        ("fal-ai/flux-pro", json!({ "safety_tolerance": 0 }), bad("one_of", json!(["body", "safety_tolerance"]))),
        (
            "fal-ai/flux-pro/v1.1-ultra",
            json!({ "aspect_ratio": "22:9" }),
            bad("one_of", json!(["body", "aspect_ratio"])),
        ),
        (
            "fal-ai/flux-pro/v1.1-ultra",
            json!({ "aspect_ratio": "1:0" }),
            bad("one_of", json!(["body", "aspect_ratio"])),
        ),
        ("fal-ai/flux-pro/v1.1-ultra", json!({ "aspect_ratio": "9" }), bad("one_of", json!(["body", "aspect_ratio"]))),
        ("fal-ai/flux-pro/v1.1/redux", json!({}), bad("missing", json!(["body", "image_url"]))),
    ] {
        assert_eq!(told(&bfl.run(&call(endpoint, prompt(values))).await.0), expected, "{endpoint}");
    }
    assert_eq!(bfl.submits(), 0);
}

#[tokio::test]
async fn the_callers_size_is_cut_from_the_makers() {
    let bfl = Bfl::with(
        "",
        |_, _| None,
        |_, _| None,
        |_, _| Some(file("image/jpeg", &picture(1280, 736, ImageFormat::Jpeg))),
    )
    .await;
    let wide = call("fal-ai/flux-pro/v1.1", prompt(json!({ "image_size": { "width": 1280, "height": 720 } })));
    let (made, _) = bfl.run(&wide).await;
    assert_eq!(made.unwrap().files[0].size, Some((1280, 720)));
}

#[tokio::test]
async fn several_pictures_are_several_tasks() {
    let four = |seed: u64| {
        let mut four = plain();
        four.values.insert("num_images".into(), 4.into());
        four.seed = seed;
        four
    };
    // seeds wrap; what a checker refuses is left out
    let refused: Polled = |id, _| (id == "2147483647").then(|| status(id, "Content Moderated").unwrap());
    let bfl = Bfl::new("", |_, _| None, refused).await;
    let (made, ear) = bfl.run(&four(2_147_483_646)).await;
    let made = made.unwrap();
    assert_eq!((made.files.len(), made.seed, ear.spent()), (3, Some(2_147_483_646), Cost::from_usd(0.16)));
    let mut seeds: Vec<String> =
        bfl.delivery.heard().iter().map(|h| h.path.split('/').nth(2).unwrap().to_owned()).collect();
    seeds.sort();
    assert_eq!(seeds, ["0", "1", "2147483646"]);
    assert_eq!(bfl.makers.spent(MakerId::Bfl), Cost::from_usd(0.16), "a refused picture counts as spent");
    assert!(ear.log().contains("Content Moderated"));
    // all refused
    let bfl = Bfl::new("", |_, _| None, |id, _| status(id, "Content Moderated")).await;
    assert_eq!(told(&bfl.run(&four(7)).await.0), moderated("prompt"));
    // one that fails fails all
    let bfl = Bfl::new("", |_, _| None, |id, _| if id == "8" { status(id, "Error") } else { None }).await;
    assert_eq!(told(&bfl.run(&four(7)).await.0), failed(true));
}

#[tokio::test]
async fn what_becomes_of_a_task() {
    for (polled, expected) in [
        ((|id, _| status(id, "Request Moderated")) as Polled, moderated("prompt")),
        (|id, _| status(id, "Error"), failed(true)),
        (|id, _| status(id, "Failed"), failed(true)),
        (|id, _| status(id, "Task not found"), failed(true)),
        (|id, _| Some(json(404, json!({ "id": id, "status": "Task not found" }))), failed(true)),
        (|_, _| Some(text(200, "<html>WORDS</html>")), failed(true)),
        (|_, _| Some(json(422, json!({ "detail": "WORDS" }))), failed(false)),
        (|_, _| Some(json(403, json!({ "detail": "WORDS" }))), unavailable(false)),
    ] {
        let bfl = Bfl::new("", |_, _| None, polled).await;
        assert_eq!(told(&bfl.run(&plain()).await.0), expected);
        assert_eq!(bfl.submits(), 1, "{expected:?}");
    }
    // a task may be unknown at first
    let bfl = Bfl::new("", |_, _| None, |id, asked| if asked < 2 { status(id, "Task not found") } else { None }).await;
    bfl.run(&plain()).await.0.unwrap();
    // with no prompt, it was the picture; and what is refused before it is drawn costs nothing
    let bfl = Bfl::new("", |_, _| None, |id, _| status(id, "Request Moderated")).await;
    let redux = call("fal-ai/flux-pro/v1.1/redux", prompt(json!({ "prompt": "" })));
    let redux = with_image(redux, "image_url", picture(256, 256, ImageFormat::Png));
    assert_eq!(told(&bfl.run(&redux).await.0), moderated("image_url"));
    assert_eq!(bfl.makers.spent(MakerId::Bfl), Cost::default());
    // for ever
    let bfl = Bfl::new("deadline_s = 0.3", |_, _| None, |id, _| status(id, "Pending")).await;
    assert_eq!(told(&bfl.run(&plain()).await.0), late());
    // and a caller who does not wait so long
    let bfl = Bfl::new("", |_, _| None, |id, _| status(id, "Pending")).await;
    let hurried = Call { patience: Some(std::time::Duration::from_millis(200)), ..plain() };
    assert_eq!(told(&bfl.run(&hurried).await.0), late());
}

#[tokio::test]
async fn what_a_submit_may_be_answered() {
    type Submit = fn(&Heard, usize) -> Option<Say>;
    for (submit, expected, sent) in [
        ((|_, _| Some(json(403, json!({ "detail": "WORDS" })))) as Submit, unavailable(false), 1),
        (|_, _| Some(json(401, json!({ "error": "invalid_api_key", "message": "WORDS" }))), unavailable(false), 1),
        (|_, _| Some(json(402, json!({ "detail": "WORDS" }))), unavailable(false), 1),
        (|_, _| Some(json(404, json!({ "detail": "WORDS" }))), unavailable(false), 1),
        (|_, _| Some(json(422, json!({ "detail": [{ "loc": ["body", "width"], "msg": "WORDS" }] }))), failed(false), 1),
        (|_, _| Some(json(422, json!({ "detail": "WORDS" }))), failed(false), 1),
        (|_, _| Some(json(400, json!({ "error": "validation_error", "message": "WORDS" }))), failed(false), 1),
        (
            |_, _| Some(json(422, json!({ "detail": [{ "loc": ["body", "seed"], "msg": "WORDS", "type": "int" }] }))),
            bad("value_error", json!(["body", "seed"])),
            1,
        ),
        (|_, _| Some(json(500, json!({ "detail": "WORDS" }))), unavailable(true), 2),
        (|_, _| Some(text(503, "<html>WORDS</html>")), unavailable(true), 3),
        // it may have been taken
        (|_, _| Some(Say::Gone), late(), 1),
        (|_, _| Some(text(504, "WORDS")), late(), 1),
        (|_, _| Some(json(200, json!({ "status": "WORDS" }))), failed(false), 1),
        (|_, _| Some(text(200, "WORDS")), failed(false), 1),
    ] {
        let bfl = Bfl::new("", submit, |_, _| None).await;
        let (result, ear) = bfl.run(&plain()).await;
        assert_eq!((told(&result), bfl.submits()), (expected, sent), "{}", ear.log());
        assert!(bfl.polls.heard().is_empty());
    }
    // silence, until the time is over
    let bfl = Bfl::new("deadline_s = 0.3", |_, _| Some(Say::Silence), |_, _| None).await;
    assert_eq!((told(&bfl.run(&plain()).await.0), bfl.submits()), (late(), 1));
    assert_eq!(bfl.makers.spent(MakerId::Bfl), Cost::from_usd(0.04), "what may have been billed counts");
    // nobody there: nothing was sent, so it may be tried again
    let gone = Far::new(|_, _| Say::Gone).await.url.clone();
    let makers = makers(&section("bfl", &gone, ""));
    let (result, ear) = run(&makers, MakerId::Bfl, &plain()).await;
    assert_eq!(told(&result), unavailable(true));
    assert_eq!(ear.log().matches("cannot be reached").count(), 4);
    assert_eq!(makers.spent(MakerId::Bfl), Cost::default());
}

#[tokio::test]
async fn a_maker_without_room_is_waited_for_as_it_asks() {
    let bfl = Bfl::new(
        "",
        |_, before| {
            (before < 2).then(|| {
                let headers = vec![("retry-after", "5".to_owned())];
                Say::Answer(429, headers, b"WORDS".to_vec())
            })
        },
        |_, _| None,
    )
    .await;
    let (made, ear) = bfl.run(&plain()).await;
    made.unwrap();
    assert_eq!((bfl.submits(), ear.log().matches("asked again in 5.0 s").count()), (3, 2), "{}", ear.log());
    // in the body
    let bfl = Bfl::new("", |_, before| (before < 1).then(|| json(429, json!({ "retry_after": 7 }))), |_, _| None).await;
    let (made, ear) = bfl.run(&plain()).await;
    made.unwrap();
    assert!(ear.log().contains("asked again in 7.0 s"), "{}", ear.log());
    // not at all; and too long
    let bfl = Bfl::new("", |_, _| Some(json(429, json!({ "detail": "WORDS" }))), |_, _| None).await;
    assert_eq!(told(&bfl.run(&plain()).await.0), unavailable(true));
    assert!((7..=10).contains(&bfl.submits()), "{}", bfl.submits());
    let bfl = Bfl::new("", |_, _| Some(json(429, json!({ "retry_after": 3600 }))), |_, _| None).await;
    assert_eq!((told(&bfl.run(&plain()).await.0), bfl.submits()), (unavailable(true), 1));
    assert_eq!(bfl.makers.spent(MakerId::Bfl), Cost::default());
}

#[tokio::test]
async fn a_refused_key_is_not_tried_again_at_once() {
    let bfl = Bfl::new("", |_, _| Some(json(403, json!({ "detail": format!("{KEY} WORDS") }))), |_, _| None).await;
    let (first, ear) = bfl.run(&plain()).await;
    assert!(ear.log().contains("[key] WORDS"), "{}", ear.log());
    let (second, _) = bfl.run(&call("fal-ai/flux-pro/v1.1-ultra", prompt(json!({})))).await;
    assert_eq!((told(&first), told(&second), bfl.submits()), (unavailable(false), unavailable(false), 1));
}

#[tokio::test]
async fn pictures_are_fetched_until_they_are_whole() {
    // cut off, no picture, and then whole
    let bfl = Bfl::with(
        "",
        |_, _| None,
        |_, _| None,
        |_, before| match before {
            0 => Some(Say::Cut(200, "image/jpeg", jpeg(), 100)),
            1 => Some(file("image/jpeg", &jpeg()[..jpeg().len() - 40])),
            _ => None,
        },
    )
    .await;
    assert_eq!(bytes(&bfl.run(&plain()).await.0)[0], jpeg());
    assert_eq!((bfl.submits(), bfl.delivery.heard().len()), (1, 3));
    // a dead link: the task is asked for another
    let bfl = Bfl::with(
        "",
        |_, _| None,
        |_, _| None,
        |_, before| {
            (before < 3)
                .then(|| Say::Answer(403, vec![("content-type", "application/xml".to_owned())], b"<Error/>".to_vec()))
        },
    )
    .await;
    bfl.run(&plain()).await.0.unwrap();
    assert_eq!((bfl.submits(), bfl.polls.heard().len(), bfl.delivery.heard().len()), (1, 2, 4));
    // never: what was paid for is not ordered again
    for say in [
        (|_: &Heard, _| Some(text(403, "WORDS"))) as fn(&Heard, usize) -> Option<Say>,
        |_, _| Some(text(500, "WORDS")),
        |_, _| Some(file("text/html", b"<html>WORDS</html>")),
        |_, _| Some(file("image/svg+xml", b"<svg></svg>")),
    ] {
        let bfl = Bfl::with("", |_, _| None, |_, _| None, say).await;
        assert_eq!((told(&bfl.run(&plain()).await.0), bfl.submits()), (failed(true), 1));
    }
    // a redirect is followed, for no key goes along
    let bfl = Bfl::with(
        "",
        |_, _| None,
        |_, _| None,
        |heard, _| {
            (!heard.path.starts_with("/moved"))
                .then(|| Say::Answer(302, vec![("location", "/moved".to_owned())], Vec::new()))
        },
    )
    .await;
    bfl.run(&plain()).await.0.unwrap();
}

#[tokio::test]
async fn a_restart_goes_on_with_what_was_submitted() {
    let mut pair = plain();
    pair.values.insert("num_images".into(), 2.into());
    let bfl = Bfl::new("", |_, _| None, |id, asked| if asked < 3 { status(id, "Pending") } else { None }).await;
    // the process ends while the tasks are asked after: nobody runs the call any more
    let ear = Arc::new(Ear::default());
    let running = tokio::spawn({
        let (makers, ear, pair) = (bfl.makers.clone(), ear.clone(), pair.clone());
        async move { makers.get(MakerId::Bfl).run(&pair, &*ear).await.map(drop) }
    });
    while ear.ticket().matches("get_result").count() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    running.abort();
    let _ = running.await;
    let again = Call { resume: Some(ear.ticket()), ..pair };
    let (made, ear) = bfl.run(&again).await;
    assert_eq!((made.unwrap().files.len(), bfl.submits()), (2, 2), "{}", ear.log());
    assert!(ear.log().contains("not submitted again"));
    // sent, and nobody knows what became of it: not sent again
    let lost = json!({ "maker": "bfl", "tasks": { "0": { "state": "sent" } } }).to_string();
    let (result, _) = bfl.run(&Call { resume: Some(lost.clone()), ..plain() }).await;
    assert_eq!((told(&result), bfl.submits()), (late(), 2));
    // another maker's ticket, or none that can be read, says nothing
    for other in [lost.replace("bfl", "recraft"), "garbage".to_owned()] {
        bfl.run(&Call { resume: Some(other), ..plain() }).await.0.unwrap();
    }
    assert_eq!(bfl.submits(), 4);
}

#[tokio::test]
async fn what_cannot_be_noted_is_not_sent() {
    let bfl = Bfl::new("", |_, _| None, |_, _| None).await;
    let ear = Ear { deaf: true, ..Ear::default() };
    let result = bfl.makers.get(MakerId::Bfl).run(&plain(), &ear).await;
    assert_eq!((told(&result), bfl.submits()), (unavailable(true), 0));
}

#[tokio::test]
async fn a_cancelled_call_ends_at_once() {
    let bfl = Bfl::new("", |_, _| None, |id, _| status(id, "Pending")).await;
    let ear = Ear { until: Some("get_result"), ..Ear::default() };
    let result = bfl.makers.get(MakerId::Bfl).run(&plain(), &ear).await;
    assert!(matches!(result, Err(MakerError::Cancelled)));
    let before = Ear::default();
    before.cancelled.store(true, Ordering::Release);
    let result = bfl.makers.get(MakerId::Bfl).run(&plain(), &before).await;
    assert!(matches!(result, Err(MakerError::Cancelled)));
    assert_eq!(bfl.submits(), 1, "what is cancelled before it is sent is not sent");
}

#[tokio::test]
async fn a_day_has_its_limit() {
    let bfl = Bfl::new("spend_per_day = 0.1", |_, _| None, |_, _| None).await;
    bfl.makers.add_spent(MakerId::Bfl, Cost::from_usd(0.02));
    bfl.run(&plain()).await.0.unwrap();
    bfl.run(&plain()).await.0.unwrap();
    let (result, _) = bfl.run(&plain()).await;
    assert_eq!((told(&result), bfl.submits()), (unavailable(false), 2));
    assert!(result.err().unwrap().to_string().contains("spend_per_day"));
}

#[tokio::test]
async fn all_jobs_share_what_is_allowed() {
    static ACTIVE: std::sync::Mutex<(usize, usize)> = std::sync::Mutex::new((0, 0));
    let bfl = Bfl::new(
        "concurrency = 2",
        |_, _| {
            let mut active = ACTIVE.lock().unwrap();
            active.0 += 1;
            active.1 = active.1.max(active.0);
            None
        },
        |id, asked| {
            if asked < 3 {
                return status(id, "Pending");
            }
            ACTIVE.lock().unwrap().0 -= 1;
            None
        },
    )
    .await;
    let calls: Vec<_> = (0..6)
        .map(|seed| {
            let (makers, call) = (bfl.makers.clone(), Call { seed: 100 + seed, ..plain() });
            tokio::spawn(async move { makers.get(MakerId::Bfl).run(&call, &Ear::default()).await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((bfl.submits(), ACTIVE.lock().unwrap().1), (6, 2));
}

#[tokio::test]
async fn a_key_goes_to_its_maker_alone() {
    // a polling address elsewhere: no key goes there, and nobody asks without one
    let elsewhere = Far::new(|_, _| text(200, "")).await;
    let port = elsewhere.url.rsplit(':').next().unwrap().to_owned();
    let url = format!("http://127.0.0.1.nip.example:{port}/v1/get_result?id=1");
    let api = Far::new(move |_, _| json(200, json!({ "id": "1", "polling_url": url }))).await;
    let makers = makers(&section("bfl", &api.url, ""));
    let (result, ear) = run(&makers, MakerId::Bfl, &plain()).await;
    assert_eq!(told(&result), failed(false));
    assert!(ear.log().contains("no key is sent there") && elsewhere.heard().is_empty(), "{}", ear.log());
    // private addresses that a maker names are for owners who allow them
    let far = Far::new(|_, _| text(200, "")).await;
    let url = format!("{}/v1/get_result?id=1", far.url);
    let api = Far::new(move |_, _| json(200, json!({ "id": "1", "polling_url": url }))).await;
    let strict = makers_with(&section("bfl", &api.url, ""), Options::default());
    assert_eq!(told(&run(&strict, MakerId::Bfl, &plain()).await.0), failed(false));
    assert_eq!((far.heard().len(), api.heard().len()), (0, 1));
}

#[tokio::test]
async fn the_first_model_is_there_for_owners_who_want_it() {
    let bfl =
        Bfl::new("flux_pro_model = \"flux-pro\"\npaths = { \"/v1/flux-pro\" = \"/v9/pro\" }", |_, _| None, |_, _| None)
            .await;
    let values = prompt(json!({ "num_inference_steps": 28, "guidance_scale": 20.0 }));
    let (made, ear) = bfl.run(&call("fal-ai/flux-pro", values)).await;
    made.unwrap();
    let heard = bfl.api.heard().pop().unwrap();
    assert_eq!(
        (heard.path.as_str(), &heard.json()["steps"], &heard.json()["guidance"]),
        ("/v9/pro", &json!(28), &json!(5.0))
    );
    assert!(ear.log().contains("1.5 to 5"), "{}", ear.log());
}
