//! Google: Gemini's image models behind Imagen's endpoints, by key and by service account.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};

use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use scumble_providers::{Call, Cost, Made, MakerError, MakerId, Makers};
use serde_json::{Value, json};

use crate::desk::*;
use crate::far::{Far, Heard, Say, json, text};

struct Google {
    api: Far,
    makers: Arc<Makers>,
}

type Answered = fn(&Heard, usize) -> Option<Say>;

impl Google {
    async fn new(more: &str, answered: Answered) -> Self {
        let api = Far::new(move |heard, before| {
            assert_eq!(heard.header("x-goog-api-key"), Some(KEY));
            assert!(!heard.path.contains('?'), "no key in an address: {}", heard.path);
            answered(heard, before).unwrap_or_else(|| drawn(&jpeg()))
        });
        let api = api.await;
        let makers = makers(&section("google", &api.url, more));
        Self { api, makers }
    }

    async fn run(&self, call: &Call) -> (Result<Made, MakerError>, Ear) {
        run(&self.makers, MakerId::Google, call).await
    }
}

/// An answer with a picture that was only thought of, words, and two that are shown: the last counts.
fn drawn(bytes: &[u8]) -> Say {
    let inline = |bytes: &[u8]| json!({ "inlineData": { "mimeType": "image/jpeg", "data": BASE64.encode(bytes) } });
    let mut thought = inline(b"WORDS");
    thought["thought"] = true.into();
    let mut late_thought = thought.clone();
    late_thought["thoughtSignature"] = "x".into();
    let parts = json!([thought, { "text": "WORDS" }, inline(b"WORDS"), inline(bytes), late_thought]);
    json(200, json!({ "candidates": [{ "finishReason": "STOP", "content": { "parts": parts } }], "responseId": "r1" }))
}

fn finished(reason: &str) -> Option<Say> {
    Some(json(200, json!({ "candidates": [{ "finishReason": reason, "index": 0 }] })))
}

fn error(code: u16, status: &str, message: &str, details: Value) -> Option<Say> {
    let error = json!({ "code": code, "message": message, "status": status, "details": details });
    Some(json(code, json!({ "error": error })))
}

fn panda(more: Value) -> Call {
    let mut values = json!({ "prompt": "a red panda", "negative_prompt": "", "aspect_ratio": "16:9", "num_images": 1 });
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    call("fal-ai/imagen4/preview", values)
}

#[tokio::test]
async fn every_field_has_its_place() {
    let google = Google::new("", |_, _| None).await;
    let (made, ear) = google.run(&panda(json!({ "seed": 5 }))).await;
    let made = made.unwrap();
    let heard = &google.api.heard()[0];
    assert_eq!(heard.path, "/v1beta/models/gemini-3.1-flash-image:generateContent");
    let expected = json!({
        "contents": [{ "role": "user", "parts": [{ "text": "a red panda" }] }],
        "generationConfig": {
            "responseModalities": ["IMAGE"], "imageConfig": { "aspectRatio": "16:9", "imageSize": "1K" },
            "thinkingConfig": { "thinkingLevel": "HIGH" }, "seed": 5,
        },
    });
    assert_eq!(heard.json(), expected);
    // JPEG becomes PNG, as fal's are
    let file = &made.files[0];
    assert_eq!((file.content_type, file.name.as_str(), file.size), ("image/png", "output.png", Some((64, 48))));
    assert_eq!((made.seed, ear.spent()), (Some(5), Cost::from_usd(0.067)));
    assert!(ear.log().contains("gemini-3.1-flash-image"), "which model answers is said: {}", ear.log());
    // the fast one thinks less; a negative prompt becomes words
    let fast = Call {
        endpoint: "fal-ai/imagen4/preview/fast".into(),
        ..panda(json!({ "negative_prompt": "text", "resolution": "2K" }))
    };
    google.run(&fast).await.0.unwrap();
    let body = google.api.heard().pop().unwrap().json();
    assert_eq!(body["generationConfig"]["thinkingConfig"]["thinkingLevel"], "MINIMAL");
    assert_eq!(body["generationConfig"]["imageConfig"]["imageSize"], "2K");
    assert_eq!(body["contents"][0]["parts"][0]["text"], "a red panda\nDo not include: text");
    let google = Google::new("ignore_negative_prompt = true\nkeep_jpeg = true\nthinking = \"\"", |_, _| None).await;
    let (made, _) = google.run(&panda(json!({ "negative_prompt": "text" }))).await;
    assert_eq!(
        (&made.as_ref().unwrap().files[0].bytes[..], made.as_ref().unwrap().files[0].name.as_str()),
        (&jpeg()[..], "output.jpeg")
    );
    let body = google.api.heard()[0].json();
    assert_eq!(
        (&body["contents"][0]["parts"][0]["text"], body["generationConfig"].get("thinkingConfig")),
        (&json!("a red panda"), None)
    );
    assert_eq!(
        told(&google.run(&panda(json!({ "prompt": "" }))).await.0),
        bad("value_error", json!(["body", "prompt"]))
    );
    assert_eq!(
        told(&google.run(&panda(json!({ "aspect_ratio": "7:7" }))).await.0),
        bad("one_of", json!(["body", "aspect_ratio"]))
    );
}

