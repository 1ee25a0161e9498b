//! `generateContent`: one picture a call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Google, Piece, image_size, price};
use crate::core::call::Call;
use crate::core::cost::Cost;
use crate::core::desk::Run;
use crate::core::error::MakerError;
use crate::picture::{aside, made};
use crate::seeds;
use crate::settings::GoogleMode;
use crate::wire::Answer;

const ASPECTS: &[&str] =
    &["1:1", "16:9", "9:16", "3:4", "4:3", "2:3", "3:2", "4:5", "5:4", "21:9", "1:4", "4:1", "1:8", "8:1"];

/// What an answer holds.
enum Found {
    Picture(Bytes),
    /// Not for reasons of safety; it may work the next time.
    NoImage,
    Nothing(MakerError),
}

impl Google {
    pub(super) async fn generate(
        &self,
        run: &Run<'_>,
        call: &Call,
        (model, thinking): (&str, &str),
        index: u32,
    ) -> Result<Piece, MakerError> {
        if run.begun(index).await.is_some() {
            return Err(run.lost_before());
        }
        let body = self.body(call, thinking, seeds::nth(call.seed, index))?;
        let _slot = run.slot().await?;
        let expected = price(model, image_size(call));
        let began = Instant::now();
        let mut retried = false;
        loop {
            let mut reserved = run.tab.reserve(expected)?;
            let question = (self.link(model, "generateContent"), body.clone(), 1);
            let answer = self.ask(run, index, question, &mut reserved).await?;
            match read(run, &answer) {
                Found::Picture(bytes) => {
                    reserved.settle(expected);
                    let took = began.elapsed();
                    run.log(&format!("{} answered after {:.1} s, for about {expected}", model, took.as_secs_f64()));
                    let wish = self.wish(call);
                    let file = aside(&run.desk.memory, vec![bytes.clone()], move || made(bytes, wish)).await;
                    let file = file.and_then(|file| file).map_err(|why| {
                        run.log(&format!("Google's picture is {why}"));
                        run.failed(false)
                    })?;
                    return Ok(Piece { files: vec![file], took });
                }
                Found::NoImage if !retried => {
                    reserved.settle(Cost::default());
                    run.log("Google made no picture; it is asked once more");
                    retried = true;
                }
                Found::NoImage => {
                    reserved.settle(Cost::default());
                    return Err(MakerError::nothing());
                }
                Found::Nothing(error) => {
                    reserved.settle(Cost::default());
                    return Err(error);
                }
            }
        }
    }

    fn body(&self, call: &Call, thinking: &str, seed: u64) -> Result<Value, MakerError> {
        let aspect = call.text("aspect_ratio").unwrap_or("1:1");
        if !ASPECTS.contains(&aspect) {
            return Err(MakerError::one_of("aspect_ratio", ASPECTS, &aspect.into()));
        }
        let mut text = call.prompt()?.to_owned();
        let negative = call.text("negative_prompt").unwrap_or_default().trim();
        if !negative.is_empty() && !self.settings.ignore_negative_prompt {
            text.push_str(&format!("\nDo not include: {negative}"));
        }
        let mut image = json!({ "aspectRatio": aspect, "imageSize": image_size(call) });
        if self.settings.mode == GoogleMode::Vertex {
            image["personGeneration"] = "ALLOW_ADULT".into();
            image["imageOutputOptions"] = json!({ "mimeType": "image/png" });
        }
        let mut config = Map::new();
        config.insert("responseModalities".into(), json!(["IMAGE"]));
        config.insert("imageConfig".into(), image);
        if !thinking.is_empty() {
            config.insert("thinkingConfig".into(), json!({ "thinkingLevel": thinking }));
        }
        config.insert("seed".into(), seed.into());
        Ok(json!({ "contents": [{ "role": "user", "parts": [{ "text": text }] }], "generationConfig": config }))
    }
}

fn read(run: &Run<'_>, answer: &Answer) -> Found {
    let Some(body) = answer.json() else {
        run.log(&format!("Google's answer cannot be read: {}", run.desk.quote(answer)));
        return Found::Nothing(run.failed(false));
    };
    if let Some(reason) = body["promptFeedback"]["blockReason"].as_str() {
        run.log(&format!("Google refused the prompt: {}", word(reason)));
        return Found::Nothing(MakerError::moderated("prompt"));
    }
    let candidate = &body["candidates"][0];
    let parts = candidate["content"]["parts"].as_array().map_or(&[][..], Vec::as_slice);
    // pictures that the model only thought of are not meant for anybody; of the others the last counts
    let shown = parts.iter().filter(|part| part["thought"] != true);
    let data = |part: &Value| {
        let inline = part.get("inlineData").or(part.get("inline_data"))?;
        inline["data"].as_str().map(str::to_owned)
    };
    if let Some(data) = shown.filter_map(data).next_back() {
        return match BASE64.decode(data) {
            Ok(bytes) => Found::Picture(bytes.into()),
            Err(error) => {
                run.log(&format!("Google's picture is not base64: {error}"));
                Found::Nothing(run.failed(false))
            }
        };
    }
    let reason = candidate["finishReason"].as_str().unwrap_or("none");
    run.log(&format!("Google made no picture: {}", word(reason)));
    match reason {
        "SAFETY"
        | "IMAGE_SAFETY"
        | "PROHIBITED_CONTENT"
        | "IMAGE_PROHIBITED_CONTENT"
        | "BLOCKLIST"
        | "SPII"
        | "RECITATION"
        | "IMAGE_RECITATION" => Found::Nothing(MakerError::moderated("prompt")),
        "NO_IMAGE" => Found::NoImage,
        _ => Found::Nothing(MakerError::nothing()),
    }
}

fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(60).collect()
}

/// Everything that is read of an answer.
#[cfg(feature = "fuzz")]
pub(super) fn read_picture(run: &Run<'_>, answer: &Answer) {
    drop(read(run, answer));
}
