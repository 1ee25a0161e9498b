//! fal itself: an endpoint forwarded through its queue.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use scumble_providers::{Call, Made, MakerError, MakerId, Makers};
use serde_json::{Value, json};

use crate::desk::*;
use crate::far::{Far, Heard, Say, file, json, text};

struct Fal {
    api: Far,
    makers: Arc<Makers>,
}

type Answered = fn(&Heard, usize) -> Option<Say>;

const AT: &str = "/fal-ai/flux/requests/r-1";

impl Fal {
    async fn new(answered: Answered) -> Self {
        let media = Far::new(|heard, _| {
            assert_eq!(heard.header("authorization"), None);
            file("image/png", &png())
        });
        let media = Arc::new(media.await);
        let api = Far::new(move |heard, before| {
            assert_eq!(heard.header("authorization"), Some(format!("Key {KEY}").as_str()));
            if let Some(say) = answered(heard, before) {
                return say;
            }
            match (heard.method.as_str(), heard.path.strip_prefix(AT)) {
                // the addresses that it gives are not needed, and not trusted
                ("POST", None) => json(200, json!({ "request_id": "r-1", "status_url": "http://elsewhere.example/" })),
                ("GET", Some("/status")) if before < 2 => json(202, json!({ "status": "IN_PROGRESS" })),
                ("GET", Some("/status")) => json(200, json!({ "status": "COMPLETED" })),
                ("PUT", Some("/cancel")) => json(202, json!({ "status": "CANCELLATION_REQUESTED" })),
                _ => {
                    let image =
                        json!({ "url": format!("{}/a.png", media.url), "width": 1, "height": 1, "file_name": "a.png" });
                    let body = json!({ "images": [image], "timings": { "inference": 1.5 }, "seed": 9, "prompt": "p",
                                       "has_nsfw_concepts": [false], "WORDS": 1 });
                    let headers = vec![("x-fal-billable-units", "1.2".to_owned())];
                    Say::Answer(200, headers, body.to_string().into_bytes())
                }
            }
        });
        let api = api.await;
        let makers = makers(&section("fal", &api.url, "usd_per_image = 0.025"));
        Self { api, makers }
    }

    async fn run(&self, call: &Call) -> (Result<Made, MakerError>, Ear) {
        run(&self.makers, MakerId::Fal, call).await
    }

    fn submits(&self) -> Vec<Heard> {
        self.api.heard().into_iter().filter(|heard| heard.method == "POST").collect()
    }
}

fn panda() -> Call {
    call("fal-ai/flux/dev", json!({ "prompt": "a red panda", "num_images": 1, "sync_mode": true }))
}

#[tokio::test]
async fn a_request_is_forwarded_and_its_pictures_are_brought_home() {
    let fal = Fal::new(|_, _| None).await;
    let mut with_pictures = panda();
    with_pictures.values.insert("image_url".into(), "http://10.0.0.1/private.png".into());
    with_pictures.values.insert("image_urls".into(), json!(["http://10.0.0.1/private.png"]));
    let with_pictures = with_image(with_image(with_pictures, "image_url", png()), "image_urls", png());
    let (made, ear) = fal.run(&with_pictures).await;
    let made = made.unwrap();
    let uri = format!("data:image/png;base64,{}", BASE64.encode(png()));
    let expected = json!({ "prompt": "a red panda", "num_images": 1, "sync_mode": false, "image_url": uri,
                           "image_urls": [uri], "seed": 42 });
    assert_eq!((fal.submits()[0].path.as_str(), fal.submits()[0].json()), ("/fal-ai/flux/dev", expected));
    assert_eq!((made.seed, made.units, made.files[0].name.as_str()), (Some(9), 2, "a.png"));
    assert_eq!((made.files[0].size, ear.spent().usd()), (Some((64, 48)), 0.025));
    let extra: Vec<&str> = made.extra.keys().map(String::as_str).collect();
    assert_eq!(extra, ["timings", "prompt", "has_nsfw_concepts"]);
    // a restart goes on with it
    fal.run(&Call { resume: Some(ear.ticket()), ..panda() }).await.0.unwrap();
    assert_eq!(fal.submits().len(), 1);
}

#[tokio::test]
async fn what_fal_may_answer() {
    fn problem(status: u16, kind: &str, loc: Value, ctx: Value) -> Option<Say> {
        Some(json(status, json!({ "detail": [{ "loc": loc, "msg": "WORDS", "type": kind, "ctx": ctx }] })))
    }
    fn result(heard: &Heard) -> bool {
        heard.path == AT
    }
    for (answered, expected) in [
        (
            (|heard, _| {
                result(heard)
                    .then(|| problem(422, "content_policy_violation", json!(["body", "prompt"]), json!({})).unwrap())
            }) as Answered,
            moderated("prompt"),
        ),
        (
            |heard, _| result(heard).then(|| problem(422, "no_media_generated", json!(["body"]), json!({})).unwrap()),
            nothing(),
        ),
        (
            |heard, _| {
                result(heard).then(|| {
                    problem(422, "less_than_equal", json!(["body", "num_images"]), json!({ "le": 4 })).unwrap()
                })
            },
            bad("less_than_equal", json!(["body", "num_images"])),
        ),
        (|heard, _| result(heard).then(|| problem(422, "WORDS", json!(["body"]), json!({})).unwrap()), failed(false)),
        (|heard, _| result(heard).then(|| json(500, json!({ "detail": "WORDS" }))), failed(false)),
        (|heard, _| result(heard).then(|| text(503, "WORDS")), failed(false)),
        (|heard, _| result(heard).then(|| json(200, json!({ "images": [] }))), nothing()),
        (|heard, _| (heard.method == "POST").then(|| text(401, "WORDS")), unavailable(false)),
        (|heard, _| (heard.method == "POST").then(|| text(404, "WORDS")), unavailable(false)),
        (|heard, _| (heard.method == "POST").then(|| json(200, json!({ "request_id": "../WORDS" }))), failed(false)),
        (|heard, _| (heard.method == "POST").then_some(Say::Gone), late()),
        (|heard, _| (heard.method == "POST").then(|| text(503, "WORDS")), unavailable(true)),
    ] {
        let fal = Fal::new(answered).await;
        let (result, ear) = fal.run(&panda()).await;
        assert_eq!(told(&result), expected, "{}", ear.log());
    }
    let ctx = Fal::new(|heard, _| {
        (heard.path == AT)
            .then(|| problem(422, "less_than_equal", json!(["body", "n"]), json!({ "le": 4, "x": "WORDS" })).unwrap())
    })
    .await;
    let (result, _) = ctx.run(&panda()).await;
    let ctx = result.err().unwrap().refusal().unwrap().problem.ctx.clone();
    assert_eq!(Value::from(ctx), json!({ "le": 4 }));
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_fal_too() {
    let fal =
        Fal::new(|heard, _| heard.path.ends_with("/status").then(|| json(202, json!({ "status": "IN_QUEUE" })))).await;
    let ear = Ear { until: Some("r-1"), ..Ear::default() };
    let result = fal.makers.get(MakerId::Fal).run(&panda(), &ear).await;
    assert!(matches!(result, Err(MakerError::Cancelled)));
    let last = fal.api.heard().pop().unwrap();
    assert_eq!((last.method.as_str(), last.path), ("PUT", format!("{AT}/cancel")));
}
