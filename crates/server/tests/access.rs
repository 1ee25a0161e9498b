//! Who may read a file, for how long, and what browsers are told about it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::sync::Arc;

use common::{body_of, json_of, status};
use reqwest::{Method, RequestBuilder, Response};
use scumble_store::{Admission, Clock, ManualClock, NewJob, SystemClock};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{ENDPOINT, Setup, TestServer};
use serde_json::{Value, json};

const LIFECYCLE: &str = "x-fal-object-lifecycle";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A server whose time stands still, with two keys.
struct Gallery {
    server: TestServer,
    clock: Arc<ManualClock>,
    ann: String,
    bob: String,
}

impl Gallery {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
        let setup = Setup { clock: clock.clone(), ..Setup::default() };
        let server = TestServer::with(setup, &FakeRunner::free()).await;
        let (ann, bob) = (server.key().await, server.key().await);
        Self { server, clock, ann, bob }
    }

    /// Ann's file, with this lifecycle.
    async fn file(&self, content_type: &str, lifecycle: &Value) -> String {
        let upload = self.upload(content_type, &lifecycle.to_string());
        json_of(upload).await["access_url"].as_str().unwrap().to_owned()
    }

    fn upload(&self, content_type: &str, lifecycle: &str) -> RequestBuilder {
        let upload = self.server.request(Method::POST, "/cdn/files/upload").header(LIFECYCLE, lifecycle);
        upload
            .header("authorization", format!("Key {}", self.ann))
            .header("content-type", content_type)
            .body("0123456789")
    }

    async fn cdn_token(&self, key: &str) -> String {
        let ask =
            self.server.request(Method::POST, "/rest/storage/auth/token").header("authorization", format!("Key {key}"));
        json_of(ask).await["token"].as_str().unwrap().to_owned()
    }

    fn sign(&self, url: &str, key: &str, body: &Value) -> RequestBuilder {
        reqwest::Client::new().post(format!("{url}/sign")).header("authorization", format!("Key {key}")).json(body)
    }
}

async fn get(url: &str, authorization: Option<&str>) -> Response {
    let request = reqwest::Client::new().get(url);
    let request = authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
    request.send().await.unwrap()
}

fn acl(default: &str) -> Value {
    json!({ "initial_acl": { "default": default } })
}

fn id(key: &str) -> &str {
    key.split(':').next().unwrap()
}

#[tokio::test]
async fn forbidden_is_403_hidden_is_404_and_the_owner_always_may() {
    let gallery = Gallery::new().await;
    let Gallery { ann, bob, .. } = &gallery;
    let (anns_token, bobs_token) = (gallery.cdn_token(ann).await, gallery.cdn_token(bob).await);
    for (default, others) in [("allow", 200), ("forbid", 403), ("hide", 404)] {
        let url = gallery.file("image/png", &acl(default)).await;
        for (authorization, expected) in [
            (None, others),
            (Some(format!("Key {ann}")), 200),
            (Some(format!("bearer {ann}")), 200),
            (Some(format!("Bearer {anns_token}")), 200),
            (Some(format!("Key {bob}")), others),
            (Some(format!("Bearer {bobs_token}")), others),
            (Some("Key nonsense".into()), others),
            (Some("nonsense".into()), others),
        ] {
            let answer = get(&url, authorization.as_deref()).await;
            assert_eq!(answer.status(), expected, "{default} {authorization:?}");
            let cache = answer.headers()["cache-control"].to_str().unwrap().to_owned();
            let public = default == "allow";
            assert_eq!(cache, if public { "public, max-age=5184000, immutable" } else { "private, no-store" });
            assert_eq!(answer.text().await.unwrap().contains("detail"), expected != 200);
        }
    }
    let hidden = gallery.file("image/png", &acl("hide")).await;
    let missing = format!("{}/cdn/files/b/00000000000000000000000000000000/x.png", gallery.server.url);
    let (hidden, missing) = (get(&hidden, None).await, get(&missing, None).await);
    assert_eq!(hidden.headers()["cache-control"], missing.headers()["cache-control"]);
    assert_eq!(hidden.text().await.unwrap(), missing.text().await.unwrap(), "nobody can tell them apart");
}

