//! Recraft: one question, answered with a link, or with the picture itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use scumble_api::Problem;
use scumble_fetch::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::core::call::{Call, Made, MadeFile, Maker, Progress};
use crate::core::cost::Cost;
use crate::core::desk::Run;
use crate::core::error::MakerError;
use crate::core::retry::Verdict;
use crate::core::ticket::Task;
use crate::makers::Place;
use crate::picture::{Wish, aside, fetch, made};
use crate::settings::RecraftSettings;
use crate::sizes::{Size, nearest, written};
use crate::wire::{Answer, Ask, Body};

/// The maker behind `fal-ai/recraft/v2/text-to-image`.
pub(crate) struct Recraft {
    pub(crate) place: Place,
    settings: RecraftSettings,
}

const ENDPOINT: &str = "fal-ai/recraft/v2/text-to-image";
const PATH: &str = "/v1/images/generations";
const PROMPT_MAX: usize = 1000;

/// The sizes that the second model draws.
const SIZES: &[Size] = &[
    (1024, 1024),
    (1365, 1024),
    (1024, 1365),
    (1536, 1024),
    (1024, 1536),
    (1820, 1024),
    (1024, 1820),
    (1024, 2048),
    (2048, 1024),
    (1434, 1024),
    (1024, 1434),
    (1024, 1280),
    (1280, 1024),
    (1024, 1707),
    (1707, 1024),
];

/// What is asked of Recraft, but for the model.
struct Order {
    body: Map<String, Value>,
    /// Shapes instead of pixels.
    vector: bool,
    wish: Wish,
    notes: Vec<String>,
    styled: Option<&'static str>,
}

impl Recraft {
    pub(crate) fn new(mut place: Place, settings: &RecraftSettings) -> Self {
        place.limit(settings.concurrency, settings.requests_per_second, settings.images_per_minute);
        Self { place, settings: settings.clone() }
    }

    fn ask(&self, order: &Order, model: &str) -> Result<Ask, MakerError> {
        let mut body = order.body.clone();
        body.insert("model".into(), model.into());
        let key = self.place.key()?.and_then(|key| key.header("Bearer "));
        let headers: Vec<(HeaderName, HeaderValue)> =
            key.map(|key| (HeaderName::from_static("authorization"), key)).into_iter().collect();
        let body = Body::Json(Value::Object(body));
        Ok(Ask { method: Method::POST, link: self.place.at(PATH), headers, body, pictures: 1 })
    }

    /// Asks, and once more for shapes by their own model where the maker wants that.
    async fn answer(&self, run: &Run<'_>, order: &Order, expected: Cost) -> Result<(Answer, Cost), MakerError> {
        let mut reserved = run.tab.reserve(expected)?;
        let deadline = run.deadline();
        let mut model = self.settings.model.clone();
        loop {
            let again = order.vector && model == self.settings.model;
            let read = |answer: &Answer| match again && is_wrong_kind(answer) {
                true => Verdict::Fine,
                false => read(run, answer, order.styled),
            };
            let answer = run.order(0, &self.ask(order, &model)?, deadline, &read, &mut reserved).await?;
            if again && is_wrong_kind(&answer) {
                model = format!("{model}_vector");
                run.log(&format!("Recraft wants {model} for this style; it is asked again"));
                continue;
            }
            let credits = answer.json().and_then(|body| body["credits"].as_f64());
            let cost = credits.map_or(expected, |units| Cost::from_usd(units / 1000.0));
            reserved.settle(cost);
            return Ok((answer, cost));
        }
    }

    async fn file(&self, run: &Run<'_>, order: &Order, expected: Cost) -> Result<MadeFile, MakerError> {
        let link = match run.begun(0).await {
            Some(Task::Answered { links, .. }) if !links.is_empty() => {
                run.log("Recraft has answered this before; its picture is fetched");
                links[0].clone()
            }
            Some(_) => return Err(run.lost_before()),
            None => {
                let _slot = run.slot().await?;
                let (answer, cost) = self.answer(run, order, expected).await?;
                let body = answer.json().unwrap_or_default();
                let Some(data) = body["data"].as_array() else {
                    run.log(&format!("Recraft's answer cannot be read: {}", run.desk.quote(&answer)));
                    return Err(run.failed(false));
                };
                let id = answer.header("x-recraft-requestid").map(str::to_owned);
                run.log(&format!("Recraft answered, for {cost} ({})", id.as_deref().unwrap_or("without a number")));
                let picture = data.first().cloned().unwrap_or_default();
                if let Some(inline) = picture["b64_json"].as_str() {
                    return self.inline(run, inline, order.wish).await;
                }
                let link = picture["url"].as_str().filter(|url| !url.is_empty()).ok_or_else(MakerError::nothing)?;
                let links = vec![link.to_owned()];
                run.tickets.at(0, Task::Answered { links, seed: None, cost: cost.micros(), id }).await;
                link.to_owned()
            }
        };
        fetch(run, &link, order.wish).await.map_err(|none| none.error(run, false))
    }