#[tokio::test]
async fn several_pictures_are_several_calls() {
    let refused: Answered =
        |heard, _| (heard.json()["generationConfig"]["seed"] == 8).then(|| finished("IMAGE_SAFETY").unwrap());
    let google = Google::new("", refused).await;
    let four = panda(json!({ "num_images": 4, "seed": 7 }));
    let (made, _) = google.run(&four).await;
    let made = made.unwrap();
    assert_eq!((made.files.len(), made.seed, made.units), (3, Some(7), 3));
    let mut seeds: Vec<u64> =
        google.api.heard().iter().map(|heard| heard.json()["generationConfig"]["seed"].as_u64().unwrap()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [7, 8, 9, 10]);
    assert_eq!(google.makers.spent(MakerId::Google), Cost::from_usd(0.201));
    let google = Google::new("", |_, _| finished("SAFETY")).await;
    assert_eq!(told(&google.run(&four).await.0), moderated("prompt"));
    let google =
        Google::new("", |heard, _| (heard.json()["generationConfig"]["seed"] == 9).then(|| text(400, "WORDS"))).await;
    assert_eq!(told(&google.run(&four).await.0), failed(false));
}

#[tokio::test]
async fn what_google_may_answer() {
    for (answered, expected, sent) in [
        (
            (|_, _| Some(json(200, json!({ "promptFeedback": { "blockReason": "OTHER" } })))) as Answered,
            moderated("prompt"),
            1,
        ),
        (|_, _| Some(json(200, json!({ "promptFeedback": { "blockReason": "MODEL_ARMOR" } }))), moderated("prompt"), 1),
        (|_, _| finished("SAFETY"), moderated("prompt"), 1),
        (|_, _| finished("IMAGE_SAFETY"), moderated("prompt"), 1),
        (|_, _| finished("PROHIBITED_CONTENT"), moderated("prompt"), 1),
        (|_, _| finished("IMAGE_PROHIBITED_CONTENT"), moderated("prompt"), 1),
        (|_, _| finished("BLOCKLIST"), moderated("prompt"), 1),
        (|_, _| finished("SPII"), moderated("prompt"), 1),
        (|_, _| finished("RECITATION"), moderated("prompt"), 1),
        (|_, _| finished("IMAGE_RECITATION"), moderated("prompt"), 1),
        (|_, _| finished("NO_IMAGE"), nothing(), 2),
        (|_, _| finished("IMAGE_OTHER"), nothing(), 1),
        (|_, _| finished("OTHER"), nothing(), 1),
        (|_, _| finished("MAX_TOKENS"), nothing(), 1),
        (|_, _| finished("MALFORMED_FUNCTION_CALL"), nothing(), 1),
        (|_, _| finished("STOP"), nothing(), 1),
        (|_, _| Some(json(200, json!({ "candidates": [] }))), nothing(), 1),
        (|_, _| Some(text(200, "WORDS")), failed(false), 1),
        (|_, _| Some(drawn(b"WORDS")), failed(false), 1),
        (|_, _| error(400, "INVALID_ARGUMENT", "WORDS", json!([])), failed(false), 1),
        (
            |_, _| error(400, "INVALID_ARGUMENT", "WORDS", json!([{ "reason": "API_KEY_INVALID" }])),
            unavailable(false),
            1,
        ),
        (|_, _| error(400, "FAILED_PRECONDITION", "WORDS", json!([])), unavailable(false), 1),
        (
            |_, _| error(400, "INVALID_ARGUMENT", "blocked by Responsible AI practices. WORDS", json!([])),
            moderated("prompt"),
            1,
        ),
        (|_, _| error(403, "PERMISSION_DENIED", "WORDS", json!([])), unavailable(false), 1),
        (|_, _| error(404, "NOT_FOUND", "WORDS", json!([])), unavailable(false), 1),
        (|_, _| error(500, "INTERNAL", "WORDS", json!([])), unavailable(true), 3),
        (|_, _| error(503, "UNAVAILABLE", "WORDS", json!([])), unavailable(true), 3),
        (|_, _| error(504, "DEADLINE_EXCEEDED", "WORDS", json!([])), unavailable(true), 3),
        (|_, _| error(429, "RESOURCE_EXHAUSTED", "WORDS", json!([{ "retryDelay": "3600s" }])), unavailable(true), 1),
        (|_, _| Some(Say::Gone), late(), 1),
        (|_, _| Some(Say::Cut(200, "application/json", vec![b' '; 100], 50)), late(), 1),
    ] {
        let google = Google::new("", answered).await;
        let (result, ear) = google.run(&panda(json!({}))).await;
        assert_eq!((told(&result), google.api.heard().len()), (expected, sent), "{}", ear.log());
    }
    let google = Google::new("", |_, before| match before {
        0 => error(429, "RESOURCE_EXHAUSTED", "WORDS", json!([{ "x": 1 }, { "retryDelay": "0.5s" }])),
        1 => finished("NO_IMAGE"),
        _ => None,
    })
    .await;
    let (made, ear) = google.run(&panda(json!({}))).await;
    made.unwrap();
    assert!(ear.log().contains("asked again in 0.5 s"), "{}", ear.log());
    // sent before a restart: not sent again
    let (result, _) = google.run(&Call { resume: Some(ear.ticket()), ..panda(json!({})) }).await;
    assert_eq!((told(&result), google.api.heard().len()), (late(), 3));
}

