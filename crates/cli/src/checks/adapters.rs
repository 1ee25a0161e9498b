//! Whether the folders are there that adapters may be read from.

use scumble_worker::Paths;

use super::Finding;
use crate::failure::Failure;
use crate::settings::Settings;

pub(super) fn check(settings: &Settings) -> Finding {
    let config = settings.worker.adapters.config();
    let kept = config.cache.as_ref().map_or_else(String::new, |folder| {
        format!("; up to {:.0} GB of downloads are kept in {}", config.cache_bytes as f64 / 1e9, folder.display())
    });
    let Paths::Below(folders) = &config.paths else { return Finding::Well(format!("any path may be named{kept}")) };
    let missing: Vec<String> =
        folders.iter().filter(|folder| !folder.is_dir()).map(|folder| folder.display().to_string()).collect();
    if !missing.is_empty() {
        let said = "[adapters] folders: there is no folder";
        return Finding::Fails(Failure::Usage(format!("{said} {}; make it, or leave it out", missing.join(", "))));
    }
    match folders.is_empty() {
        true => Finding::Well(format!("no folders are named, so callers name no paths{kept}")),
        false => {
            let list = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
            Finding::Well(format!("callers may name what is in {list}{kept}"))
        }
    }
}
