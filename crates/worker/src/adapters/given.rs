//! The adapters of one input, found before its run: within one time, and no longer than somebody wants them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::TryStreamExt;
use scumble_api::{FILE_SCHEME, Input, InputWeights};
use scumble_engine::adapters::AdapterFiles;
use scumble_fetch::Url;
use scumble_files::FileBody;
use tokio::time::timeout;

use super::cache::Held;
use super::choice::check_name;
use super::download::{Filling, Remote, megabytes};
use super::folder;
use super::source::Source;
use super::trouble::{At, Trouble};
use super::{Adapters, shown};
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
                let (files, held) = one.map_err(|trouble| RunError::Invalid(vec![trouble.problem(weights)]))?;
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

    async fn adapter(
        &self,
        source: Source,
        weights: &InputWeights,
        watch: &dyn Watch,
    ) -> Result<(AdapterFiles, Vec<Held>), Trouble> {
        match source {
            Source::Repository(repository) => self.weights.of_repository(&repository, weights, watch).await,
            Source::Path(path) => {
                let (named, paths) = (weights.clone(), self.weights.config.paths.clone());
                let found = tokio::task::spawn_blocking(move || folder::of_path(&path, &named, &paths)).await;
                found
                    .unwrap_or_else(|_| Err(Trouble::unread("the folder cannot be read")))
                    .map(|files| (files, Vec::new()))
            }
            Source::Data | Source::Kept => {
                alone(weights, None)?;
                let bytes = self.read(&weights.source).await.map_err(|unread| Trouble::unread(unread.reason()))?;
                self.weights.of_bytes(bytes, weights).await
            }
            Source::Url(url) => {
                let name = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
                alone(weights, Some(&name))?;
                check_name(&name, At::Path, weights.pickles)?;
                let own = self.own_body(url.as_str()).await.map_err(|unread| Trouble::unread(unread.reason()))?;
                match own {
                    Some((path, body)) => self.weights.of_own(&path, body, weights).await,
                    None => self.weights.of_url(&url, weights, watch).await,
                }
            }
        }
    }
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

impl Adapters {
    async fn of_url(
        &self,
        url: &Url,
        weights: &InputWeights,
        watch: &dyn Watch,
    ) -> Result<(AdapterFiles, Vec<Held>), Trouble> {
        let spoken = format!("{}: {}", weights.path.join("."), shown(&weights.source));
        let remote = Remote {
            url: url.as_str(),
            json: false,
            max_bytes: self.config.max_bytes,
            lasting: false,
            pickles: weights.pickles,
            pass: self.config.hub.pass.as_ref(),
            spoken: Some(&spoken),
        };
        Ok(files(weights, self.fetched(&remote, watch).await?))
    }

    /// Bytes that came with the input.
    async fn of_bytes(&self, bytes: Bytes, weights: &InputWeights) -> Result<(AdapterFiles, Vec<Held>), Trouble> {
        let key = super::cache::digest(&bytes);
        let size = bytes.len() as u64;
        let pieces = futures::stream::iter([Ok(bytes)]);
        self.poured(&key, Some(size), pieces, weights).await
    }

    /// A file that is stored here.
    async fn of_own(
        &self,
        path: &str,
        body: FileBody,
        weights: &InputWeights,
    ) -> Result<(AdapterFiles, Vec<Held>), Trouble> {
        if body.size > self.config.max_bytes {
            return Err(Trouble::too_large(self.config.max_bytes));
        }
        let unread = |_| Trouble::unread("the server cannot reach its files now; try again later");
        // a stored file never changes
        self.poured(&super::cache::key(path), Some(body.size), body.stream.map_err(unread), weights).await
    }

    /// Puts what comes in pieces into the cache, unless it is there.
    async fn poured(
        &self,
        key: &str,
        size: Option<u64>,
        pieces: impl futures::Stream<Item = Result<Bytes, Trouble>>,
        weights: &InputWeights,
    ) -> Result<(AdapterFiles, Vec<Held>), Trouble> {
        let cache = self.cache()?;
        let turn = cache.turn(key);
        let _busy = turn.busy.lock().await;
        if let Some((known, held)) = cache.find(key) {
            check_name(&known.file, At::Path, weights.pickles)?;
            return Ok(files(weights, held));
        }
        let remote = Remote {
            url: "",
            json: false,
            max_bytes: self.config.max_bytes,
            lasting: true,
            pickles: weights.pickles,
            pass: None,
            spoken: None,
        };
        let mut filling = Filling::new(cache.begin(size)?, &remote);
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.try_next().await? {
            filling.add(&piece).await?;
        }
        let (part, format) = filling.finish().await?;
        tracing::debug!(size = megabytes(part.written()), "an adapter of a caller is kept");
        Ok(files(weights, cache.keep(key, part, format, None).await?))
    }
}

fn files(weights: &InputWeights, held: Held) -> (AdapterFiles, Vec<Held>) {
    let name = shown(&weights.source);
    (AdapterFiles { name, weights: vec![held.path.clone()], ..AdapterFiles::default() }, vec![held])
}
