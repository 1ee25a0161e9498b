//! Where models are fetched from and kept, as Hugging Face's own tools are told: `HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`,
//! `HF_HUB_OFFLINE`.

use std::path::{Path, PathBuf};

use scumble_api::published::{all, checker, published};
use scumble_hub::{Cache, Hub, Models, Whole};

use super::adapters::TOKEN;
use super::secret;
use crate::failure::Failure;

/// Beside the cache: a folder for each model that was fetched.
const MODELS: &str = "scumble";

/// Whom to ask, and whether.
pub(crate) struct HubPlace {
    pub(crate) hub: Hub,
    pub(crate) offline: bool,
}

impl HubPlace {
    /// From the environment.
    pub(crate) fn read() -> Result<Self, Failure> {
        let token = match secret::variable(TOKEN)? {
            Some(token) => Some(token),
            None => saved_token()?,
        };
        let token = token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        let address = text("HF_ENDPOINT");
        let hub = Hub::new(address.as_deref().unwrap_or(Hub::PUBLIC).trim_end_matches('/'), token);
        let hub = hub.map_err(|e| Failure::Usage(format!("HF_ENDPOINT or {TOKEN}: {e}")))?;
        let said = text("HF_HUB_OFFLINE").map(|said| said.to_lowercase());
        let offline = said.is_some_and(|said| ["1", "true", "yes", "on"].contains(&said.as_str()));
        Ok(Self { hub, offline })
    }
}

/// What `hf auth login` has written, where it has.
fn saved_token() -> Result<Option<String>, Failure> {
    let path = path("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token"))).filter(|path| path.is_file());
    path.map(|path| secret::file("the token of `hf auth login`", &path)).transpose()
}

/// Where fetched models are; `None` where there is no home to keep them in.
pub(crate) fn fetched_models() -> Option<Models> {
    let home = home()?;
    let cache = path("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub"));
    Some(Models::new(home.join(MODELS), Cache::new(cache)))
}

/// The models that are here, or were.
pub(crate) fn all_fetched() -> Vec<Whole> {
    let Some(models) = fetched_models() else { return Vec::new() };
    all().filter_map(|model| models.find(model.name)).collect()
}

/// The model that was fetched for this endpoint.
pub(crate) fn fetched(id: &str) -> Option<Whole> {
    fetched_models()?.find(published(id)?.name)
}

/// The folder of the checker of this name, where it was fetched and all of it is here.
pub(super) fn fetched_checker(name: &str) -> Option<PathBuf> {
    let whole = fetched_models()?.find(checker(name)?.name)?;
    usable(&whole).map(Path::to_owned)
}

/// The folder that answers from what was fetched.
pub(crate) fn usable(whole: &Whole) -> Option<&Path> {
    let is_folder = whole.held.single_files.is_empty();
    (is_folder && whole.gone.is_empty()).then_some(whole.folder.as_path())
}

/// Why what was fetched cannot be used, where it cannot.
pub(crate) fn lost(whole: &Whole) -> Option<String> {
    let id = all().find(|model| model.name == whole.model)?.pulled_as();
    let again = format!("`scumble models pull {id}` fetches what is missing");
    match (&whole.gone[..], whole.held.single_files.is_empty()) {
        ([], true) => None,
        ([], false) => Some(format!(
            "{} was fetched as {}, in a file that this build cannot load; `scumble models show {id}` names the forms that \
             it can",
            whole.model, whole.held.variant
        )),
        ([one], _) => Some(format!("of {}, which was fetched, {one} is gone; {again}", whole.model)),
        ([one, rest @ ..], _) => Some(format!(
            "of {}, which was fetched, {one} and {} more files are gone; {again}",
            whole.model,
            rest.len()
        )),
    }
}

fn home() -> Option<PathBuf> {
    let below = |name: &str, rest: &str| path(name).map(|folder| folder.join(rest));
    let named = path("HF_HOME").or_else(|| below("XDG_CACHE_HOME", "huggingface"));
    named.or_else(|| below("HOME", ".cache/huggingface"))
}

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

/// A folder or file that a variable names; `~` is the user's home.
fn path(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(name).filter(|value| !value.is_empty())?);
    match path.strip_prefix("~") {
        Ok(rest) => Some(PathBuf::from(std::env::var_os("HOME").filter(|value| !value.is_empty())?).join(rest)),
        Err(_) => Some(path),
    }
}
