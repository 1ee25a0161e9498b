//! The makers of closed models: their sections, and their keys from the environment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use scumble_worker::Budget;
use scumble_worker::makers::{GoogleMode, MakerId, Makers, Options, Secret, Settings, Tape};

use super::secret;
use super::sections::SpendPerDay;
use crate::failure::Failure;

/// From file, environment and flags.
pub(super) fn open(
    mut settings: Settings,
    spend: Option<&SpendPerDay>,
    allow_private: bool,
    tape: Tape,
    memory: &Budget,
) -> Result<Arc<Makers>, Failure> {
    from_environment(&mut settings)?;
    if let Some(spend) = spend {
        limit(&mut settings, spend)?;
    }
    let makers = Makers::new(&settings, Options { allow_private, tape, memory: memory.clone(), ..Options::default() });
    makers.map(Arc::new).map_err(|error| Failure::Usage(error.to_string()))
}

/// Where exchanges with makers are kept, or taken from.
pub(super) fn tape(record: Option<&Path>, replay: Option<&Path>) -> Result<Tape, Failure> {
    let (flag, tape) = match (record, replay) {
        (Some(folder), _) => ("--record", Tape::record(folder)),
        (None, Some(folder)) => ("--replay", Tape::replay(folder)),
        (None, None) => return Ok(Tape::Off),
    };
    tape.map_err(|error| Failure::System(format!("{flag}: {error}")))
}

/// The environment goes before the file.
fn from_environment(settings: &mut Settings) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let key = |id: MakerId, into: &mut Option<Secret>| {
        if let Some(text) = secret::variable(id.key_variable())? {
            *into = Some(Secret::new(&text));
        }
        Ok::<_, Failure>(())
    };
    key(MakerId::Bfl, &mut settings.bfl.api_key)?;
    key(MakerId::Ideogram, &mut settings.ideogram.api_key)?;
    key(MakerId::Google, &mut settings.google.api_key)?;
    key(MakerId::Recraft, &mut settings.recraft.api_key)?;
    key(MakerId::Fal, &mut settings.fal.api_key)?;
    let google = &mut settings.google;
    // Google's own names; of these the file goes first, since other programs on this machine may have set them
    if google.mode == GoogleMode::Vertex {
        let account = || variable("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from);
        google.service_account = google.service_account.take().or_else(account);
        google.project = google.project.take().or_else(|| variable("GOOGLE_CLOUD_PROJECT"));
    }
    Ok(())
}

/// `[limits] spend_per_day`, where a maker's own section does not say it.
fn limit(settings: &mut Settings, spend: &SpendPerDay) -> Result<(), Failure> {
    if let SpendPerDay::By(limits) = spend
        && let Some(unknown) = limits.keys().find(|name| MakerId::parse(name).is_none())
    {
        let known = MakerId::ALL.map(MakerId::as_str).join(", ");
        return Err(Failure::Usage(format!("[limits] spend_per_day: there is no maker {unknown}; there are {known}")));
    }
    let amounts: Vec<(String, f64)> = match spend {
        SpendPerDay::Each(usd) => vec![(String::new(), *usd)],
        SpendPerDay::By(limits) => limits.iter().map(|(name, usd)| (format!(" of {name}"), *usd)).collect(),
    };
    if let Some((of, usd)) = amounts.into_iter().find(|(_, usd)| !usd.is_finite() || *usd < 0.0) {
        return Err(Failure::Usage(format!(
            "[limits] spend_per_day{of}: expected an amount of US dollars, such as 20 or 2.5; got {usd}"
        )));
    }
    let of = |id: MakerId| match spend {
        SpendPerDay::Each(usd) => Some(*usd),
        SpendPerDay::By(limits) => limits.get(id.as_str()).copied(),
    };
    let Settings { bfl, ideogram, google, recraft, fal } = settings;
    bfl.spend_per_day = bfl.spend_per_day.or(of(MakerId::Bfl));
    ideogram.spend_per_day = ideogram.spend_per_day.or(of(MakerId::Ideogram));
    google.spend_per_day = google.spend_per_day.or(of(MakerId::Google));
    recraft.spend_per_day = recraft.spend_per_day.or(of(MakerId::Recraft));
    fal.spend_per_day = fal.spend_per_day.or(of(MakerId::Fal));
    Ok(())
}
