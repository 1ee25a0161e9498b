//! Weights as their owner names them: a path, or a repository that is in the cache of Hugging Face's tools.

use std::path::{Path, PathBuf};

use scumble_api::Endpoint;
use scumble_engine::weights::Source;
use scumble_hub::{Cache, RepoId, is_inside};
use scumble_worker::{ModelConfig, advice, source};

use super::hub::{MAIN, fetched, fetched_models, lost, tokenizers, usable};
use crate::args::OwnWeights;
use crate::failure::Failure;

/// The weights of an endpoint: those that were named, else those that were fetched.
///
/// # Errors
/// Where there are none.
pub(crate) fn own_source(own: &OwnWeights, endpoint: &Endpoint) -> Result<Source, Failure> {
    if let Some(said) = own.weights.as_deref().and_then(|weights| nowhere(endpoint.id, weights)) {
        return Err(Failure::Weights(said));
    }
    let fetched = own.weights.is_none().then(|| fetched(endpoint.id)).flatten();
    let mut config = ModelConfig {
        weights: own.weights.as_deref().map(located),
        base: own.weights_base.clone(),
        components: own.components.iter().cloned().collect(),
        tokenizers: tokenizers(endpoint.id),
        ..ModelConfig::default()
    };
    if let Some(fetched) = fetched.as_ref().and_then(usable) {
        config.complete(&fetched);
    }
    let none = || fetched.as_ref().and_then(lost).unwrap_or_else(|| advice(endpoint));
    source(endpoint, &config).ok_or_else(|| Failure::Weights(none()))
}

/// Where weights are that were named: a path that is there, else what the cache has of a repository of this name, else the
/// path all the same.
pub(crate) fn located(named: &Path) -> PathBuf {
    let here = (!named.exists()).then(|| in_cache(fetched_models()?.cache(), named)).flatten();
    here.unwrap_or_else(|| named.to_owned())
}

/// That weights may mean a repository which is not here, and what fetches it.
pub(crate) fn nowhere(id: &str, named: &Path) -> Option<String> {
    let is_repository = !located(named).exists() && repository(named).is_some();
    is_repository.then(|| {
        let named = named.display();
        format!(
            "{named}: there is no such file or folder, and no such repository in the cache of Hugging Face's tools; \
             `scumble models pull {id} --from {named}` fetches one that is in diffusers' layout"
        )
    })
}

/// The files of a repository, of the commit that its revision was when it was fetched; of one that holds nothing but a file of
/// weights, that file.
fn in_cache(cache: &Cache, named: &Path) -> Option<PathBuf> {
    let (id, revision) = repository(named)?;
    let snapshot = cache.snapshot(&id, &cache.commit(&id, revision)?);
    if snapshot.join("model_index.json").is_file() {
        return Some(snapshot);
    }
    let is_weights = |path: &PathBuf| {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        path.is_file() && ["gguf", "safetensors"].contains(&end)
    };
    let entries = std::fs::read_dir(&snapshot).ok()?;
    let files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_weights).collect();
    match <[PathBuf; 1]>::try_from(files) {
        Ok([only]) => Some(only),
        Err(_) => Some(snapshot),
    }
}

/// `owner/name`, perhaps with a branch, tag or commit behind an @.
fn repository(named: &Path) -> Option<(RepoId, &str)> {
    let text = named.to_str()?;
    let (id, revision) = text.split_once('@').unwrap_or((text, MAIN));
    Some((RepoId::parse(id)?, revision)).filter(|_| is_inside(revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_an_owner_and_a_name() {
        let read = |text: &'static str| repository(Path::new(text)).map(|(id, revision)| (id.to_string(), revision));
        assert_eq!(read("a/b"), Some(("a/b".into(), "main")));
        assert_eq!(read("a/b@refs/pr/1"), Some(("a/b".into(), "refs/pr/1")));
        for path in ["a", "/a/b", "./a/b", "a/b/c", "../b", "a/b@", "a/b@../c"] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
