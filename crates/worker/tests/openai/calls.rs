//! Pictures from prompts: names, formats, sizes, and what programs read.

use image::ImageFormat;
use scumble_api::{ENDPOINTS, OpenAiAliases};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Setup, TestServer};
use serde_json::{Value, json};

use crate::{GENERATIONS, Listener, Method, answer, answering, cards, decoded, inside, post};

/// LibreChat's and Open WebUI's requests, and where they read the picture.
#[tokio::test]
async fn programs_get_pictures_by_the_names_that_they_fix() {
    let server = cards().await;
    for (body, inline) in [
        // LibreChat
        (
            json!({"model":"gpt-image-1","prompt":"a red circle","n":1,"background":"auto","output_format":"png","quality":"auto","size":"auto"}),
            true,
        ),
        (
            json!({"model":"gpt-image-1","prompt":"a red circle","n":1,"background":"transparent","output_format":"webp","output_compression":90,"quality":"high","size":"1536x1024"}),
            true,
        ),
        (
            json!({"model":"dall-e-3","prompt":"a red circle","quality":"standard","style":"vivid","size":"1792x1024","n":1}),
            false,
        ),
        // Open WebUI
        (json!({"model":"dall-e-2","prompt":"a red circle","n":1,"size":"512x512","response_format":"b64_json"}), true),
        (json!({"model":"gpt-image-1.5","prompt":"a red circle","n":1,"size":"auto"}), true),
        // others
        (
            json!({"model":"gpt-image-1","prompt":"a red circle","n":1,"size":"auto","quality":"auto","background":"auto","moderation":"auto","output_format":"png"}),
            true,
        ),
        (json!({"model":"dall-e-3","prompt":"a red circle","response_format":"url"}), false),
        (json!({"prompt":"a red circle"}), false),
    ] {
        let found = answer(post(&server, GENERATIONS, &body), 200).await;
        let (format, _) = match inline {
            true => inside(&found, 0),
            false => {
                decoded(&reqwest::get(found["data"][0]["url"].as_str().unwrap()).await.unwrap().bytes().await.unwrap())
            }
        };
        let expected = if body["output_format"] == "webp" { ImageFormat::WebP } else { ImageFormat::Png };
        assert_eq!(format, expected, "{body}");
        assert_eq!(found["data"].as_array().unwrap().len(), 1);
        assert_eq!(found["usage"].is_object(), body["model"].as_str().unwrap_or_default().starts_with("gpt"));
    }
}

#[tokio::test]
async fn the_owners_names_draw_and_are_listed() {
    let aliases = OpenAiAliases::new([("house-model".to_owned(), "scumble/starter".to_owned())]).unwrap();
    let config = scumble_server::Config { openai: aliases, ..Default::default() };
    let server = TestServer::with(Setup { server: config, ..Setup::default() }, &FakeRunner::free()).await;
    let body = json!({ "model": "house-model", "prompt": "x" });
    assert!(answer(post(&server, GENERATIONS, &body), 200).await["data"][0]["url"].is_string());
    let one = answer(server.request(Method::GET, "/v1/models/house-model"), 200).await;
    assert_eq!((&one["id"], &one["owned_by"]), (&json!("house-model"), &json!("scumble")));
    let list = answer(server.request(Method::GET, "/v1/models"), 200).await;
    assert!(list["data"].as_array().unwrap().contains(&one));

    let other = TestServer::new(&FakeRunner::free()).await;
    for request in [post(&other, GENERATIONS, &body), other.request(Method::GET, "/v1/models/house-model")] {
        let error = answer(request, 404).await;
        assert_eq!((&error["error"]["code"], &error["error"]["param"]), (&json!("model_not_found"), &json!("model")));
    }
}

#[tokio::test]
async fn a_name_of_openais_means_what_runs_here() {
    let (local, starter) = (Listener::new(), Listener::new());
    let server =
        answering(Setup::default(), [("fal-ai/flux/dev", local.runner()), ("scumble/starter", starter.runner())]).await;
    answer(post(&server, GENERATIONS, &json!({ "model": "gpt-image-1", "prompt": "x" })), 200).await;
    assert_eq!((local.last().endpoint.id, starter.count()), ("fal-ai/flux/dev", 0));
    let server = answering(Setup::default(), [("scumble/starter", starter.runner())]).await;
    answer(post(&server, GENERATIONS, &json!({ "model": "dall-e-2", "prompt": "x" })), 200).await;
    assert_eq!((local.count(), starter.last().endpoint.id), (1, "scumble/starter"));
}

#[tokio::test]
async fn bytes_are_of_the_format_that_was_asked_for() {
    let server = cards().await;
    for model in
        ["gpt-image-1", "fal-ai/flux/schnell", "scumble/starter", "fal-ai/aura-flow", "fal-ai/recraft/v2/text-to-image"]
    {
        for (name, format) in [("png", ImageFormat::Png), ("jpeg", ImageFormat::Jpeg), ("webp", ImageFormat::WebP)] {
            let body = json!({ "model": model, "prompt": "x", "output_format": name, "response_format": "b64_json" });
            assert_eq!(inside(&answer(post(&server, GENERATIONS, &body), 200).await, 0).0, format, "{model}");
        }
    }
    let size = async |compression: u32| {
        let body = json!({ "model": "fal-ai/flux/schnell", "prompt": "x", "output_format": "jpeg",
                           "output_compression": compression, "response_format": "b64_json" });
        let answer = answer(post(&server, GENERATIONS, &body), 200).await;
        answer["data"][0]["b64_json"].as_str().unwrap().len()
    };
    assert!(size(5).await < size(100).await);
    // fal's own routes keep the formats of their pages
    let direct = post(&server, "/run/fal-ai/flux/schnell", &json!({ "prompt": "x", "output_format": "webp" }));
    assert_eq!(direct.send().await.unwrap().status(), 422);
}

#[tokio::test]
async fn one_answer_lists_models_for_everybody() {
    let server = cards().await;
    for scheme in [Some("Bearer x"), Some("Bearer "), Some("Key a:b"), None] {
        let request = server.request(Method::GET, "/v1/models");
        let request = match scheme {
            Some(scheme) => request.header("authorization", scheme),
            None => request,
        };
        let list = answer(request, 200).await;
        assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)), "{scheme:?}");
        assert_eq!(list["models"].as_array().unwrap().len(), ENDPOINTS.len());
        let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
        assert!(ENDPOINTS.iter().all(|endpoint| ids.contains(&endpoint.id)));
        assert!(["gpt-image-1", "dall-e-2", "dall-e-3"].iter().all(|name| ids.contains(name)));
    }
    for name in ["fal-ai/flux/dev", "gpt-image-1", "dall-e-3"] {
        assert_eq!(answer(server.request(Method::GET, &format!("/v1/models/{name}")), 200).await["id"], name);
    }
    let error: Value = answer(server.request(Method::GET, "/v1/models?limit=0"), 400).await;
    assert!(error["error"]["message"].as_str().unwrap().contains("limit"));
}
