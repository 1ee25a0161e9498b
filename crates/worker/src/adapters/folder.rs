//! Adapters that are on this machine already: files and folders that the owner allows.

use std::fs;
use std::path::{Component, Path, PathBuf};

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
    let found = match paths.find(path) {
        Found::At(found) => found,
        Found::Missing => return Err(Trouble::named(At::Path, MISSING)),
        Found::Outside => return Err(refused(paths)),
    };
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
    let Found::At(inside) = paths.allowed(&inside) else { return Err(Trouble::named(At::Subfolder, NOTHING)) };
    let names = if is_file { beside(&found) } else { listed(&inside) };
    let chosen = choose(&names, wanted.as_ref().map(|(name, at)| (name.as_str(), *at)), weights, &[])?;
    // a link inside may lead outside
    let whole = |name: &String| match paths.allowed(&inside.join(name)) {
        Found::At(path) if path.is_file() => Some(path),
        Found::At(_) | Found::Missing | Found::Outside => None,
    };
    let files = chosen.weights.iter().map(whole).collect::<Option<Vec<PathBuf>>>();
    Ok(AdapterFiles {
        name: shown(&weights.source),
        weights: files.ok_or_else(|| refused(paths))?,
        config: chosen.config.as_ref().and_then(whole),
        preprocessor: chosen.preprocessor.as_ref().and_then(whole),
    })
}

/// Whether a path leads to something that may be read.
pub(super) fn is_there(path: &Path, paths: &Paths) -> bool {
    matches!(paths.find(path), Found::At(_))
}

const NOTHING: &str = "there is no such folder in it";
const MISSING: &str = "there is no such file or folder there";

/// Whether there is such a file is told to nobody who may not read it.
fn refused(paths: &Paths) -> Trouble {
    let said = match paths {
        Paths::Any => MISSING,
        Paths::Below(folders) if folders.is_empty() => {
            "paths are not read here: the owner of this server has named no folders ([adapters] folders in scumble.toml)"
        }
        Paths::Below(_) => {
            "this is not in a folder that the owner of this server has named ([adapters] folders in scumble.toml)"
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

/// Where a path leads.
enum Found {
    /// Through all links, here.
    At(PathBuf),
    /// Nowhere, and whoever asks may know that.
    Missing,
    /// To what is not theirs, whether there is such a thing or not.
    Outside,
}

impl Paths {
    /// Where a path leads. What is not absolute is looked for in each folder.
    fn find(&self, path: &Path) -> Found {
        let Self::Below(folders) = self else { return self.allowed(path) };
        // the way up would be walked before anybody knows where it ends
        if path.components().any(|part| part == Component::ParentDir) {
            return Found::Outside;
        }
        if path.is_absolute() {
            return self.allowed(path);
        }
        let mut found = Found::Outside;
        for folder in folders {
            match self.allowed(&folder.join(path)) {
                at @ Found::At(_) => return at,
                Found::Missing => found = Found::Missing,
                Found::Outside => {}
            }
        }
        found
    }

    /// Where a path without `..` leads through all links. What does not begin with one of the folders is not looked at.
    fn allowed(&self, path: &Path) -> Found {
        let Self::Below(folders) = self else {
            return path.canonicalize().map_or(Found::Missing, Found::At);
        };
        let whole: Vec<PathBuf> = folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
        if !folders.iter().chain(&whole).any(|folder| path.starts_with(folder)) {
            return Found::Outside;
        }
        let is_inside = |path: &Path| whole.iter().any(|folder| path.starts_with(folder));
        // the nearest that is there decides whether one may know that the rest is not
        for (steps, ancestor) in path.ancestors().enumerate() {
            if ancestor.symlink_metadata().is_err() {
                continue;
            }
            return match ancestor.canonicalize() {
                Ok(found) if is_inside(&found) && steps == 0 => Found::At(found),
                Ok(found) if is_inside(&found) => Found::Missing,
                Ok(_) | Err(_) => Found::Outside,
            };
        }
        Found::Outside
    }
}
