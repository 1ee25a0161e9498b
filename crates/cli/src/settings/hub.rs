//! Where models are fetched from and kept, as Hugging Face's own tools are told: `HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`,
//! `HF_HUB_OFFLINE`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use scumble_api::published::{Part, all, checker, published};
use scumble_hub::{Cache, Hub, Models, RepoId, Source, Whole};
use scumble_worker::ModelConfig;

use super::adapters::TOKEN;
use super::secret;
use crate::failure::Failure;

/// Beside the cache: a folder for each model that was fetched.
const MODELS: &str = "scumble";

/// What is fetched of a repository where no revision is named.
pub(super) const MAIN: &str = "main";
/// A folder of a tokenizer has one of these.
const TOKENS: [&str; 4] = ["tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model"];

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
    whole.gone.is_empty().then_some(whole.folder)
}

/// The weights that were fetched, where all of them are here.
pub(crate) fn usable(whole: &Whole) -> Option<ModelConfig> {
    let file = |(component, name): (&String, &String)| (component.clone(), whole.folder.join(name));
    whole.gone.is_empty().then(|| ModelConfig {
        weights: Some(whole.folder.clone()),
        components: whole.held.single_files.iter().map(file).collect(),
        ..ModelConfig::default()
    })
}

/// Folders of tokenizers that were fetched for this endpoint, alone or with its weights, by the components that they are.
pub(crate) fn tokenizers(id: &str) -> BTreeMap<String, PathBuf> {
    let (Some(model), Some(models)) = (published(id), fetched_models()) else { return BTreeMap::new() };
    let whole = models.find(model.name).map(|whole| whole.folder);
    let alone = models.tokenizers(model.name);
    let noted = |to: &str, from: &str| -> Vec<PathBuf> {
        let is_of = |source: &Source| source.files.iter().any(|file| Path::new(&file.to).starts_with(to));
        alone.iter().filter(|(source, _)| is_of(source)).map(|(_, folder)| folder.join(from)).collect()
    };
    let mut found = BTreeMap::new();
    for repository in model.repositories {
        let snapshot = RepoId::parse(repository.id).and_then(|id| {
            let commit = models.cache().commit(&id, MAIN)?;
            Some(models.cache().snapshot(&id, &commit))
        });
        for part in repository.parts {
            let Part::Tokenizer { from, to } = part else { continue };
            let (whole, main) = (whole.as_ref().map(|folder| folder.join(to)), snapshot.as_ref().map(|s| s.join(from)));
            let mut places = whole.into_iter().chain(noted(to, from)).chain(main);
            let folder = places.find(|folder| TOKENS.iter().any(|name| folder.join(name).is_file()));
            found.extend(folder.map(|folder| ((*to).to_owned(), folder)));
        }
    }
    found
}

/// Why what was fetched cannot be used, where it cannot.
pub(crate) fn lost(whole: &Whole) -> Option<String> {
    let id = all().find(|model| model.name == whole.model)?.pulled_as();
    let again = format!("`scumble models pull {id}` fetches what is missing");
    match &whole.gone[..] {
        [] => None,
        [one] => Some(format!("of {}, which was fetched, {one} is gone; {again}", whole.model)),
        [one, rest @ ..] => Some(format!(
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
