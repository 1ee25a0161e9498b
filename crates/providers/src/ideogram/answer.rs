//! What Ideogram answers.

use serde_json::Value;

use crate::core::cost::Cost;
use crate::core::desk::Run;
use crate::core::error::MakerError;
use crate::core::retry::Verdict;
use crate::core::sync::Links;
use crate::wire::Answer;

/// What an answer means. `from_picture`: whether the caller gave one, which may be what was refused.
pub(super) fn read(run: &Run<'_>, answer: &Answer, from_picture: bool) -> Verdict {
    let words = answer.words();
    let about_money = ["credit", "billing", "payment"].iter().any(|word| words.contains(word));
    match answer.status {
        422 if words.contains("safety") || words.contains("prohibited") => {
            let image = from_picture && words.contains("image") && !words.contains("prompt provided");
            Verdict::Refused(MakerError::moderated(if image { "image_url" } else { "prompt" }))
        }
        400 | 422 if about_money => run.denied_key(),
        _ => run.usual(answer).unwrap_or_else(|| Verdict::Refused(run.failed(false))),
    }
}

/// The links of the pictures that a content checker let through.
pub(super) fn links(run: &Run<'_>, answer: &Answer, price: Cost) -> Result<Links, MakerError> {
    let body = answer.json().unwrap_or_default();
    let Some(data) = body["data"].as_array() else {
        run.log(&format!("Ideogram's answer cannot be read: {}", run.desk.quote(answer)));
        return Err(run.failed(false));
    };
    if data.is_empty() {
        return Err(MakerError::nothing());
    }
    let link = |picture: &Value| {
        let safe = picture["is_image_safe"].as_bool() != Some(false);
        picture["url"].as_str().filter(|url| safe && !url.is_empty()).map(str::to_owned)
    };
    let links: Vec<String> = data.iter().filter_map(link).collect();
    let Some(first) = data.iter().find(|picture| link(picture).is_some()) else {
        run.log("Ideogram's content checker let none of the pictures through");
        return Err(MakerError::moderated("prompt"));
    };
    if links.len() < data.len() {
        run.log(&format!("Ideogram's content checker let {} of {} pictures through", links.len(), data.len()));
    }
    if let Some(prompt) = first["prompt"].as_str() {
        let prompt: String = prompt.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        run.log(&format!("drawn from the prompt: {prompt}"));
    }
    let cost = price.times(u32::try_from(data.len()).unwrap_or(u32::MAX));
    let id = answer.header("x-request-id").map(str::to_owned);
    Ok(Links { seed: first["seed"].as_u64(), links, cost: Some(cost), id })
}

/// Everything that is read of an answer.
#[cfg(feature = "fuzz")]
pub(crate) fn read_any(run: &Run<'_>, answer: &Answer) -> Vec<Verdict> {
    let links = links(run, answer, Cost::default()).err().map(Verdict::Refused);
    [true, false].map(|from_picture| read(run, answer, from_picture)).into_iter().chain(links).collect()
}
