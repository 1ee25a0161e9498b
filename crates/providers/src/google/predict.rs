//! `predict`: the shape of Imagen models, for an owner who still has one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Google, Piece, image_size, price};
use crate::core::call::Call;
use crate::core::desk::Run;
use crate::core::error::MakerError;
use crate::picture::{aside, made};
use crate::seeds;
use crate::settings::GoogleMode;

impl Google {
    /// All pictures of a call at once.
    pub(super) async fn predict(&self, run: &Run<'_>, call: &Call, model: &str) -> Result<Piece, MakerError> {
        if run.begun(0).await.is_some() {
            return Err(run.lost_before());
        }
        let count = call.count().min(4);
        let mut parameters = json!({
            "sampleCount": count,
            "aspectRatio": call.text("aspect_ratio").unwrap_or("1:1"),
            "personGeneration": "allow_adult",
            "includeRaiReason": true,
        });
        if let Some(size) = call.text("resolution") {
            parameters["sampleImageSize"] = size.into();
        }
        match self.settings.mode {
            // a seed is taken where no watermark is added, and that is possible in Vertex AI alone
            GoogleMode::Vertex => {
                parameters["seed"] = seeds::reduced(call.seed).into();
                parameters["addWatermark"] = false.into();
            }
            GoogleMode::Gemini => run.log("seed has no effect: Imagen takes none in the Gemini API"),
        }
        if call.text("negative_prompt").is_some_and(|text| !text.trim().is_empty()) {
            run.log("negative_prompt has no effect: Imagen 4 has no such field");
        }
        let body = json!({ "instances": [{ "prompt": call.prompt()? }], "parameters": parameters });
        let _slot = run.slot().await?;
        let each = price(model, image_size(call));
        let mut reserved = run.tab.reserve(each.times(count))?;
        let began = Instant::now();
        let question = (self.link(model, "predict"), body, count);
        let answer = self.ask(run, 0, question, &mut reserved).await?;
        let Some(body) = answer.json() else {
            run.log(&format!("Google's answer cannot be read: {}", run.desk.quote(&answer)));
            return Err(run.failed(false));
        };
        let predictions = body["predictions"].as_array().map_or(&[][..], Vec::as_slice);
        let mut files = Vec::new();
        for data in predictions.iter().filter_map(|one| one["bytesBase64Encoded"].as_str()) {
            let broken = |why: String| {
                run.log(&format!("Google's picture is {why}"));
                run.failed(false)
            };
            let bytes = Bytes::from(BASE64.decode(data).map_err(|e| broken(format!("not base64: {e}")))?);
            let wish = self.wish(call);
            let file = aside(&run.desk.memory, vec![bytes.clone()], move || made(bytes, wish)).await;
            files.push(file.and_then(|file| file).map_err(broken)?);
        }
        let made = u32::try_from(files.len()).unwrap_or(u32::MAX);
        reserved.settle(each.times(made));
        let refused = predictions.iter().any(|one| !matches!(one["raiFilteredReason"], Value::Null));
        if made < count {
            run.log(&format!("Google made {made} of {count} pictures; its content checker kept the others"));
        }
        if files.is_empty() {
            // without a word about it, an empty answer is a filtered one
            let nothing = !refused && !predictions.is_empty();
            return Err(if nothing { MakerError::nothing() } else { MakerError::moderated("prompt") });
        }
        Ok(Piece { files, took: began.elapsed() })
    }
}
