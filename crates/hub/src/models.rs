//! A folder for each model that was fetched: links into the cache, in the layout that the engine reads.
//!
//! The folder is made when every file is here, and gets its name in one step. So whoever finds one has all of a model, also
//! where its parts come from several repositories, and a name means the same wherever a model was fetched from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, beside, make_parent, place};
use crate::error::{Error, Result};
use crate::names::{RepoId, is_commit, is_hex, is_name, is_writable};

/// The account of a model, in its folder.
const RECORD: &str = "fetched.json";
/// Beside the folders: what was begun, and may have left something.
const BEGUN: &str = "begun";

/// All models that were fetched on this machine.
#[derive(Clone, Debug)]
pub struct Models {
    home: PathBuf,
    cache: Cache,
}

/// What was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its form, as `--variant` takes it.
    pub variant: String,
    /// Where its files come from.
    pub sources: Vec<Source>,
    /// Components whose weights are in one file, by the file's path in the folder: the rest is the base that it goes with.
    #[serde(default)]
    pub single_files: BTreeMap<String, String>,
}

/// A repository, and what was taken of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `owner/name`.
    pub repository: String,
    /// What was asked for: a branch, a tag, a commit.
    pub revision: String,
    /// What that was.
    pub commit: String,
    /// Its licence.
    pub licence: String,
    /// Its files.
    pub files: Vec<HeldFile>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFile {
    /// Its path in the repository.
    pub from: String,
    /// Its path in the model's folder.
    pub to: String,
    /// Its checksum, and its name in the cache.
    pub etag: String,
    /// Its length.
    pub bytes: u64,
}

/// A model that is here.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its name.
    pub model: String,
    /// In diffusers' layout.
    pub folder: PathBuf,
    /// What it is made of.
    pub held: Held,
    /// Files that are not what they were when the model was fetched: somebody has cleaned up.
    pub gone: Vec<String>,
}

impl Whole {
    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.held.sources.iter().flat_map(|source| &source.files).map(|file| file.bytes).sum()
    }
}

impl Models {
    /// In this folder, made of files of that cache. Neither need be there yet.
    pub fn new(home: impl Into<PathBuf>, cache: Cache) -> Self {
        Self { home: home.into(), cache }
    }

    /// The cache that they are made of.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The model of this name, if it was ever fetched whole.
    pub fn find(&self, model: &str) -> Option<Whole> {
        let folder = self.home.join(is_name(model).then_some(model)?);
        let held: Held = serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()?;
        let files = held.sources.iter().flat_map(|source| &source.files);
        let is_gone = |bytes: u64, path: &Path| !fs::metadata(path).is_ok_and(|found| found.len() == bytes);
        let gone = files.filter(|file| !is_writable(&file.to) || is_gone(file.bytes, &folder.join(&file.to)));
        let gone = gone.map(|file| file.to.clone()).collect();
        Some(Whole { model: model.to_owned(), folder, held, gone })
    }

    /// Notes that a model is on its way, and from where: what is left of that can be found then.
    ///
    /// # Errors
    /// The disk.
    pub fn begin(&self, model: &str, repositories: &[RepoId]) -> Result<()> {
        let path = self.begun(model);
        make_parent(&path)?;
        let mut all: BTreeSet<String> = self.begun_from(model).iter().map(ToString::to_string).collect();
        all.extend(repositories.iter().map(ToString::to_string));
        let text: String = all.iter().map(|id| format!("{id}\n")).collect();
        fs::write(&path, text).map_err(|e| Error::disk("write", &path, e))
    }

    fn begun(&self, model: &str) -> PathBuf {
        self.home.join(format!("{model}.{BEGUN}"))
    }

    fn begun_from(&self, model: &str) -> Vec<RepoId> {
        let text = fs::read_to_string(self.begun(model)).unwrap_or_default();
        text.lines().filter_map(RepoId::parse).collect()
    }

    /// Makes a model's folder of files that are all here. It takes the place of the one before.
    ///
    /// # Errors
    /// The disk; a file that is not here.
    pub fn keep(&self, model: &str, held: &Held) -> Result<PathBuf> {
        let folder = self.home.join(model);
        let aside = beside(&folder);
        make_parent(&aside)?;
        let made = self.make(&aside, held).and_then(|()| swap(&aside, &folder));
        if made.is_err() {
            let _ = fs::remove_dir_all(&aside);
        }
        made?;
        let _ = fs::remove_file(self.begun(model));
        Ok(folder)
    }

    fn make(&self, folder: &Path, held: &Held) -> Result<()> {
        for source in &held.sources {
            let snapshot = self.snapshot(source)?;
            for file in &source.files {
                let (target, link) = (snapshot.join(&file.from), folder.join(&file.to));
                if !is_writable(&file.to) || !is_writable(&file.from) || !target.is_file() {
                    let what = format!("{}/{}", source.repository, file.from);
                    return Err(Error::nonsense(what, "it is not here"));
                }
                make_parent(&link)?;
                place(&target, &target, &link)?;
            }
        }
        let record = folder.join(RECORD);
        make_parent(&record)?;
        let text = serde_json::to_vec_pretty(held).map_err(|e| Error::nonsense(RECORD, e.to_string()))?;
        fs::write(&record, text).map_err(|e| Error::disk("write", &record, e))
    }

    /// Where the files of a source are, as links that hold from anywhere.
    fn snapshot(&self, source: &Source) -> Result<PathBuf> {
        let wrong = || Error::nonsense(&source.repository, "its record is damaged");
        let id = RepoId::parse(&source.repository).ok_or_else(wrong)?;
        let snapshot =
            self.cache.snapshot(&id, Some(&source.commit).filter(|commit| is_commit(commit)).ok_or_else(wrong)?);
        std::path::absolute(&snapshot).map_err(|e| Error::disk("find", &snapshot, e))
    }

