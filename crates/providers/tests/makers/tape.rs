//! Record and replay.

use std::sync::Arc;

use scumble_providers::{Call, MakerId, Tape};
use serde_json::json;

use crate::desk::*;
use crate::far::{Far, file, json, text};

fn panda(seed: Option<u64>) -> Call {
    let mut values = json!({ "prompt": "a red panda", "image_size": "landscape_4_3", "num_images": 2 });
    if let Some(seed) = seed {
        values["seed"] = seed.into();
    }
    Call { seed: seed.unwrap_or(77), ..call("fal-ai/flux-pro/v1.1", values) }
}

#[tokio::test]
async fn what_was_recorded_answers_without_a_key_or_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let delivery = Arc::new(Far::new(|_, _| file("image/jpeg", &jpeg())).await);
    let place = delivery.url.clone();
    let polls = Far::new(move |heard, asked| {
        let id = heard.path.split("id=").nth(1).unwrap();
        if asked < 2 {
            return json(200, json!({ "id": id, "status": "Pending" }));
        }
        // a maker that repeats what it was sent, and signs
        let sample = format!("{place}/{id}.jpeg?se=1&sig=SIGNATURE%2F{KEY}");
        json(200, json!({ "id": id, "status": "Ready", "result": { "sample": sample }, "echo": KEY }))
    })
    .await;
    let place = polls.url.clone();
    let api = Far::new(move |heard, _| {
        let id = heard.json()["seed"].to_string();
        json(200, json!({ "id": id, "polling_url": format!("{place}/v1/get_result?id={id}"), "cost": 4.0 }))
    })
    .await;
    let recording = taped(&section("bfl", &api.url, ""), Tape::record(folder.path()).unwrap());
    let (first, _) = run(&recording, MakerId::Bfl, &panda(Some(5))).await;
    assert_eq!(first.unwrap().files.len(), 2);
    let mut records = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains(KEY) && !text.contains("SIGNATURE") && !text.contains("x-key"), "{text}");
        records += 1;
    }
    assert_eq!(records, 2 * (1 + 3 + 1));
    drop((api, polls, delivery));

    let replaying = taped("[bfl]", Tape::replay(folder.path()).unwrap());
    for _ in 0..2 {
        let (again, ear) = run(&replaying, MakerId::Bfl, &panda(Some(5))).await;
        let again = again.unwrap();
        assert_eq!((again.seed, &again.files[1].bytes[..]), (Some(5), &jpeg()[..]), "{}", ear.log());
        assert_eq!(ear.log().matches("Pending").count(), 2);
    }
    // a seed that was drawn anew does not matter; another prompt does
    let (again, _) = run(&replaying, MakerId::Bfl, &panda(None)).await;
    assert_eq!(again.unwrap().files.len(), 2);
    let mut other = panda(Some(5));
    other.values.insert("prompt".into(), "a blue panda".into());
    let (result, ear) = run(&replaying, MakerId::Bfl, &other).await;
    assert_eq!(told(&result), unavailable(false));
    assert!(ear.log().contains("record it first"), "{}", ear.log());
}

#[tokio::test]
async fn forms_and_errors_are_recorded_too() {
    let folder = tempfile::tempdir().unwrap();
    let api = Far::new(|_, _| json(422, json!({ "error": "Image provided failed safety check" }))).await;
    let remix = json!({ "prompt": "p", "num_images": 1, "strength": 0.8, "rendering_speed": "TURBO" });
    let remix = with_image(call("fal-ai/ideogram/v3/remix", remix), "image_url", png());
    let recording = taped(&section("ideogram", &api.url, ""), Tape::record(folder.path()).unwrap());
    assert_eq!(told(&run(&recording, MakerId::Ideogram, &remix).await.0), moderated("image_url"));
    drop(api);
    let replaying = taped("", Tape::replay(folder.path()).unwrap());
    let other_seed = Call { seed: 1, ..remix.clone() };
    for call in [&remix, &other_seed] {
        assert_eq!(told(&run(&replaying, MakerId::Ideogram, call).await.0), moderated("image_url"));
    }
    // recording again goes on where it was
    let api = Far::new(|_, _| text(400, "no")).await;
    let recording = taped(&section("ideogram", &api.url, ""), Tape::record(folder.path()).unwrap());
    assert_eq!(told(&run(&recording, MakerId::Ideogram, &remix).await.0), failed(false));
    let replaying = taped("", Tape::replay(folder.path()).unwrap());
    assert_eq!(told(&run(&replaying, MakerId::Ideogram, &remix).await.0), moderated("image_url"));
    assert_eq!(told(&run(&replaying, MakerId::Ideogram, &remix).await.0), failed(false));
}

#[test]
fn folders_have_to_be_there_and_records_whole() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Tape::replay(&folder.path().join("none")).is_err());
    std::fs::write(folder.path().join("broken.json"), "{").unwrap();
    let error = Tape::replay(folder.path()).err().unwrap().to_string();
    assert!(error.contains("broken.json"), "{error}");
}