#[tokio::test]
async fn an_imagen_that_an_owner_still_has_is_asked_in_its_own_shape() {
    let model = "imagen4_model = \"imagen-4.0-generate-001\"";
    let two: Answered = |_, _| {
        let picture = json!({ "mimeType": "image/png", "bytesBase64Encoded": BASE64.encode(png()) });
        Some(json(200, json!({ "predictions": [picture, { "raiFilteredReason": "WORDS" }] })))
    };
    let google = Google::new(model, two).await;
    let (made, ear) = google.run(&panda(json!({ "num_images": 2, "negative_prompt": "text" }))).await;
    let made = made.unwrap();
    let heard = &google.api.heard()[0];
    assert_eq!(heard.path, "/v1beta/models/imagen-4.0-generate-001:predict");
    let expected = json!({ "instances": [{ "prompt": "a red panda" }], "parameters": {
        "sampleCount": 2, "aspectRatio": "16:9", "personGeneration": "allow_adult", "includeRaiReason": true } });
    assert_eq!(heard.json(), expected);
    assert_eq!((made.files.len(), ear.spent()), (1, Cost::from_usd(0.04)));
    assert!(ear.log().contains("seed has no effect") && ear.log().contains("negative_prompt has no effect"));
    for (answered, expected) in [
        ((|_, _| Some(json(200, json!({})))) as Answered, moderated("prompt")),
        (|_, _| Some(json(200, json!({ "predictions": [{ "raiFilteredReason": "WORDS" }] }))), moderated("prompt")),
        (|_, _| error(400, "INVALID_ARGUMENT", "WORDS Support codes: 0", json!([])), moderated("prompt")),
        (|_, _| error(404, "NOT_FOUND", "WORDS", json!([])), unavailable(false)),
    ] {
        let google = Google::new(model, answered).await;
        assert_eq!(told(&google.run(&panda(json!({}))).await.0), expected);
    }
}

/// A key made for these tests, which opens nothing.
const PEM: &str = include_str!("test-key.pem");

fn account(folder: &std::path::Path, token_uri: &str) -> String {
    let file = folder.join("account.json");
    let account = json!({ "type": "service_account", "client_email": "me@project.example", "private_key": PEM,
                          "private_key_id": "k1", "token_uri": token_uri, "project_id": "project-1" });
    std::fs::write(&file, account.to_string()).unwrap();
    file.display().to_string()
}

/// Whether the statement is signed by the key of these tests, and says what it should.
fn check_assertion(heard: &Heard, audience: &str) {
    let form = String::from_utf8(heard.body.clone()).unwrap();
    let jwt = form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=").unwrap();
    let (said, signature) = jwt.rsplit_once('.').unwrap();
    let der: String = PEM.lines().filter(|line| !line.starts_with("-----")).collect();
    let pair = RsaKeyPair::from_pkcs8(&BASE64.decode(der).unwrap()).unwrap();
    let public: RsaPublicKeyComponents<Vec<u8>> = pair.public_key().into();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    public.verify(&RSA_PKCS1_2048_8192_SHA256, said.as_bytes(), &signature).unwrap();
    let part = |n: usize| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(said.split('.').nth(n).unwrap()).unwrap()).unwrap()
    };
    assert_eq!(part(0), json!({ "alg": "RS256", "typ": "JWT", "kid": "k1" }));
    let claims = part(1);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("me@project.example"), &json!(audience)));
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloud-platform");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
}

