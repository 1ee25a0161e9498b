//! The adapters of one input, found before its run: within one time, and no longer than somebody wants them.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::TryStreamExt;
use scumble_api::{FILE_SCHEME, Input, InputWeights};
use scumble_engine::adapters::AdapterFiles;
use scumble_fetch::Url;
use scumble_files::FileBody;
use serde_json::Value;
use tokio::time::timeout;

use super::cache::Held;
use super::choice::check_name;
use super::download::{Filling, Remote, megabytes};
use super::folder;
use super::format::Format;
use super::part::Part;
use super::source::Source;
use super::trouble::{At, Trouble};
use super::{Adapters, escaped, shown};
use crate::inputs::{Inputs, cancelled};
use crate::runner::{RunError, Watch};

/// An adapter that an input names, on this machine. What was downloaded for it stays there for as long as this is held.
#[derive(Clone, Debug)]
pub struct GivenAdapter {
    /// Where in the input its path stands: names of fields and places in lists.
    pub path: Vec<String>,
    /// Its files.
    pub files: AdapterFiles,
    /// In the cache.
    _held: Vec<Held>,
}

impl GivenAdapter {
    /// One whose files nobody has to hold.
    pub fn new(path: Vec<String>, files: AdapterFiles) -> Self {
        Self { path, files, _held: Vec::new() }
    }
}

impl Inputs {
    /// Finds the adapters of an input.
    ///
    /// # Errors
    /// What is wrong with one of them, or that somebody wants to stop.
    pub async fn adapters(&self, input: &Input, watch: &dyn Watch) -> Result<Vec<GivenAdapter>, RunError> {
        let wanted = input.weights();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let limit = self.weights.config.time;
        // what is wrong with the names is told before anything is fetched
        let sources: Vec<_> =
            wanted.iter().map(|weights| Source::parse(&weights.source, &self.weights.config)).collect();
        let problems =
            sources.iter().zip(&wanted).filter_map(|(source, weights)| Some(source.clone().err()?.problem(weights)));
        let problems: Vec<_> = problems.collect();
        if !problems.is_empty() {
            return Err(RunError::Invalid(problems));
        }
        let finding = async {
            let mut found = Vec::new();
            for (source, weights) in sources.into_iter().flatten().zip(&wanted) {
                let one = self.adapter(source, weights, watch).await;
                let ((files, held), from) = one.map_err(|trouble| RunError::Invalid(vec![trouble.problem(weights)]))?;
                watch.log(&taken(input, weights, &from));
                found.push(GivenAdapter { path: weights.path.clone(), files, _held: held });
            }
            Ok(found)
        };
        tokio::select! {
            biased;
            () = cancelled(watch) => Err(RunError::Cancelled),
            found = timeout(limit, finding) => found.unwrap_or_else(|_| {
                let said = format!(
                    "it was not here in time; all adapters of a request together may take {} s ([adapters] timeout_s)",
                    limit.as_secs_f64()
                );
                Err(RunError::Invalid(wanted.iter().take(1).map(|one| Trouble::unread(said.clone()).problem(one)).collect()))
            }),
        }
    }

    /// Weights that came with the input and were put into files, as they came: for those who send the input elsewhere.
    pub(crate) async fn weights_as_sent(&self, input: &Input) -> Result<Vec<(Vec<String>, String)>, RunError> {
        let mut sent = Vec::new();
        for weights in input.weights().into_iter().filter(|weights| weights.source.starts_with(FILE_SCHEME)) {
            let read = self.read(&weights.source).await;
            let trouble = |reason: String| RunError::Invalid(vec![Trouble::unread(reason).problem(&weights)]);
            let bytes = read.map_err(|unread| trouble(unread.reason()))?;
            sent.push((weights.path, format!("data:application/octet-stream;base64,{}", STANDARD.encode(bytes))));
        }
        Ok(sent)
    }

    /// The files of one adapter, and where they were taken from, in words.
    async fn adapter(
        &self,
        source: Source,
        weights: &InputWeights,
        watch: &dyn Watch,
    ) -> Result<(Found, String), Trouble> {
        match source {
            Source::Repository(repository) => {
                // what the owner of this server has put here goes before what anybody may call so elsewhere
                if let Some(path) = repository.or_path.as_ref().map(PathBuf::from) {
                    let (here, paths) = (path.clone(), self.weights.config.paths.clone());
                    let is_here = tokio::task::spawn_blocking(move || folder::is_there(&here, &paths)).await;
                    if is_here.unwrap_or(false) {
                        return self.of_path(path, weights).await;
                    }
                }
                let from = format!("the hub's repository {}/{}", repository.owner, repository.name);
                Ok((self.weights.of_repository(&repository, weights, watch).await?, from))
            }
            Source::Path(path) => self.of_path(path, weights).await,
            Source::Data | Source::Kept => {
                alone(weights, None)?;
                let bytes = self.read(&weights.source).await.map_err(|unread| Trouble::unread(unread.reason()))?;
                Ok((self.weights.of_bytes(bytes, weights).await?, "the input itself".to_owned()))
            }
            Source::Url(url) => {
                let name = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
                alone(weights, Some(&name))?;
                check_name(&name, At::Path, weights.pickles)?;
                let own = self.own_body(url.as_str()).await.map_err(|unread| Trouble::unread(unread.reason()))?;
                match own {
                    Some((path, body)) => {
                        let found = self.weights.of_own(&path, body, weights).await?;
                        Ok((found, "the files that this server stores".to_owned()))
                    }
                    None => {
                        let found = self.weights.of_url(&url, weights, watch).await?;
                        Ok((found, format!("the host {}", url.host_str().unwrap_or_default())))
                    }
                }
            }
        }
    }