    async fn inline(&self, run: &Run<'_>, text: &str, wish: Wish) -> Result<MadeFile, MakerError> {
        let broken = |why: String| {
            run.log(&format!("Recraft's picture is {why}"));
            run.failed(false)
        };
        let bytes = BASE64.decode(text).map_err(|e| broken(format!("not base64: {e}")))?;
        let bytes = Bytes::from(bytes);
        let file = aside(&run.desk.memory, vec![bytes.clone()], move || made(bytes, wish)).await.and_then(|file| file);
        file.map_err(broken)
    }
}

#[async_trait::async_trait]
impl Maker for Recraft {
    fn serves(&self, endpoint: &str) -> bool {
        endpoint == ENDPOINT
    }

    fn ready(&self) -> Result<(), MakerError> {
        self.place.key().map(drop)
    }

    async fn run(&self, call: &Call, progress: &dyn Progress) -> Result<Made, MakerError> {
        self.ready()?;
        let order = order(call, &self.settings)?;
        let run = self.place.desk.run(call, &self.settings.model, progress);
        for line in &order.notes {
            run.log(line);
        }
        let price = if order.vector { "recraftv2/vector" } else { "recraftv2" };
        let expected = crate::prices::of(price).unwrap_or_default();
        let began = Instant::now();
        let file = self.file(&run, &order, expected).await?;
        Ok(Made {
            files: vec![file],
            seed: None,
            // shapes cost twice as much, here as at fal
            units: if order.vector { 2 } else { 1 },
            inference: began.elapsed(),
            model: self.settings.model.clone(),
            extra: Map::new(),
        })
    }
}

/// From fal's fields to Recraft's.
fn order(call: &Call, settings: &RecraftSettings) -> Result<Order, MakerError> {
    let (mut body, mut notes) = (Map::new(), Vec::new());
    body.insert("prompt".into(), prompt(call)?.into());
    let size = call.size().unwrap_or((1024, 1024));
    let drawn = drawn(size);
    body.insert("size".into(), written(drawn).into());
    if drawn != size {
        let ((width, height), (w, h)) = (size, drawn);
        notes.push(format!("{width} × {height} pixels become {w} × {h}: Recraft draws certain sizes only"));
    }
    let (styled, vector) = style(call, settings, &mut body, &mut notes)?;
    let colours = call.values.get("colors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !colours.is_empty() {
        let colour = |colour: &Value| Ok(json!({ "rgb": rgb(colour, &["colors"])? }));
        let colours: Result<Vec<Value>, MakerError> = colours.iter().map(colour).collect();
        body.insert("controls".into(), json!({ "colors": colours? }));
    }
    body.insert("block_nsfw".into(), call.flag("enable_safety_checker").unwrap_or(false).into());
    body.insert("n".into(), 1.into());
    body.insert("response_format".into(), "url".into());
    if !vector {
        body.insert("image_format".into(), "webp".into());
    }
    let exact = settings.exact_size.unwrap_or(false).then_some((size, drawn));
    // which kind a style of one's own draws, its answer tells
    let drawing = vector || styled == Some("style_id");
    let wish = Wish { drawing, size: exact, ..Wish::named("image") };
    Ok(Order { body, vector, wish, notes, styled })
}

fn prompt(call: &Call) -> Result<&str, MakerError> {
    let prompt = call.text("prompt").unwrap_or_default();
    if prompt.trim().is_empty() {
        let problem = Problem::new(&["prompt"], "sequence_too_short", "The prompt needs at least 1 character");
        return Err(MakerError::field(problem.with("min_length", 1)));
    }
    if prompt.chars().count() > PROMPT_MAX {
        let msg = format!("The prompt has more than {PROMPT_MAX} characters, which is the most that this model takes");
        let problem = Problem::new(&["prompt"], "sequence_too_long", msg);
        return Err(MakerError::field(problem.with("max_length", PROMPT_MAX)));
    }
    Ok(prompt)
}

fn drawn(size: Size) -> Size {
    match size {
        (512, 512) => (1024, 1024),
        (768, 1024) => (1024, 1365),
        (576, 1024) => (1024, 1820),
        (1024, 768) => (1365, 1024),
        (1024, 576) => (1820, 1024),
        other => nearest(other, SIZES),
    }
}

