//! Whose closed models can be asked for. None has to be.

use scumble_worker::makers::MakerId;

use super::Finding;
use crate::settings::Settings;

pub(super) fn check(settings: &Settings) -> Finding {
    let Some(makers) = &settings.models.makers else { return Finding::Well("none are asked".to_owned()) };
    let (with, without): (Vec<_>, Vec<_>) = MakerId::ALL.into_iter().partition(|id| makers.get(*id).ready().is_ok());
    let list = |ids: Vec<MakerId>| ids.into_iter().map(MakerId::name).collect::<Vec<_>>().join(", ");
    Finding::Well(match (with.is_empty(), without.is_empty()) {
        (true, _) => {
            // the system chooses port 0 when the server starts
            let port = settings.listen.map_or(8787, |address| address.port());
            let here = if port == 0 { String::new() } else { format!("http://127.0.0.1:{port}") };
            let server = settings.server.public_url.as_deref().unwrap_or(&here);
            format!("no keys, so closed models are not answered (a running server tells more at {server}/docs/makers)")
        }
        (false, true) => format!("keys for {}", list(with)),
        (false, false) => format!("keys for {}; none for {}", list(with), list(without)),
    })
}