#[tokio::test]
async fn a_service_account_signs_for_a_token_and_keeps_it() {
    static ISSUED: AtomicUsize = AtomicUsize::new(0);
    let tokens = Far::new(|heard, before| match before {
        0 => text(503, "WORDS"),
        _ => {
            assert_eq!(heard.header("content-type"), Some("application/x-www-form-urlencoded"));
            let n = ISSUED.fetch_add(1, Ordering::SeqCst) + 1;
            json(200, json!({ "access_token": format!("{KEY}-token-{n}"), "expires_in": 3599, "token_type": "Bearer" }))
        }
    })
    .await;
    let api = Far::new(|heard, _| {
        let token = heard.header("authorization").unwrap().to_owned();
        // the first token is not taken any more
        if token.ends_with("token-1") {
            return error(401, "UNAUTHENTICATED", "WORDS", json!([])).unwrap();
        }
        assert_eq!(token, format!("Bearer {KEY}-token-2"));
        drawn(&png())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let uri = format!("{}/token", tokens.url);
    let toml = format!(
        "[google]\nmode = \"vertex\"\nbase_url = \"{}\"\nservice_account = \"{}\"",
        api.url,
        account(folder.path(), &uri)
    );
    let makers = makers(&toml);
    let (made, _) = run(&makers, MakerId::Google, &panda(json!({}))).await;
    made.unwrap();
    run(&makers, MakerId::Google, &panda(json!({}))).await.0.unwrap();
    assert_eq!((ISSUED.load(Ordering::SeqCst), api.heard().len()), (2, 3));
    let heard = &api.heard()[0];
    let path =
        "/v1/projects/project-1/locations/global/publishers/google/models/gemini-3.1-flash-image:generateContent";
    assert_eq!(heard.path, path);
    let image = &heard.json()["generationConfig"]["imageConfig"];
    let expected = json!({ "aspectRatio": "16:9", "imageSize": "1K", "personGeneration": "ALLOW_ADULT",
                           "imageOutputOptions": { "mimeType": "image/png" } });
    assert_eq!(image, &expected);
    for heard in tokens.heard() {
        check_assertion(&heard, &uri);
    }
}

#[tokio::test]
async fn an_account_that_is_refused_says_so() {
    let tokens = Far::new(|_, _| json(400, json!({ "error": "invalid_grant", "error_description": "WORDS" }))).await;
    let api = Far::new(|_, _| drawn(&png())).await;
    let folder = tempfile::tempdir().unwrap();
    let file = account(folder.path(), &tokens.url);
    let toml = format!("[google]\nmode = \"vertex\"\nbase_url = \"{}\"\nservice_account = \"{file}\"", api.url);
    let refused = makers(&toml);
    let (result, _) = run(&refused, MakerId::Google, &panda(json!({}))).await;
    assert_eq!((told(&result), api.heard().len(), tokens.heard().len()), (unavailable(false), 0, 1));
    // always 401: one fresh token, and then an error
    let tokens = Far::new(|_, _| json(200, json!({ "access_token": "t", "expires_in": 3599 }))).await;
    let api = Far::new(|_, _| error(401, "UNAUTHENTICATED", "WORDS", json!([])).unwrap()).await;
    let file = account(folder.path(), &tokens.url);
    let toml = format!("[google]\nmode = \"vertex\"\nbase_url = \"{}\"\nservice_account = \"{file}\"", api.url);
    let makers = makers(&toml);
    let (result, _) = run(&makers, MakerId::Google, &panda(json!({}))).await;
    assert_eq!((told(&result), api.heard().len(), tokens.heard().len()), (unavailable(false), 2, 2));
}

#[tokio::test]
async fn a_key_of_vertex_knows_its_project() {
    let google = Google::new("mode = \"vertex\"", |_, _| None).await;
    google.run(&panda(json!({}))).await.0.unwrap();
    assert_eq!(google.api.heard()[0].path, "/v1/publishers/google/models/gemini-3.1-flash-image:generateContent");
    let google = Google::new("mode = \"vertex\"\nproject = \"p\"\nlocation = \"europe-west4\"", |_, _| None).await;
    google.run(&panda(json!({}))).await.0.unwrap();
    let path = "/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-3.1-flash-image:generateContent";
    assert_eq!(google.api.heard()[0].path, path);
    assert_eq!(bytes(&google.run(&panda(json!({}))).await.0).len(), 1);
}
