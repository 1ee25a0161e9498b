//! Pictures from pictures: forms, JSON, masks, limits.

use base64::Engine as _;
use image::ImageFormat;
use scumble_testkit::server::Setup;
use serde_json::{Value, json};

use crate::form::Form;
use crate::{EDITS, Listener, answer, answering, cards, decoded, file, inside, mask, photo, post, roomy, until};

const VARIATIONS: &str = "/v1/images/variations";
const REDUX: &str = "fal-ai/flux-pro/v1/redux";
const FILL: &str = "fal-ai/flux-pro/v1/fill";

#[tokio::test]
async fn every_way_to_send_a_picture_gets_one() {
    let server = cards().await;
    let png = file(&photo(64, 64), ImageFormat::Png);
    let (jpeg, webp) = (file(&photo(64, 64), ImageFormat::Jpeg), file(&photo(64, 64), ImageFormat::WebP));
    let words = |model: &'static str| Form::new(&[("model", model), ("prompt", "a hat")]);
    let redux = words(REDUX).text("size", "auto").file("image", &png).sent(&server, EDITS);
    assert!(answer(redux, 200).await["data"][0]["url"].is_string());
    let omnigen = words("fal-ai/omnigen-v2").file("image[]", &png).file("image[]", &jpeg).sent(&server, EDITS);
    assert!(answer(omnigen, 200).await["data"][0]["url"].is_string());
    // LibreChat
    let chat = words("gpt-image-1").text("quality", "auto").text("size", "auto");
    let chat = chat.file("image[]", &png).file("image[]", &jpeg).file("image[]", &webp).sent(&server, EDITS);
    assert_eq!(inside(&answer(chat, 200).await, 0).0, ImageFormat::Png);
    let one =
        words("gpt-image-1").file("image", &png).text("n", "3").text("output_format", "webp").sent(&server, EDITS);
    let found = answer(one, 200).await;
    assert_eq!((inside(&found, 2).0, found["data"].as_array().unwrap().len()), (ImageFormat::WebP, 3));
    for model in [None, Some("dall-e-2")] {
        let form = model.map_or(Form::default(), |model| Form::new(&[("model", model)]));
        let vary = form.text("n", "1").text("size", "512x512").file("image", &png).sent(&server, VARIATIONS);
        let found = answer(vary, 200).await;
        let bytes = reqwest::get(found["data"][0]["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
        assert_eq!(decoded(&bytes).1.width(), 512);
    }
    let uri = format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(&png));
    for image in [json!(uri), json!([uri]), json!([{ "image_url": uri }]), json!({ "image_url": uri })] {
        let body = json!({ "model": "gpt-image-1", "prompt": "a hat", "images": image });
        assert_eq!(inside(&answer(post(&server, EDITS, &body), 200).await, 0).0, ImageFormat::Png);
    }
}

#[tokio::test]
async fn without_a_size_pictures_are_like_the_one_that_was_given() {
    let listener = Listener::new();
    let setup = Setup { server: roomy(), ..Setup::default() };
    let server = answering(setup, [(REDUX, listener.runner())]).await;
    let png = file(&photo(96, 64), ImageFormat::Png);
    let drawn = async |size: &str| {
        let form = Form::new(&[("model", REDUX), ("prompt", "a hat"), ("size", size)]).file("image", &png);
        answer(form.sent(&server, EDITS), 200).await;
        let request = listener.last();
        let size = request.input.size.pixels(None);
        assert_eq!(request.values["image_size"]["width"], size.width);
        (size.width, size.height)
    };
    assert_eq!(drawn("auto").await, (96, 64));
    assert_eq!(drawn("1536x1024").await, (1536, 1024));
    let plain = Form::new(&[("model", REDUX)]).file("image", &png).sent(&server, VARIATIONS);
    answer(plain, 200).await;
    assert_eq!(listener.last().values["image_size"]["height"], 64);
}

#[tokio::test]
async fn what_a_mask_shows_through_is_painted_anew() {
    let listener = Listener::new();
    let setup = Setup { server: roomy(), ..Setup::default() };
    let server = answering(setup, [(FILL, listener.runner()), ("fal-ai/ideogram/v3/edit", listener.runner())]).await;
    let png = file(&photo(32, 16), ImageFormat::Png);
    let form = |model: &'static str| Form::new(&[("model", model), ("prompt", "a hat")]).file("image", &png);
    let seen = || {
        let picture = listener.last().pictures.into_iter().find(|p| p.path == ["mask_url"]).unwrap();
        let grey = decoded(&picture.bytes).1.into_luma8();
        assert_eq!(grey.dimensions(), (32, 16));
        (grey.get_pixel(3, 3).0[0], grey.get_pixel(30, 3).0[0])
    };
    let clear_left = file(&mask(32, 16), ImageFormat::Png);
    answer(form(FILL).file("mask", &clear_left).sent(&server, EDITS), 200).await;
    assert_eq!(seen(), (255, 0), "white is painted there");
    answer(form("gpt-image-1").file("mask", &clear_left).sent(&server, EDITS), 200).await;
    assert_eq!((listener.last().endpoint.id, seen()), (FILL, (255, 0)));
    answer(form("fal-ai/ideogram/v3/edit").file("mask", &clear_left).sent(&server, EDITS), 200).await;
    assert_eq!(seen(), (0, 255), "black is painted there");
    // without a mask the picture's own transparency is one
    let own = Form::new(&[("model", FILL), ("prompt", "a hat")]).file("image", &clear_left);
    answer(own.sent(&server, EDITS), 200).await;
    assert_eq!(seen(), (255, 0));

    for (wrong, word) in [(file(&mask(16, 16), ImageFormat::Png), "16 × 16"), (png.clone(), "no transparency")] {
        let error = answer(form(FILL).file("mask", &wrong).sent(&server, EDITS), 400).await;
        assert_eq!(error["error"]["param"], "mask");
        assert!(error["error"]["message"].as_str().unwrap().contains(word), "{error}");
    }
    let error = answer(form(FILL).sent(&server, EDITS), 400).await;
    assert_eq!(error["error"]["param"], "mask");
    let said = error["error"]["message"].as_str().unwrap();
    assert!(said.starts_with("mask: No mask was sent, and the picture has no transparency"), "{said}");
    // fal's own field means colours
    let before = listener.count();
    let uri =
        |bytes: &[u8]| format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes));
    let body = json!({ "prompt": "x", "image_url": uri(&png), "mask_url": uri(&clear_left) });
    assert_eq!(post(&server, &format!("/run/{FILL}"), &body).send().await.unwrap().status(), 200);
    assert_eq!(listener.count(), before + 1);
    let given = listener.last().pictures.into_iter().find(|p| p.path == ["mask_url"]).unwrap();
    assert_eq!(given.bytes, clear_left);
}