#[tokio::test]
async fn rules_name_readers_and_the_most_generous_credential_wins() {
    let gallery = Gallery::new().await;
    let Gallery { ann, bob, .. } = &gallery;
    let rule = |key: &str, decision: &str| json!({ "user": id(key), "decision": decision });
    let lent = json!({ "initial_acl": { "default": "hide", "rules": [rule(bob, "allow")] } });
    let lent = gallery.file("image/png", &lent).await;
    let bobs = format!("Key {bob}");
    assert_eq!((get(&lent, None).await.status().as_u16(), get(&lent, Some(&bobs)).await.status().as_u16()), (404, 200));
    let barred = json!({ "initial_acl": { "rules": [rule(bob, "forbid")] } });
    let barred = gallery.file("image/png", &barred).await;
    let anonymous = get(&barred, None).await;
    assert_eq!(anonymous.headers()["cache-control"], "private, no-store", "a cache must not give it to bob");
    assert_eq!((anonymous.status().as_u16(), get(&barred, Some(&bobs)).await.status().as_u16()), (200, 403));
    // bob's own key says no, the signed URL says yes
    let signed = gallery.sign(&barred, ann, &json!({})).send().await.unwrap().text().await.unwrap();
    assert_eq!(get(&signed, Some(&bobs)).await.status(), 200);
}

#[tokio::test]
async fn a_signed_url_opens_one_file_for_a_while() {
    let gallery = Gallery::new().await;
    let Gallery { ann, bob, clock, .. } = &gallery;
    let url = gallery.file("image/png", &acl("forbid")).await;
    let other = gallery.file("image/png", &acl("forbid")).await;
    let answer = gallery.sign(&url, ann, &json!({ "duration": 3600, "scope": ["read"] })).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    let hour = answer.text().await.unwrap();
    assert!(hour.starts_with(&format!("{url}?identity=")), "{hour}");
    let day = gallery.sign(&url, ann, &json!({})).send().await.unwrap().text().await.unwrap();
    let week = gallery.sign(&url, ann, &json!({ "duration": 604_800 })).send().await.unwrap().text().await.unwrap();
    for signed in [&hour, &day, &week] {
        assert_eq!(get(signed, None).await.status(), 200);
        let identity = signed.split_once('?').unwrap().1;
        assert_eq!(get(&format!("{other}?{identity}"), None).await.status(), 403, "another file");
        assert_eq!(get(&format!("{url}?{identity}x"), None).await.status(), 403, "changed");
    }
    let opens = async || {
        [
            get(&hour, None).await.status().as_u16(),
            get(&day, None).await.status().as_u16(),
            get(&week, None).await.status().as_u16(),
        ]
    };
    clock.advance(3_600_000);
    assert_eq!(opens().await, [403, 200, 200]);
    clock.advance(DAY_MS);
    assert_eq!(opens().await, [403, 403, 200]);
    clock.advance(6 * DAY_MS);
    assert_eq!(opens().await, [403, 403, 403]);

    for refused in [
        json!({ "duration": 0 }),
        json!({ "duration": 604_801 }),
        json!({ "scope": ["write"] }),
        json!({ "duration": "1" }),
    ] {
        assert_eq!(status(gallery.sign(&url, ann, &refused)).await, 422, "{refused}");
    }
    assert_eq!(status(gallery.sign(&url, bob, &json!({}))).await, 403);
    assert_eq!(status(gallery.sign(&url, "nonsense", &json!({}))).await, 403);
    let hidden = gallery.file("image/png", &acl("hide")).await;
    assert_eq!(status(gallery.sign(&hidden, bob, &json!({}))).await, 404);
    assert_eq!(status(gallery.sign(&format!("{url}x"), ann, &json!({}))).await, 404);
}

#[tokio::test]
async fn on_a_server_without_keys_anybody_signs() {
    let server = TestServer::new(&FakeRunner::free()).await;
    let upload =
        server.request(Method::POST, "/cdn/files/upload").header(LIFECYCLE, acl("forbid").to_string()).body("x");
    let url = json_of(upload).await["access_url"].as_str().unwrap().to_owned();
    assert_eq!(get(&url, None).await.status(), 403);
    let signed = reqwest::Client::new().post(format!("{url}/sign")).send().await.unwrap().text().await.unwrap();
    assert_eq!(body_of(&signed).await, b"x");
    let key = server.key().await;
    let sign = reqwest::Client::new().post(format!("{url}/sign")).header("authorization", format!("Key {key}"));
    assert_eq!(status(sign).await, 403, "once there are keys, nobody's file is nobody's");
}

