//! Ideogram: one question, answered with links.

mod answer;
mod resolutions;
mod v2;
mod v3;

#[cfg(feature = "fuzz")]
pub(crate) use answer::read_any;

use scumble_fetch::{HeaderName, HeaderValue, Method};

use crate::core::call::{Call, Made, Maker, Progress};
use crate::core::cost::Cost;
use crate::core::error::MakerError;
use crate::core::sync::ask_and_fetch;
use crate::makers::Place;
use crate::picture::{Wish, aside};
use crate::settings::IdeogramSettings;
use crate::wire::{Ask, Body};

/// The maker behind `fal-ai/ideogram/…`.
pub(crate) struct Ideogram {
    pub(crate) place: Place,
    settings: IdeogramSettings,
}

/// What is asked of Ideogram.
pub(super) struct Order {
    pub(super) path: String,
    pub(super) body: Body,
    /// For prices and logs.
    pub(super) model: String,
    pub(super) pictures: u32,
    pub(super) wish: Wish,
    pub(super) notes: Vec<String>,
}

const V3: &[&str] = &[
    "fal-ai/ideogram/v3",
    "fal-ai/ideogram/v3/edit",
    "fal-ai/ideogram/v3/remix",
    "fal-ai/ideogram/v3/reframe",
    "fal-ai/ideogram/v3/replace-background",
];

impl Ideogram {
    pub(crate) fn new(place: Place, settings: &IdeogramSettings) -> Self {
        Self { place, settings: settings.clone() }
    }

    fn key_header(&self) -> Result<Vec<(HeaderName, HeaderValue)>, MakerError> {
        let key = self.place.key()?.and_then(|key| key.header(""));
        Ok(key.map(|key| (HeaderName::from_static("api-key"), key)).into_iter().collect())
    }
}

#[async_trait::async_trait]
impl Maker for Ideogram {
    fn serves(&self, endpoint: &str) -> bool {
        V3.contains(&endpoint) || v2::model(endpoint, &self.settings.v2_model).is_some()
    }

    fn ready(&self) -> Result<(), MakerError> {
        self.place.key().map(drop)
    }

    async fn run(&self, call: &Call, progress: &dyn Progress) -> Result<Made, MakerError> {
        self.ready()?;
        let (asked, settings) = (call.clone(), self.settings.clone());
        let order = aside(&self.place.desk.memory, call.unpacked(), move || {
            match v2::model(&asked.endpoint, &settings.v2_model) {
                Some(model) => v2::order(&asked, model, &settings),
                None => v3::order(&asked, &settings),
            }
        });
        let Order { path, body, model, pictures, wish, notes } =
            order.await.map_err(|why| MakerError::unready(&why))??;
        let run = self.place.desk.run(call, &model, progress);
        for line in &notes {
            run.log(line);
        }
        let (link, headers) = (self.place.at(&path), self.key_header()?);
        let ask = Ask { method: Method::POST, link, headers, body, pictures };
        let price: Cost = crate::prices::of(&model).unwrap_or_default();
        let from_picture = !call.images.is_empty();
        let read = |answer: &_| answer::read(&run, answer, from_picture);
        let links = |answer: &_| answer::links(&run, answer, price);
        let made = ask_and_fetch(&run, 0, &ask, price.times(pictures), wish, &read, links).await?;
        Ok(Made {
            units: u32::try_from(made.files.len()).unwrap_or(u32::MAX),
            files: made.files,
            seed: made.seed.or(Some(crate::seeds::reduced(call.seed))),
            inference: made.took,
            extra: Default::default(),
            model,
        })
    }
}

/// The caller's seed as it is, or the drawn one within the maker's range.
fn seed(call: &Call) -> Result<u64, MakerError> {
    const MOST: i64 = i32::MAX as i64;
    let problem = |kind: &str, msg: String| scumble_api::Problem::new(&["seed"], kind, msg);
    let Some(value) = call.values.get("seed").filter(|value| !value.is_null()) else {
        return Ok(crate::seeds::reduced(call.seed));
    };
    if value.as_i64().is_some_and(|seed| seed < 0) {
        let msg = "Input should be greater than or equal to 0".to_owned();
        return Err(MakerError::field(problem("greater_than_equal", msg).with("ge", 0).given(value)));
    }
    match value.as_u64() {
        Some(seed) if seed <= MOST as u64 => Ok(seed),
        _ => {
            let msg = format!("Input should be less than or equal to {MOST}");
            Err(MakerError::field(problem("less_than_equal", msg).with("le", MOST).given(value)))
        }
    }
}
