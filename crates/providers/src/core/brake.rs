//! A maker that refuses our key, or has no such model, is not asked again at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::MakerError;
use super::retry::Pace;

const HELD: Duration = Duration::from_secs(30);

/// What is wrong with a whole maker, or with one of its models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Maker,
    Model,
}

pub(crate) struct Brake {
    held: Mutex<HashMap<Option<String>, (Instant, MakerError)>>,
    pace: Pace,
}

impl Brake {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { held: Mutex::default(), pace }
    }

    /// Every call of this reach ends with this error for a while.
    pub(crate) fn pull(&self, reach: Reach, model: &str, error: &MakerError) {
        let whom = (reach == Reach::Model).then(|| model.to_owned());
        let until = Instant::now() + self.pace.of(HELD);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(whom, (until, error.clone()));
    }

    pub(crate) fn check(&self, model: &str) -> Result<(), MakerError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        held.retain(|_, (until, _)| *until > now);
        match held.get(&None).or_else(|| held.get(&Some(model.to_owned()))) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_lets_go_after_half_a_minute() {
        let (brake, error) = (Brake::new(Pace(0.005)), MakerError::internal("no"));
        brake.pull(Reach::Model, "old", &error);
        assert!(brake.check("old").is_err() && brake.check("new").is_ok());
        brake.pull(Reach::Maker, "old", &error);
        assert!(brake.check("new").is_err());
        tokio::time::sleep(brake.pace.of(HELD)).await;
        assert!(brake.check("old").is_ok() && brake.check("new").is_ok());
    }
}