#[tokio::test]
async fn an_expired_file_is_gone_at_once() {
    let gallery = Gallery::new().await;
    let Gallery { ann, clock, .. } = &gallery;
    let url = gallery.file("image/png", &json!({ "expiration_duration_seconds": 60 })).await;
    let kept = gallery.file("image/png", &json!({ "expiration_duration_seconds": null })).await;
    let signed = gallery.sign(&url, ann, &json!({})).send().await.unwrap().text().await.unwrap();
    let fresh = get(&url, None).await;
    assert_eq!(
        (fresh.status().as_u16(), &fresh.headers()["cache-control"]),
        (200, &"public, max-age=60, immutable".parse().unwrap())
    );
    clock.advance(59_999);
    assert_eq!(get(&url, None).await.status(), 200);
    clock.advance(1);
    for url in [&url, &signed] {
        assert_eq!(get(url, Some(&format!("Key {ann}"))).await.status(), 404);
    }
    assert_eq!(status(gallery.sign(&url, ann, &json!({}))).await, 404);
    assert_eq!(get(&kept, None).await.status(), 200);
}

#[tokio::test]
async fn a_lifecycle_that_cannot_be_read_is_refused() {
    let gallery = Gallery::new().await;
    for bad in ["forbid", "[]", r#"{"initial_acl":{"default":"nobody"}}"#, r#"{"expiration_duration_seconds":-1}"#] {
        let refused = gallery.upload("image/png", bad).send().await.unwrap();
        assert_eq!(refused.status(), 422, "{bad}");
        let loc = &refused.json::<Value>().await.unwrap()["detail"][0]["loc"];
        assert_eq!(*loc, json!(["header", "x-fal-object-lifecycle"]));
        let initiate = gallery.server.request(Method::POST, "/rest/storage/upload/initiate").header(LIFECYCLE, bad);
        assert_eq!(status(initiate.header("authorization", format!("Key {}", gallery.ann))).await, 422, "{bad}");
    }
    // Python's second name for it, alone
    let upload = gallery
        .server
        .request(Method::POST, "/cdn/files/upload")
        .header("authorization", format!("Key {}", gallery.ann));
    let upload = upload.header("x-fal-object-lifecycle-preference", acl("forbid").to_string()).body("x");
    let url = json_of(upload).await["access_url"].as_str().unwrap().to_owned();
    assert_eq!(get(&url, None).await.status(), 403);
}

#[tokio::test]
async fn the_lifecycle_of_an_initiated_upload_is_its_files() {
    let gallery = Gallery::new().await;
    let lifecycle = json!({ "expiration_duration_seconds": 60, "initial_acl": { "default": "forbid" } });
    let ask = |path: &str| {
        let ask = gallery.server.request(Method::POST, path).header("authorization", format!("Key {}", gallery.ann));
        ask.header(LIFECYCLE, lifecycle.to_string()).json(&json!({ "file_name": "x.png" }))
    };
    let single = json_of(ask("/rest/storage/upload/initiate")).await;
    let parts = json_of(ask("/rest/storage/upload/initiate-multipart")).await;
    let client = reqwest::Client::new();
    assert_eq!(status(client.put(single["upload_url"].as_str().unwrap()).body("x")).await, 200);
    let upload_url = parts["upload_url"].as_str().unwrap();
    let part = json_of(client.put(upload_url.replace('?', "/1?")).body("x")).await;
    json_of(client.post(upload_url.replace('?', "/complete?")).json(&json!({ "parts": [part] }))).await;
    let (single, parts) = (single["file_url"].as_str().unwrap(), parts["file_url"].as_str().unwrap());
    for url in [single, parts] {
        assert_eq!(get(url, None).await.status(), 403);
        assert_eq!(get(url, Some(&format!("Key {}", gallery.ann))).await.status(), 200);
    }
    gallery.clock.advance(60_000);
    for url in [single, parts] {
        assert_eq!(get(url, Some(&format!("Key {}", gallery.ann))).await.status(), 404);
    }
}

