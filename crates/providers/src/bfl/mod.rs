//! Black Forest Labs: the FLUX.1 [pro] family. A task is submitted, asked after until it is ready, and fetched.

mod order;
mod task;

#[cfg(feature = "fuzz")]
pub(crate) use task::read_any;

use std::time::Duration;

use scumble_fetch::{HeaderName, HeaderValue};

use crate::core::call::{Call, Made, Maker, Progress};
use crate::core::error::MakerError;
use crate::core::fan::fan_out;
use crate::makers::{Place, SettingsError};
use crate::picture::aside;
use crate::seeds;
use crate::settings::BflSettings;

/// The maker behind `fal-ai/flux-pro` and its siblings.
pub(crate) struct Bfl {
    pub(crate) place: Place,
    flux_pro_model: String,
    exact_size: bool,
}

const ENDPOINTS: &[&str] = &[
    "fal-ai/flux-pro",
    "fal-ai/flux-pro/v1.1",
    "fal-ai/flux-pro/v1.1-ultra",
    "fal-ai/flux-pro/v1.1/redux",
    "fal-ai/flux-pro/v1/redux",
    "fal-ai/flux-pro/v1.1-ultra/redux",
    "fal-ai/flux-pro/v1/fill",
];

impl Bfl {
    pub(crate) fn new(place: Place, settings: &BflSettings) -> Result<Self, SettingsError> {
        let flux_pro_model = settings.flux_pro_model.trim().to_owned();
        if !matches!(flux_pro_model.as_str(), "flux-pro-1.1" | "flux-pro") {
            let reason = format!("{flux_pro_model} does not serve fal-ai/flux-pro; use flux-pro-1.1 or flux-pro");
            return Err(place.wrong("flux_pro_model", reason));
        }
        Ok(Self { place, flux_pro_model, exact_size: settings.exact_size.unwrap_or(true) })
    }

    /// The header that proves who asks. It goes to the owner's own address and to BFL's, and to nobody else.
    fn key_header(&self) -> Result<Vec<(HeaderName, HeaderValue)>, MakerError> {
        let key = self.place.key()?.and_then(|key| key.header(""));
        Ok(key.map(|key| (HeaderName::from_static("x-key"), key)).into_iter().collect())
    }
}

#[async_trait::async_trait]
impl Maker for Bfl {
    fn serves(&self, endpoint: &str) -> bool {
        ENDPOINTS.contains(&endpoint)
    }

    fn ready(&self) -> Result<(), MakerError> {
        self.place.key().map(drop)
    }

    async fn run(&self, call: &Call, progress: &dyn Progress) -> Result<Made, MakerError> {
        self.ready()?;
        let (asked, model, exact) = (call.clone(), self.flux_pro_model.clone(), self.exact_size);
        let order = aside(&self.place.desk.memory, call.unpacked(), move || order::order(&asked, &model, exact));
        let order = order.await.map_err(|why| MakerError::unready(&why))??;
        let run = self.place.desk.run(call, order.model, progress);
        for line in &order.notes {
            run.log(line);
        }
        let tasks = fan_out(call.count(), |index| self.task(&run, &order, index, seeds::nth(call.seed, index)));
        let tasks = tasks.await?;
        let inference = tasks.iter().map(|task| task.took).max().unwrap_or(Duration::ZERO);
        Ok(Made {
            seed: tasks.first().map(|task| task.seed),
            units: u32::try_from(tasks.len()).unwrap_or(u32::MAX),
            inference,
            model: order.model.to_owned(),
            extra: Default::default(),
            files: tasks.into_iter().map(|task| task.file).collect(),
        })
    }
}