    /// Takes a model's folder away and leaves its files: what cannot be used is not found, and can still be removed.
    ///
    /// # Errors
    /// The disk.
    pub fn forget(&self, model: &str) -> Result<()> {
        let Some(whole) = self.find(model) else { return Ok(()) };
        let ids: Vec<RepoId> =
            whole.held.sources.iter().filter_map(|source| RepoId::parse(&source.repository)).collect();
        self.begin(model, &ids)?;
        fs::remove_dir_all(&whole.folder).map_err(|e| Error::disk("remove", &whole.folder, e))
    }

    /// Whether something of a model may be here that never came whole.
    pub fn has_begun(&self, model: &str) -> bool {
        self.begun(model).is_file()
    }

    /// Takes a model away, with all of its bytes that nothing else uses: no other model that was fetched here, and no other
    /// commit in the cache. Gives how many these were, or `None` where there was nothing of it.
    ///
    /// # Errors
    /// The disk.
    pub fn remove(&self, model: &str, others: &[&str]) -> Result<Option<u64>> {
        let (whole, begun) = (self.find(model), self.begun_from(model));
        if whole.is_none() && begun.is_empty() {
            return Ok(None);
        }
        let used: BTreeSet<(String, String, String)> =
            others.iter().filter_map(|other| self.find(other)).flat_map(|other| paths_of(&other.held)).collect();
        let mut repositories: BTreeSet<RepoId> = begun.into_iter().collect();
        if let Some(whole) = &whole {
            // the folder first: what is half removed is not found
            fs::remove_dir_all(&whole.folder).map_err(|e| Error::disk("remove", &whole.folder, e))?;
            for (repository, commit, path) in paths_of(&whole.held).into_iter().filter(|path| !used.contains(path)) {
                let Some(id) = RepoId::parse(&repository) else { continue };
                if is_commit(&commit) && is_writable(&path) {
                    let _ = fs::remove_file(self.cache.snapshot(&id, &commit).join(&path));
                }
                repositories.insert(id);
            }
        }
        let freed = repositories.iter().map(|id| self.sweep(id)).sum::<Result<u64>>()?;
        let _ = fs::remove_file(self.begun(model));
        Ok(Some(freed))
    }

    /// Removes the blobs of a repository that no commit names, and what was on its way; those at which somebody is busy stay.
    fn sweep(&self, id: &RepoId) -> Result<u64> {
        let repository = self.cache.repository(id);
        let linked = linked(&repository.join("snapshots"));
        let mut freed = 0;
        for entry in fs::read_dir(repository.join("blobs")).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let etag = name.split('.').next().unwrap_or_default();
            let is_ours = matches!(name.strip_prefix(etag), Some("" | ".scumble-part" | ".scumble-pieces"));
            if !is_ours || !is_hex(etag) || (name == etag && linked.contains(etag)) {
                continue;
            }
            let lock = self.cache.root().join(".locks").join(id.folder()).join(format!("{etag}.lock"));
            let lock = File::open(lock).ok();
            if lock.as_ref().is_some_and(|lock| lock.try_lock().is_err()) {
                continue;
            }
            freed += entry.metadata().map_or(0, |found| taken(&found));
            fs::remove_file(entry.path()).map_err(|e| Error::disk("remove", &entry.path(), e))?;
        }
        clear(&repository.join("snapshots"));
        for reference in references(&repository.join("refs")) {
            let names_nothing = fs::read_to_string(&reference).is_ok_and(|commit| {
                let commit = commit.trim();
                is_commit(commit) && !self.cache.snapshot(id, commit).exists()
            });
            if names_nothing {
                let _ = fs::remove_file(reference);
            }
        }
        clear(&repository);
        Ok(freed)
    }
}

/// What a file takes on the disk: one with holes takes less than its length.
#[cfg(unix)]
fn taken(found: &fs::Metadata) -> u64 {
    found.len().min(std::os::unix::fs::MetadataExt::blocks(found) * 512)
}

#[cfg(not(unix))]
fn taken(found: &fs::Metadata) -> u64 {
    found.len()
}

/// Repository, commit and path of each file.
fn paths_of(held: &Held) -> Vec<(String, String, String)> {
    let of = |source: &Source| {
        let (repository, commit) = (source.repository.clone(), source.commit.clone());
        source.files.iter().map(move |file| (repository.clone(), commit.clone(), file.from.clone())).collect::<Vec<_>>()
    };
    held.sources.iter().flat_map(of).collect()
}

/// The blobs that links below a folder lead to.
fn linked(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(linked(&entry.path()));
        } else if let Ok(target) = fs::read_link(entry.path()) {
            found.extend(target.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        }
    }
    found
}

fn references(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(references(&entry.path())),
            _ => found.push(entry.path()),
        }
    }
    found
}

/// Removes the folders below this one in which nothing is, and this one, if nothing is in it then.
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

/// Gives a folder its name; the one that has it goes.
fn swap(aside: &Path, folder: &Path) -> Result<()> {
    let old = beside(folder);
    let had_one = fs::rename(folder, &old).is_ok();
    let named = fs::rename(aside, folder).map_err(|e| Error::disk("name", folder, e));
    if named.is_err() && had_one {
        let _ = fs::rename(&old, folder);
    } else if had_one {
        let _ = fs::remove_dir_all(&old);
    }
    named
}