#[tokio::test]
async fn produced_files_follow_their_requests_wish() {
    let gallery = Gallery::new().await;
    let lifecycle = json!({ "expiration_duration_seconds": 60, "initial_acl": { "default": "forbid" } });
    let input = json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } });
    let job = NewJob {
        key_id: Some(id(&gallery.ann).to_owned()),
        options: json!({ "lifecycle": lifecycle }),
        ..NewJob::new(ENDPOINT, input)
    };
    let result = format!("/queue/{ENDPOINT}/requests/{}", job.id);
    gallery.server.store.enqueue(job, Admission::default()).await.unwrap();
    let ann = format!("Key {}", gallery.ann);
    let ask = || gallery.server.request(Method::GET, &result).header("authorization", &ann);
    let answered = async {
        while status(ask()).await != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), answered).await.unwrap();
    let url = json_of(ask()).await["images"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!((get(&url, None).await.status().as_u16(), get(&url, Some(&ann)).await.status().as_u16()), (403, 200));
    gallery.clock.advance(60_000);
    assert_eq!(get(&url, Some(&ann)).await.status(), 404);
}

#[tokio::test]
async fn ranges_and_heads_obey_the_same_rules() {
    let gallery = Gallery::new().await;
    let url = gallery.file("image/png", &acl("forbid")).await;
    let ann = format!("Key {}", gallery.ann);
    let ask = |method: Method, authorization: Option<&str>, range: Option<&str>| {
        let request = reqwest::Client::new().request(method, &url);
        let request = authorization.into_iter().fold(request, |r, value| r.header("authorization", value));
        range.into_iter().fold(request, |r, value| r.header("range", value)).send()
    };
    for range in [None, Some("bytes=2-4"), Some("bytes=99-")] {
        assert_eq!(ask(Method::GET, None, range).await.unwrap().status(), 403, "{range:?}");
        assert_eq!(ask(Method::HEAD, None, range).await.unwrap().status(), 403, "{range:?}");
    }
    let part = ask(Method::GET, Some(&ann), Some("bytes=2-4")).await.unwrap();
    assert_eq!((part.status().as_u16(), &part.headers()["content-range"]), (206, &"bytes 2-4/10".parse().unwrap()));
    assert_eq!(part.headers()["cache-control"], "private, no-store");
    assert_eq!(part.text().await.unwrap(), "234");
    assert_eq!(ask(Method::GET, Some(&ann), Some("bytes=10-")).await.unwrap().status(), 416);
    let head = ask(Method::HEAD, Some(&ann), None).await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &"10".parse().unwrap()));
    assert_eq!(head.headers()["content-type"], "image/png");
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_browser_could_run_it_saves_and_never_shows_outside_of_a_sandbox() {
    let gallery = Gallery::new().await;
    for (content_type, sandboxed, saved) in [
        ("image/png", false, false),
        ("image/jpeg", false, false),
        ("image/webp", false, false),
        ("video/mp4", false, false),
        ("text/plain; charset=utf-8", true, false),
        ("application/pdf", false, true),
        ("image/svg+xml", true, true),
        ("text/html", true, true),
        ("Text/HTML; charset=utf-8", true, true),
        ("application/xhtml+xml", true, true),
        ("text/xml", true, true),
        ("text/javascript", true, true),
        ("application/javascript", true, true),
        ("application/wasm", true, true),
        ("multipart/related", true, true),
        ("application/octet-stream", true, true),
    ] {
        let url = gallery.file(content_type, &json!({})).await;
        let file = get(&url, None).await;
        assert_eq!(file.headers()["content-type"], content_type);
        assert_eq!(file.headers()["x-content-type-options"], "nosniff");
        let policy = file.headers().get("content-security-policy");
        assert_eq!(
            policy.map(|p| p.to_str().unwrap()),
            sandboxed.then_some("sandbox; default-src 'none'"),
            "{content_type}"
        );
        let disposition = file.headers().get("content-disposition").map(|d| d.to_str().unwrap());
        assert_eq!(disposition, saved.then_some("attachment"), "{content_type}");
        let part = reqwest::Client::new().get(&url).header("range", "bytes=0-3").send().await.unwrap();
        assert_eq!(part.headers().contains_key("content-disposition"), saved, "a part of {content_type}");
    }
}

