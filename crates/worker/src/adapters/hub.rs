//! Repositories: what is in them, and which of it is meant.

use scumble_api::InputWeights;
use scumble_engine::adapters::AdapterFiles;
use scumble_hub::{encoded, is_inside};
use serde_json::Value;

use super::cache::Held;
use super::choice::{check_name, choose};
use super::download::Remote;
use super::format::Named;
use super::source::Repository;
use super::trouble::{At, Trouble};
use super::{Adapters, shown};
use crate::runner::Watch;

/// The largest list of a repository's files, and the largest file beside weights.
const LIST_BYTES: u64 = 16 * 1024 * 1024;
const BESIDE_BYTES: u64 = 1024 * 1024;

/// What is in a repository at one commit.
struct Listing {
    commit: String,
    /// A commit's files never change.
    lasting: bool,
    files: Vec<String>,
}

impl Adapters {
    /// The weights of a repository that a caller means, and what belongs to them.
    pub(super) async fn of_repository(
        &self,
        repository: &Repository,
        weights: &InputWeights,
        watch: &dyn Watch,
    ) -> Result<(AdapterFiles, Vec<Held>), Trouble> {
        let Repository { owner, name, inside, .. } = repository;
        // what the name tells needs no network
        let (folder, file) = place(inside.as_deref(), weights)?;
        if let Some((file, at)) = &file {
            check_name(file, *at, weights.pickles)?;
        }
        let listing = self.listing(repository, watch).await?;
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let (here, elsewhere): (Vec<String>, Vec<String>) = listing
            .files
            .into_iter()
            .partition(|path| path.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/')));
        let here: Vec<String> = here.into_iter().map(|path| path[prefix.len()..].to_owned()).collect();
        let wanted = file.as_ref().map(|(file, at)| (file.as_str(), *at));
        let chosen = choose(&here, wanted, weights, &elsewhere)?;
        let base = format!("{}/{owner}/{name}/resolve/{}", self.config.hub.address(), encoded(&listing.commit, false));
        let (mut files, mut held) =
            (AdapterFiles { name: shown(&weights.source), ..AdapterFiles::default() }, Vec::new());
        let mut left = self.config.max_bytes;
        for file in chosen.weights {
            let spoken = format!("{}: {owner}/{name}/{prefix}{file}", weights.path.join("."));
            let url = format!("{base}/{}", encoded(&format!("{prefix}{file}"), true));
            let remote = Remote {
                json: false,
                pickles: weights.pickles,
                spoken: Some(&spoken),
                ..self.remote(&url, left, listing.lasting)
            };
            let one = self.fetched(&remote, watch).await?;
            left = left.saturating_sub(std::fs::metadata(&one.path).map_or(0, |found| found.len()));
            files.weights.push(one.path.clone());
            held.push(one);
        }
        for (file, into) in [(chosen.config, &mut files.config), (chosen.preprocessor, &mut files.preprocessor)] {
            let Some(file) = file else { continue };
            let url = format!("{base}/{}", encoded(&format!("{prefix}{file}"), true));
            let one = self.fetched(&self.remote(&url, BESIDE_BYTES, listing.lasting), watch).await?;
            *into = Some(one.path.clone());
            held.push(one);
        }
        Ok((files, held))
    }

    fn remote<'a>(&'a self, url: &'a str, max_bytes: u64, lasting: bool) -> Remote<'a> {
        Remote { url, json: true, max_bytes, lasting, pickles: false, pass: self.config.hub.pass(), spoken: None }
    }

    async fn listing(&self, repository: &Repository, watch: &dyn Watch) -> Result<Listing, Trouble> {
        let Repository { owner, name, revision, .. } = repository;
        let revision = encoded(revision, false);
        let url = format!("{}/api/models/{owner}/{name}/revision/{revision}", self.config.hub.address());
        let got = self.fetched(&self.remote(&url, LIST_BYTES, false), watch).await;
        let got = got.map_err(|trouble| trouble.of_repository(owner, name, repository.or_path.as_deref()))?;
        let nonsense = || Trouble::unread("the hub's list of this repository's files cannot be read");
        let text = tokio::fs::read(&got.path).await.map_err(|_| nonsense())?;
        let list: Value = serde_json::from_slice(&text).map_err(|_| nonsense())?;
        let files = list["siblings"].as_array().ok_or_else(nonsense)?;
        let files = files.iter().filter_map(|file| file["rfilename"].as_str());
        let is_commit = |text: &&str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let commit = list["sha"].as_str().filter(is_commit);
        Ok(Listing {
            commit: commit.unwrap_or(&repository.revision).to_owned(),
            lasting: commit.is_some(),
            files: files.filter(|path| is_inside(path)).map(str::to_owned).collect(),
        })
    }
}

/// Folder and file in a repository or folder, from what stands behind its name and the fields beside.
pub(super) fn place(inside: Option<&str>, weights: &InputWeights) -> Result<(String, Option<(String, At)>), Trouble> {
    let checked = |field: &Option<(Vec<String>, String)>, at: At| match field {
        Some((_, text)) => {
            let text = text.trim_matches('/').to_owned();
            let wrong = "it has to lead to something inside: names between slashes, and no ..";
            if is_inside(&text) { Ok(Some(text)) } else { Err(Trouble::named(at, wrong)) }
        }
        None => Ok(None),
    };
    let (subfolder, name) =
        (checked(&weights.subfolder, At::Subfolder)?, checked(&weights.weight_name, At::WeightName)?);
    let names_a_file = inside.is_some_and(|path| !matches!(Named::of(path), Named::Nothing));
    let (mut parts, mut file) = (Vec::new(), None);
    if let Some(inside) = inside {
        parts.push(inside.to_owned());
    }
    if names_a_file {
        if let Some(at) = subfolder.as_ref().map(|_| At::Subfolder).or(name.as_ref().map(|_| At::WeightName)) {
            let last = inside.and_then(|path| path.rsplit('/').next());
            if at == At::Subfolder || name.as_deref() != last {
                return Err(Trouble::named(at, "the path names a file already; leave this out"));
            }
        }
        file = Some(At::Path);
    }
    parts.extend(subfolder);
    if !names_a_file && let Some(name) = name {
        parts.push(name);
        file = Some(At::WeightName);
    }
    let whole = parts.join("/");
    Ok(match (file, whole.rsplit_once('/')) {
        (Some(at), Some((folder, file))) => (folder.to_owned(), Some((file.to_owned(), at))),
        (Some(at), None) => (String::new(), Some((whole, at))),
        (None, _) => (whole, None),
    })
}
