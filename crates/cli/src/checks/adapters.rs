//! Whether the folders are there that adapters may be read from.

use scumble_api::published::whole_units;
use scumble_worker::Paths;

use super::Finding;
use crate::failure::Failure;
use crate::settings::Settings;

pub(super) fn check(settings: &Settings) -> Finding {
    let config = settings.worker.adapters.config();
    let kept = config.cache.as_ref().map_or_else(String::new, |folder| {
        format!("; up to {} of downloads are kept in {}", whole_units(config.cache_bytes), folder.display())
    });
    let Paths::Below(folders) = &config.paths else { return Finding::Well(format!("any path may be named{kept}")) };
    let missing: Vec<String> =
        folders.iter().filter(|folder| !folder.is_dir()).map(|folder| folder.display().to_string()).collect();
    if !missing.is_empty() {
        let said = "[adapters] folders: there is no folder";
        return Finding::Fails(Failure::Usage(format!("{said} {}; make it, or leave it out", missing.join(", "))));
    }
    match folders.is_empty() {
        true => Finding::Well(format!(
            "callers may name repositories and URLs, and no paths: [adapters] folders in scumble.toml says which \
             folders of this machine they may name{kept}"
        )),
        false => {
            let list = folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
            Finding::Well(format!("callers may name what is in {list}{kept}"))
        }
    }
}