#[tokio::test]
async fn whoever_writes_the_name_of_a_file_into_a_prompt_is_not_given_it() {
    let gallery = Gallery::new().await;
    let hidden = gallery.file("image/png", &json!({ "initial_acl": { "default": "hide" } })).await;
    let path = hidden.split_once("/files/").unwrap().1;
    let nowhere = "b/00000000000000000000000000000000/a.png";
    let call = |input: &Value| {
        let call = gallery.server.request(Method::POST, &format!("/run/{ENDPOINT}")).json(input);
        call.header("authorization", format!("Key {}", gallery.bob))
    };
    for prompt in
        [path, nowhere].iter().flat_map(|path| ["scumble-inline:", "scumble-file:"].map(|s| format!("{s}{path}")))
    {
        let mut input =
            json!({ "prompt": prompt, "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 } });
        let output = json_of(call(&input)).await;
        assert_eq!(output["prompt"], prompt.as_str(), "a prompt comes back as it was");
        input["sync_mode"] = true.into();
        assert_eq!(json_of(call(&input)).await["prompt"], prompt.as_str());
        // an error repeats more
        let wrong = json!({ "prompt": { "url": prompt } });
        let answer = call(&wrong).send().await.unwrap();
        assert_eq!(answer.status(), 422);
        assert_eq!(answer.json::<Value>().await.unwrap()["detail"][0]["input"], wrong["prompt"]);
        let queued = gallery.server.request(Method::POST, &format!("/queue/{ENDPOINT}")).json(&wrong);
        let queued = json_of(queued.header("authorization", format!("Key {}", gallery.bob))).await;
        let result = reqwest::Client::new().get(queued["response_url"].as_str().unwrap());
        let result = result.header("authorization", format!("Key {}", gallery.bob)).send().await.unwrap();
        assert_eq!(result.status(), 422);
        assert_eq!(result.json::<Value>().await.unwrap()["detail"][0]["input"], wrong["prompt"]);
    }
}

/// When keys were last used, by id, once this holds.
async fn last_used(gallery: &Gallery, holds: impl Fn(Option<i64>, Option<i64>) -> bool) -> (Option<i64>, Option<i64>) {
    let seen = async {
        loop {
            let keys = gallery.server.store.list_keys().await.unwrap();
            let of = |key: &str| keys.iter().find(|one| one.id == id(key)).unwrap().last_used_ms;
            let (ann, bob) = (of(&gallery.ann), of(&gallery.bob));
            if holds(ann, bob) {
                return (ann, bob);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), seen).await.expect("a use is written")
}

#[tokio::test]
async fn the_last_use_of_a_key_is_written_once_a_minute() {
    let gallery = Gallery::new().await;
    let Gallery { server, clock, ann, bob } = &gallery;
    let call = async |key: &str| {
        let jobs =
            server.request(Method::GET, "/queue/fal-ai/flux/requests/00000000-0000-4000-8000-000000000000/status");
        status(jobs.header("authorization", format!("Key {key}"))).await
    };
    let begin = clock.now_ms();
    // a wrong secret of a key that exists, and none
    assert_eq!((call(&format!("{}:wrong", id(bob))).await, call("nonsense").await), (401, 401));
    assert_eq!(call(ann).await, 404);
    last_used(&gallery, |ann, _| ann == Some(begin)).await;
    // within the minute nothing is written; what comes first in the next one is
    clock.advance(59_999);
    assert_eq!(call(ann).await, 404);
    clock.advance(1);
    assert_eq!(call(ann).await, 404);
    assert_eq!(last_used(&gallery, |ann, _| ann != Some(begin)).await, (Some(begin + 60_000), None));
    // what was given for a key is used with it
    let token = gallery.cdn_token(bob).await;
    let (_, used) = last_used(&gallery, |_, bob| bob.is_some()).await;
    assert_eq!(used, Some(begin + 60_000));
    clock.advance(60_000);
    let upload = server.request(Method::POST, "/cdn/files/upload").header("authorization", format!("Bearer {token}"));
    assert_eq!(status(upload.header("content-type", "image/png").body("0123456789")).await, 200);
    last_used(&gallery, |_, bob| bob == Some(begin + 120_000)).await;
}
