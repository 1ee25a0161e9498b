//! Adapters that are on this machine already: files and folders that the owner allows.

use std::fs;
use std::path::{Path, PathBuf};

use scumble_api::InputWeights;
use scumble_engine::adapters::AdapterFiles;

use super::choice::{check_name, choose};
use super::config::Paths;
use super::hub::place;
use super::shown;
use super::trouble::{At, Trouble};

/// Files in one folder that are looked at.
const FILES: usize = 10_000;

/// What a path means, if it may be read.
pub(super) fn of_path(path: &Path, weights: &InputWeights, paths: &Paths) -> Result<AdapterFiles, Trouble> {
    let found = paths.find(path).ok_or_else(|| refused(paths))?;
    let is_file = found.is_file();
    if !is_file && !found.is_dir() {
        return Err(Trouble::named(At::Path, "this is neither a file nor a folder"));
    }
    let name = found.file_name().and_then(|name| name.to_str()).filter(|_| is_file);
    let (inside, wanted) = match name {
        // a file of its own, whatever its name tells
        Some(name) => (found.parent().unwrap_or(&found).to_owned(), named(name, weights)?),
        None => {
            let (folder, wanted) = place(None, weights)?;
            (found.join(folder), wanted)
        }
    };
    let inside = paths.allowed(&inside).ok_or_else(|| Trouble::named(At::Subfolder, NOTHING))?;
    let names = if is_file { beside(&found) } else { listed(&inside) };
    let chosen = choose(&names, wanted.as_ref().map(|(name, at)| (name.as_str(), *at)), weights.pickles, &[])?;
    // a link inside may lead outside
    let whole = |name: &String| paths.allowed(&inside.join(name)).filter(|path| path.is_file());
    let files = chosen.weights.iter().map(whole).collect::<Option<Vec<PathBuf>>>();
    Ok(AdapterFiles {
        name: shown(&weights.source),
        weights: files.ok_or_else(|| refused(paths))?,
        config: chosen.config.as_ref().and_then(whole),
        preprocessor: chosen.preprocessor.as_ref().and_then(whole),
    })
}

const NOTHING: &str = "there is no such folder in it";

/// Whether there is such a file is told to nobody who may not read it.
fn refused(paths: &Paths) -> Trouble {
    let said = match paths {
        Paths::Any => "there is no such file or folder",
        Paths::Below(folders) if folders.is_empty() => {
            "paths are not read here: the owner of this server has named no folders ([adapters] folders)"
        }
        Paths::Below(_) => {
            "nothing that may be read: only what is in the folders that the owner of this server has named ([adapters] \
             folders)"
        }
    };
    Trouble::named(At::Path, said)
}

/// The name of a file that a path leads to, which the fields beside cannot change.
fn named(name: &str, weights: &InputWeights) -> Result<Option<(String, At)>, Trouble> {
    let said = "the path names a file already; leave this out";
    if weights.subfolder.is_some() {
        return Err(Trouble::named(At::Subfolder, said));
    }
    if weights.weight_name.as_ref().is_some_and(|(_, wanted)| wanted != name) {
        return Err(Trouble::named(At::WeightName, said));
    }
    check_name(name, At::Path, weights.pickles)?;
    Ok(Some((name.to_owned(), At::Path)))
}

/// A file, and what is in its folder.
fn beside(file: &Path) -> Vec<String> {
    listed(file.parent().unwrap_or(file))
}

fn listed(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(FILES);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

impl Paths {
    /// Where a path leads, if that may be read. What is not absolute is looked for in each folder.
    fn find(&self, path: &Path) -> Option<PathBuf> {
        match self {
            Self::Any => path.canonicalize().ok(),
            Self::Below(_) if path.is_absolute() => self.allowed(path),
            Self::Below(folders) => folders.iter().find_map(|folder| self.allowed(&folder.join(path))),
        }
    }

    /// Where a path leads through all links, if that may be read.
    fn allowed(&self, path: &Path) -> Option<PathBuf> {
        let whole = path.canonicalize().ok()?;
        let is_below = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| whole.starts_with(folder));
        match self {
            Self::Any => Some(whole),
            Self::Below(folders) => folders.iter().any(is_below).then_some(whole),
        }
    }
}