    async fn of_path(&self, path: PathBuf, weights: &InputWeights) -> Result<(Found, String), Trouble> {
        let (named, paths) = (weights.clone(), self.weights.config.paths.clone());
        let found = tokio::task::spawn_blocking(move || folder::of_path(&path, &named, &paths)).await;
        let files = found.unwrap_or_else(|_| Err(Trouble::unread("the folder cannot be read")))?;
        let name = files.weights.first().and_then(|file| file.file_name()).map(|name| name.to_string_lossy());
        let from = match (name, files.weights.len()) {
            (Some(name), 1) => format!("a folder of this machine, file {name}"),
            (_, count) => format!("a folder of this machine, {count} shards"),
        };
        Ok(((files, Vec::new()), from))
    }
}

/// A line for the log: which adapter was taken from where, and how much it counts.
fn taken(input: &Input, weights: &InputWeights, from: &str) -> String {
    let (last, around) = weights.path.split_last().map_or(("", &[][..]), |(last, around)| (last.as_str(), around));
    let mut values = Some(input.values());
    let mut list = None;
    for part in around {
        let value = match (values, list) {
            (Some(map), _) => map.get(part),
            (None, Some(items)) => part.parse().ok().and_then(|place: usize| Vec::as_slice(items).get(place)),
            (None, None) => None,
        };
        (values, list) = (value.and_then(Value::as_object), value.and_then(Value::as_array));
    }
    let scale = ["scale", "conditioning_scale"].iter().find_map(|name| values?.get(*name)).filter(|_| last == "path");
    let scale = scale.map_or_else(String::new, |scale| format!(", scale {scale}"));
    escaped(&format!("{}: {}, taken from {from}{scale}", weights.path.join("."), shown(&weights.source)))
}

/// Refuses fields that mean nothing for one file.
fn alone(weights: &InputWeights, name: Option<&str>) -> Result<(), Trouble> {
    let said = "this names one file already; leave this out";
    match (&weights.subfolder, &weights.weight_name) {
        (Some(_), _) => Err(Trouble::named(At::Subfolder, said)),
        (None, Some((_, wanted))) if Some(wanted.as_str()) != name => Err(Trouble::named(At::WeightName, said)),
        _ => Ok(()),
    }
}

/// Files, and what keeps them where they are.
pub(super) type Found = (AdapterFiles, Vec<Held>);

impl Adapters {
    async fn of_url(&self, url: &Url, weights: &InputWeights, watch: &dyn Watch) -> Result<Found, Trouble> {
        let spoken = format!("{}: {}", weights.path.join("."), shown(&weights.source));
        let remote = Remote {
            url: url.as_str(),
            json: false,
            max_bytes: self.config.max_bytes,
            lasting: false,
            pickles: weights.pickles,
            // the owner's token is for repositories
            pass: None,
            spoken: Some(&spoken),
        };
        Ok(files(weights, self.fetched(&remote, watch).await?))
    }

    /// Bytes that came with the input: they are here for this call and those who share it.
    async fn of_bytes(&self, bytes: Bytes, weights: &InputWeights) -> Result<Found, Trouble> {
        let (cache, size) = (self.cache()?, bytes.len() as u64);
        let (part, format) = self.poured(Some(size), futures::stream::iter([Ok(bytes)]), weights).await?;
        Ok(files(weights, cache.lend(part, format).await?))
    }

    /// A file that is stored here.
    async fn of_own(&self, path: &str, body: FileBody, weights: &InputWeights) -> Result<Found, Trouble> {
        if body.size > self.config.max_bytes {
            return Err(Trouble::too_large(self.config.max_bytes));
        }
        // a stored file never changes
        let (cache, key) = (self.cache()?, super::cache::key(path));
        let turn = cache.turn(&key);
        let _busy = turn.busy.lock().await;
        if let Some((known, held)) = cache.find(&key) {
            check_name(&known.file, At::Path, weights.pickles)?;
            return Ok(files(weights, held));
        }
        let unread = |_| Trouble::unread("the server cannot reach its files now; try again later");
        let (part, format) = self.poured(Some(body.size), body.stream.map_err(unread), weights).await?;
        tracing::debug!(size = megabytes(part.written()), "an adapter of a caller is kept");
        Ok(files(weights, cache.keep(&key, part, format, None).await?))
    }

    /// Puts what comes in pieces into a part.
    async fn poured(
        &self,
        size: Option<u64>,
        pieces: impl futures::Stream<Item = Result<Bytes, Trouble>>,
        weights: &InputWeights,
    ) -> Result<(Part, Format), Trouble> {
        let remote = Remote {
            url: "",
            json: false,
            max_bytes: self.config.max_bytes,
            lasting: true,
            pickles: weights.pickles,
            pass: None,
            spoken: None,
        };
        let mut filling = Filling::new(self.cache()?.begin(size).await?, &remote);
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.try_next().await? {
            filling.add(&piece).await?;
        }
        filling.finish().await
    }
}

fn files(weights: &InputWeights, held: Held) -> Found {
    let name = shown(&weights.source);
    (AdapterFiles { name, weights: vec![held.path.clone()], ..AdapterFiles::default() }, vec![held])
}