#[tokio::test]
async fn what_is_no_picture_or_too_much_is_refused() {
    let server = cards().await;
    let png = file(&photo(8, 8), ImageFormat::Png);
    let form = |model: &'static str| Form::new(&[("model", model), ("prompt", "a hat")]);
    let refused = async |form: Form, param: &str, word: &str| {
        let error = answer(form.sent(&server, EDITS), 400).await;
        assert_eq!(error["error"]["param"], param, "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(word), "{error}");
    };
    refused(form(REDUX), "image", "missing").await;
    refused(form(REDUX).file("image", b""), "image", "empty").await;
    refused(form(REDUX).file("image", b"no picture at all"), "image", "not a picture").await;
    refused(form(REDUX).file("image", &png[..20]), "image", "decoded").await;
    refused(form(REDUX).file("image[]", &png).file("image[]", &png), "image", "1 pictures at most").await;
    refused(form(REDUX).file("image", &png).file("mask", &png), "mask", "takes no mask").await;
    refused(form("scumble/starter").file("image", &png), "model", "takes no picture").await;
    refused(form(REDUX).file("image", &png).text("n", "eleven"), "n", "from 1 to 10").await;
    let many = (0..17).fold(form("gpt-image-1"), |form, _| form.file("image[]", &png));
    refused(many, "image", "more than 16").await;
    refused(form(REDUX).text("quality", &"x".repeat(300_000)), "quality", "longer than").await;
    let many = (0..70).fold(Form::default(), |form, n| form.text(&format!("f{n}"), "x"));
    let error = answer(many.sent(&server, EDITS), 400).await;
    assert!(error["error"]["message"].as_str().unwrap().contains("more than 64 parts"), "{error}");
    let cut = form(REDUX).file("image", &png).unfinished(&server, EDITS);
    assert_eq!(answer(cut, 400).await["error"]["type"], "invalid_request_error");
    let tiny = form(REDUX).file("image", &png).text("size", "20000x20000");
    let error = answer(tiny.sent(&server, EDITS), 400).await;
    let said = error["error"]["message"].as_str().unwrap();
    assert!(said.contains("size (width): ") && said.contains("size (height): "), "{said}");
    let huge = form(REDUX).file("image", &vec![0; 5 * 1024 * 1024]).sent(&server, EDITS);
    let error = answer(huge, 413).await;
    assert!(error["error"]["message"].is_string());
    for body in [json!({ "image": 5 }), json!({ "image": { "file_id": "f" } }), json!({ "images": ["data:,"] })] {
        assert_eq!(answer(post(&server, EDITS, &body), 400).await["error"]["param"], "image");
    }
}

#[tokio::test]
async fn a_refused_call_leaves_no_file_behind() {
    let server = cards().await;
    let files = || std::fs::read_dir(server.folder().join("files/b")).map_or(0, Iterator::count);
    let png = file(&photo(8, 8), ImageFormat::Png);
    let form = || Form::new(&[("model", REDUX), ("size", "20000x20000")]).file("image", &png);
    answer(form().sent(&server, EDITS), 400).await;
    until("they are removed", async || files() == 0).await;
    assert!(server.store.expired_files(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_picture_is_its_senders_and_goes_after_a_day() {
    let listener = Listener::new();
    let setup = Setup { server: roomy(), ..Setup::default() };
    let server = answering(setup, [(REDUX, listener.runner())]).await;
    let (ann, bob) = (server.key().await, server.key().await);
    let png = file(&photo(8, 8), ImageFormat::Png);
    let form = Form::new(&[("model", REDUX), ("prompt", "a hat")]).file("image", &png).sent(&server, EDITS);
    answer(form.header("authorization", format!("Bearer {ann}")), 200).await;
    let url = listener.last().pictures[0].url.clone();
    let read = async |key: Option<&str>| {
        let request = server.request(reqwest::Method::GET, url.strip_prefix(&server.url).unwrap());
        let request =
            key.map_or(request.try_clone().unwrap(), |key| request.header("authorization", format!("Key {key}")));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((read(Some(&ann)).await, read(Some(&bob)).await, read(None).await), (200, 404, 404));
    let path = url.split_once("/files/").unwrap().1;
    let row = server.store.file(path).await.unwrap().unwrap();
    assert_eq!(row.expires_ms.unwrap() - row.created_ms, 24 * 60 * 60 * 1000);
}

#[tokio::test]
async fn a_call_that_is_said_twice_is_one() {
    let listener = Listener::new();
    let setup = Setup { server: roomy(), ..Setup::default() };
    let server = answering(setup, [(REDUX, listener.runner())]).await;
    let png = file(&photo(8, 8), ImageFormat::Png);
    let call = async |prompt: &str, n: &str| {
        let form = Form::new(&[("model", REDUX), ("prompt", prompt), ("n", n)]).file("image", &png);
        form.sent(&server, EDITS).header("idempotency-key", "w").send().await.unwrap()
    };
    let id = |answer: &reqwest::Response| answer.headers()["x-request-id"].clone();
    let (first, again) = (call("a hat", "6").await, call("a hat", "6").await);
    assert_eq!((first.status(), id(&first)), (again.status(), id(&again)));
    assert_eq!(first.status(), 200);
    assert_eq!(listener.count(), 2, "two jobs of four and two pictures");
    let (first, again): (Value, Value) = (first.json().await.unwrap(), again.json().await.unwrap());
    assert_eq!(first["data"], again["data"]);
    assert_eq!(call("another hat", "6").await.status(), 400);
}

#[tokio::test]
async fn edits_and_variations_go_to_what_answers_here() {
    let listener = Listener::new();
    let setup = Setup { server: roomy(), ..Setup::default() };
    let (image, fill) = ("fal-ai/flux/dev/image-to-image", "fal-ai/flux-lora-fill");
    let server = answering(setup, [(image, listener.runner()), (fill, listener.runner())]).await;
    let png = file(&photo(32, 32), ImageFormat::Png);
    let form = |model: Option<&'static str>| match model {
        Some(model) => Form::new(&[("model", model), ("prompt", "a hat")]).file("image", &png),
        None => Form::new(&[("prompt", "a hat")]).file("image", &png),
    };
    for model in [None, Some("gpt-image-1")] {
        answer(form(model).sent(&server, EDITS), 200).await;
        assert_eq!(listener.last().endpoint.id, image, "{model:?}");
        let masked = form(model).file("mask", &file(&mask(32, 32), ImageFormat::Png));
        answer(masked.sent(&server, EDITS), 200).await;
        assert_eq!(listener.last().endpoint.id, fill, "{model:?}");
    }
    answer(Form::default().file("image", &png).sent(&server, VARIATIONS), 200).await;
    let request = listener.last();
    assert_eq!((request.endpoint.id, request.input.prompt.as_str()), (image, ""));
    assert_eq!(request.values["strength"], 0.75);
}

#[tokio::test]
async fn words_that_are_not_openais_are_named_in_the_log() {
    let server = cards().await;
    let png = file(&photo(32, 32), ImageFormat::Png);
    let form = Form::new(&[("model", "fal-ai/flux-lora/image-to-image"), ("prompt", "a hat"), ("loras", "[]")]);
    let sent = form.text("n", "5").file("image", &png).sent(&server, EDITS).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    let filter = scumble_store::JobFilter { endpoint: None, state: None, key_id: None, before: None, limit: 100 };
    let jobs = server.store.recent(&filter).await.unwrap();
    assert_eq!(jobs.len(), 2, "four pictures, and one");
    let mut lines = Vec::new();
    for job in jobs {
        let events = server.store.events(job.id, 0).await.unwrap();
        lines.extend(events.into_iter().filter_map(|event| match event.kind {
            scumble_store::EventKind::Log { message, .. } => Some(message),
            _ => None,
        }));
    }
    let told: Vec<&String> = lines.iter().filter(|line| line.contains("no loras; it was ignored")).collect();
    assert_eq!(told.len(), 1, "once for a call: {lines:?}");
    assert!(told[0].ends_with("POST /run/fal-ai/flux-lora/image-to-image"), "{told:?}");
}