/// Which field decided on the style, and whether shapes are drawn.
fn style(
    call: &Call,
    settings: &RecraftSettings,
    body: &mut Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<(Option<&'static str>, bool), MakerError> {
    if let Some(id) = call.text("style_id").filter(|id| !id.trim().is_empty()) {
        if !is_uuid(id) {
            let msg = "A style's id has the form 00000000-0000-4000-8000-000000000000";
            return Err(MakerError::value("style_id", msg));
        }
        body.insert("style_id".into(), id.into());
        return Ok((Some("style_id"), false));
    }
    let style = call.text("style").unwrap_or("realistic_image");
    let (base, sub) = style.split_once('/').map_or((style, None), |(base, sub)| (base, Some(sub)));
    body.insert("style".into(), base.into());
    match sub {
        Some("uneven_fill") if base == "icon" => {
            let msg = "Recraft no longer has the style icon/uneven_fill";
            if settings.strict_styles {
                return Err(MakerError::unsupported("style", format!("{msg}; choose another")));
            }
            notes.push(format!("{msg}; icon is used"));
        }
        Some(sub) => {
            body.insert("substyle".into(), sub.into());
        }
        None => {}
    }
    Ok((Some("style"), matches!(base, "vector_illustration" | "icon")))
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.concat().bytes().all(|b| b.is_ascii_hexdigit())
}

/// A colour, each part from 0 to 255, 0 where it is left out.
pub(crate) fn rgb(colour: &Value, loc: &[&str]) -> Result<[u8; 3], MakerError> {
    let part = |name: &str| match &colour[name] {
        Value::Null => Ok(0),
        value => value.as_u64().and_then(|part| u8::try_from(part).ok()).ok_or_else(|| {
            let loc: Vec<&str> = loc.iter().copied().chain([name]).collect();
            let msg = format!("{name} is a whole number from 0 to 255");
            MakerError::field(Problem::new(&loc, "value_error", msg).given(value))
        }),
    };
    Ok([part("r")?, part("g")?, part("b")?])
}

fn is_wrong_kind(answer: &Answer) -> bool {
    answer.status == 400 && answer.json().is_some_and(|body| body["code"] == "invalid_image_type")
}

/// Which codes mean what is not published, so words decide.
fn read(run: &Run<'_>, answer: &Answer, styled: Option<&'static str>) -> Verdict {
    if !matches!(answer.status, 400 | 405..=428 | 430..=499) {
        return run.usual(answer).unwrap_or_else(|| Verdict::Refused(run.failed(false)));
    }
    let body = answer.json().unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_lowercase();
    let words = if body.is_object() { format!("{} {}", text("code"), text("message")) } else { answer.words() };
    let any = |list: &[&str]| list.iter().any(|word| words.contains(word));
    if any(&["credit", "billing", "payment"]) {
        return run.denied_key();
    }
    if any(&["moderat", "nsfw", "safety", "prohibit", "inappropriate"]) {
        return Verdict::Refused(MakerError::moderated("prompt"));
    }
    Verdict::Refused(match styled {
        Some("style_id") if any(&["style"]) => {
            MakerError::value("style_id", "Recraft does not know this style, or it belongs to somebody else")
        }
        Some(field) if any(&["style"]) => {
            MakerError::unsupported(field, "Recraft no longer draws this style; choose another")
        }
        _ => run.failed(false),
    })
}

/// Everything that is read of an answer.
#[cfg(feature = "fuzz")]
pub(crate) fn read_any(run: &Run<'_>, answer: &Answer) -> Vec<Verdict> {
    let _ = is_wrong_kind(answer);
    [None, Some("style"), Some("style_id")].map(|styled| read(run, answer, styled)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_become_the_nearest_that_is_drawn() {
        assert_eq!(drawn((1280, 720)), (1820, 1024));
        assert_eq!(drawn((1200, 630)), (2048, 1024));
        assert_eq!(drawn((1500, 1000)), (1536, 1024));
        assert!(scumble_api::PRESETS.iter().all(|(_, w, h)| SIZES.contains(&drawn((*w, *h)))));
    }

    #[test]
    fn ids_of_styles_have_a_form() {
        assert!(is_uuid("00000000-0000-4000-8000-00000000000f"));
        for bad in ["", "x", "00000000-0000-4000-8000-00000000000g", "000000000000-4000-8000-00000000000f"] {
            assert!(!is_uuid(bad), "{bad}");
        }
    }
}
