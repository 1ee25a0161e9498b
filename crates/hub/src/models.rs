//! A folder for each model that was fetched: links into the cache, in the layout that the engine reads.
//!
//! The folder is made when every file is here, and gets its name in one step. So whoever finds one has all of a model, also
//! where its parts come from several repositories, and a name means the same wherever a model was fetched from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, beside, make_parent, place};
use crate::claim::Claim;
use crate::error::{Error, Result};
use crate::names::{RepoId, is_commit, is_hex, is_name, is_writable};

/// The account of a model, in its folder.
const RECORD: &str = "fetched.json";
/// Beside the folders: what was begun, and may have left something.
const BEGUN: &str = "begun";
/// Beside the folders: whose tokenizers were fetched alone.
const TOKENIZERS: &str = "tokenizers";
/// What takes the records of all models; the name of none.
const ALL: &str = ".all";

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
    /// What was fetched for it before, and is not part of it any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Source>,
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
    bytes: u64,
}

impl Whole {
    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Held {
    /// Bytes of all files; `None` where there cannot be so many.
    fn bytes(&self) -> Option<u64> {
        let mut files = self.sources.iter().flat_map(|source| &source.files);
        files.try_fold(0_u64, |sum, file| sum.checked_add(file.bytes))
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

    /// Takes a model for as long as it is fetched. Whoever else would fetch or remove it is refused meanwhile.
    ///
    /// # Errors
    /// Somebody else has it; the folder of all models cannot be written.
    pub fn claim(&self, model: &str) -> Result<Claim> {
        fs::create_dir_all(&self.home).map_err(|error| Error::unwritable(&self.home, error))?;
        Claim::new(Claim::path(&self.home, model), model)
    }

    /// Takes the records of all models for a moment: what one needs is not to be written down while somebody removes what none
    /// needs.
    fn records(&self) -> Result<Claim> {
        fs::create_dir_all(&self.home).map_err(|error| Error::unwritable(&self.home, error))?;
        Claim::soon(Claim::path(&self.home, ALL))
    }

    /// The model of this name, if it was ever fetched whole.
    pub fn find(&self, model: &str) -> Option<Whole> {
        self.read(model).ok().flatten()
    }

    /// What is wrong with the records of a model, where something is: it may be here, and nobody can tell.
    pub fn damage(&self, model: &str) -> Option<Error> {
        self.read(model).err().or_else(|| self.beside_of(model).err())
    }

    fn read(&self, model: &str) -> Result<Option<Whole>> {
        let Some(folder) = is_name(model).then(|| self.home.join(model)) else { return Ok(None) };
        let path = folder.join(RECORD);
        let Some(held) = record(model, &path)? else { return Ok(None) };
        let too_many = || damaged(model, &path, "its files are longer than any disk");
        let bytes = held.bytes().ok_or_else(too_many)?;
        let files = held.sources.iter().flat_map(|source| &source.files);
        let is_gone = |bytes: u64, path: &Path| !fs::metadata(path).is_ok_and(|found| found.len() == bytes);
        let gone = files.filter(|file| !is_writable(&file.to) || is_gone(file.bytes, &folder.join(&file.to)));
        let gone = gone.map(|file| file.to.clone()).collect();
        Ok(Some(Whole { model: model.to_owned(), folder, held, gone, bytes }))
    }

    /// Notes that these files of a model are on their way: what is left of that can be found then.
    ///
    /// # Errors
    /// The disk; what was noted before cannot be read.
    pub fn begin(&self, model: &str, held: &Held) -> Result<()> {
        let _records = self.records()?;
        let mut sources = self.begun_of(model)?.unwrap_or_default();
        sources.extend(held.sources.iter().filter(|source| !sources.contains(source)).cloned().collect::<Vec<_>>());
        write(&self.begun(model), &Held { variant: held.variant.clone(), sources, ..Held::default() })
    }

    /// Notes whose tokenizers were fetched for a model, alone: they are found there, those of the last fetch first, and go
    /// with it.
    ///
    /// # Errors
    /// The disk; what was noted before cannot be read.
    pub fn note_tokenizers(&self, model: &str, held: &Held) -> Result<()> {
        let _records = self.records()?;
        let mut sources = held.sources.clone();
        let before = self.noted_of(model, TOKENIZERS)?.unwrap_or_default();
        sources.extend(before.into_iter().filter(|source| !held.sources.contains(source)));
        write(&self.noted(model, TOKENIZERS), &Held { variant: held.variant.clone(), sources, ..Held::default() })
    }

    /// Whose tokenizers were fetched for a model alone, the last ones first, and the folder of each one's files.
    pub fn tokenizers(&self, model: &str) -> Vec<(Source, PathBuf)> {
        let noted = self.noted_of(model, TOKENIZERS).ok().flatten().unwrap_or_default();
        noted.into_iter().filter_map(|source| self.snapshot(&source).ok().map(|folder| (source, folder))).collect()
    }

    fn noted(&self, model: &str, what: &str) -> PathBuf {
        self.home.join(format!("{model}.{what}"))
    }

    fn begun(&self, model: &str) -> PathBuf {
        self.noted(model, BEGUN)
    }

    /// What was noted of a model beside its folder; `None` where nothing was.
    fn noted_of(&self, model: &str, what: &str) -> Result<Option<Vec<Source>>> {
        Ok(record(model, &self.noted(model, what))?.map(|held| held.sources))
    }

    fn begun_of(&self, model: &str) -> Result<Option<Vec<Source>>> {
        self.noted_of(model, BEGUN)
    }

    /// All that was noted of a model beside its folder; `None` where nothing was.
    fn beside_of(&self, model: &str) -> Result<Option<Vec<Source>>> {
        let (begun, tokenizers) = (self.begun_of(model)?, self.noted_of(model, TOKENIZERS)?);
        let is_none = begun.is_none() && tokenizers.is_none();
        Ok((!is_none).then(|| begun.into_iter().chain(tokenizers).flatten().collect()))
    }

    /// Makes a model's folder of files that are all here. It takes the place of the one before.
    ///
    /// # Errors
    /// The disk; a file that is not here.
    pub fn keep(&self, model: &str, held: &Held) -> Result<PathBuf> {
        let folder = self.home.join(model);
        let aside = beside(&folder);
        let _records = self.records()?;
        // files that were fetched for it before are still to be found when it is removed
        let mut former = self.begun_of(model)?.unwrap_or_default();
        former.extend(
            self.find(model).into_iter().flat_map(|Whole { held, .. }| held.sources.into_iter().chain(held.former)),
        );
        former.retain(|source| !held.sources.contains(source));
        former.dedup();
        let held = Held { former, ..held.clone() };
        let made = self.make(&aside, &held).and_then(|()| swap(&aside, &folder));
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
        write(&record, held)
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
        self.begin(model, &whole.held)?;
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
    /// The disk; somebody fetches it; a record that cannot be read, also of another model: what that one needs has to stay.
    pub fn remove(&self, model: &str, others: &[&str]) -> Result<Option<u64>> {
        if !self.home.is_dir() {
            return Ok(None);
        }
        let _claim = self.claim(model)?;
        // to the end: who begins meanwhile would count on files that go
        let _records = self.records()?;
        let (whole, beside) = (self.read(model)?, self.beside_of(model)?);
        if whole.is_none() && beside.is_none() {
            return Ok(None);
        }
        let (mut used, mut coming) = (BTreeSet::new(), BTreeSet::new());
        for other in others {
            used.extend(self.read(other)?.iter().flat_map(|other| paths_of(&other.held.sources)));
            // what comes for another may have no link yet
            let beside = self.beside_of(other)?.unwrap_or_default();
            used.extend(paths_of(&beside));
            coming.extend(beside.into_iter().flat_map(|source| source.files).map(|file| file.etag));
        }
        let mut own = beside.unwrap_or_default();
        if let Some(Whole { folder, held, .. }) = whole {
            // the folder first: what is half removed is not found
            fs::remove_dir_all(&folder).map_err(|e| Error::disk("remove", &folder, e))?;
            own.extend(held.sources.into_iter().chain(held.former));
        }
        let mut repositories = BTreeSet::new();
        for (repository, commit, path) in paths_of(&own) {
            let Some(id) = RepoId::parse(&repository).filter(|_| is_commit(&commit) && is_writable(&path)) else {
                continue;
            };
            let link = self.cache.snapshot(&id, &commit).join(&path);
            if !used.contains(&(repository, commit, path)) {
                let _ = fs::remove_file(link);
            }
            repositories.insert(id);
        }
        let freed = repositories.iter().map(|id| self.sweep(id, &coming)).sum::<Result<u64>>()?;
        for what in [BEGUN, TOKENIZERS] {
            let _ = fs::remove_file(self.noted(model, what));
        }
        Ok(Some(freed))
    }

    /// Removes the blobs of a repository that no commit names, and what was on its way; those at which somebody is busy stay, and
    /// those that come for another model.
    fn sweep(&self, id: &RepoId, coming: &BTreeSet<String>) -> Result<u64> {
        let repository = self.cache.repository(id);
        let linked = linked(&repository.join("snapshots"));
        let mut freed = 0;
        for entry in fs::read_dir(repository.join("blobs")).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let etag = name.split('.').next().unwrap_or_default();
            let is_ours = matches!(name.strip_prefix(etag), Some("" | ".scumble-part" | ".scumble-pieces"));
            if !is_ours || !is_hex(etag) || coming.contains(etag) || (name == etag && linked.contains(etag)) {
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

/// Writes a record, all of it or nothing: what it names is found by it alone.
fn write(path: &Path, held: &Held) -> Result<()> {
    let text = serde_json::to_vec_pretty(held).map_err(|e| Error::nonsense(RECORD, e.to_string()))?;
    let aside = beside(path);
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(&text)?;
        // without that a machine that stops may have the name and not the bytes
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&aside, path)).map_err(|e| {
        let _ = fs::remove_file(&aside);
        Error::disk("write", path, e)
    })
}

/// What a record says; `None` where there is none. One that says nothing is an error: it was written for something.
fn record(model: &str, path: &Path) -> Result<Option<Held>> {
    match fs::read(path) {
        Ok(text) if text.is_empty() => Err(damaged(model, path, "it is empty")),
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| damaged(model, path, &e.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::disk("read", path, error)),
    }
}

fn damaged(model: &str, path: &Path, reason: &str) -> Error {
    Error::Record { model: model.to_owned(), path: path.to_owned(), reason: reason.to_owned() }
}

/// Repository, commit and path of each file.
fn paths_of(sources: &[Source]) -> Vec<(String, String, String)> {
    let of = |source: &Source| {
        let (repository, commit) = (source.repository.clone(), source.commit.clone());
        source.files.iter().map(move |file| (repository.clone(), commit.clone(), file.from.clone())).collect::<Vec<_>>()
    };
    sources.iter().flat_map(of).collect()
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
