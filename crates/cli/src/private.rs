//! What is for the owner of the data dir alone.
//!
//! The database holds the secrets that cookies, tokens and webhooks are signed with, and everybody's prompts and pictures.
//! What this program makes in the data dir is therefore for its owner only, whatever the umask says. What older versions
//! made is closed by `serve` and reported by `doctor`.
//!
//! Only what is ours is closed: the database with what SQLite keeps beside it, the spool, keys of certificates, the default
//! folder of files, and the data dir itself where nothing else is in it. A folder that somebody shares on purpose is not:
//! `--files` elsewhere, and a data dir that holds other things, stay as open as they are.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::settings::{Database, Settings};

/// Something that others on this machine may look into.
pub(crate) struct TooOpen {
    pub(crate) path: PathBuf,
    mode: u32,
    /// What it should be.
    wanted: u32,
}

impl std::fmt::Display for TooOpen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:o}, should be {:o})", self.path.display(), self.mode, self.wanted)
    }
}

/// From now on whatever this process makes is for its owner only. Not where images go to a place of the owner's choice: who
/// shares that folder wants its files to be read.
pub(crate) fn begin(settings: &Settings) {
    if keeps_files_inside(settings) {
        close_new_files();
    }
}

/// The same for commands that write nothing but the database.
#[cfg(unix)]
pub(crate) fn close_new_files() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Other systems give new files the access rules of their folder.
#[cfg(not(unix))]
pub(crate) fn close_new_files() {}

fn keeps_files_inside(settings: &Settings) -> bool {
    Path::new(&settings.files) == settings.data_dir.join("files")
}

/// Makes a folder for its owner only, with those that are missing above it.
pub(crate) fn make_folder(folder: &Path) -> Result<(), Failure> {
    if folder == Path::new("") {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|e| Failure::about("make the folder", folder, e))
}

/// Closes what is too open; what cannot be closed is told and left.
pub(crate) fn mend(settings: &Settings) {
    for open in too_open(settings) {
        match close(&open) {
            Ok(()) => {
                tracing::info!(path = %open.path.display(), "closed to others: {:o} became {:o}", open.mode, open.wanted);
            }
            Err(error) => {
                tracing::warn!(path = %open.path.display(), %error, "others on this machine may look into it");
            }
        }
    }
}

#[cfg(unix)]
fn close(open: &TooOpen) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&open.path, std::fs::Permissions::from_mode(open.wanted))
}

#[cfg(not(unix))]
fn close(_: &TooOpen) -> std::io::Result<()> {
    Ok(())
}

/// What others may look into of what is ours.
#[cfg(unix)]
pub(crate) fn too_open(settings: &Settings) -> Vec<TooOpen> {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::geteuid().as_raw();
    let looked = ours(settings).into_iter().filter_map(|path| {
        let about = std::fs::metadata(&path).ok().filter(|about| about.uid() == me)?;
        let mode = about.mode() & 0o7777;
        let wanted = mode & !0o077;
        (mode != wanted).then_some(TooOpen { path, mode, wanted })
    });
    looked.collect()
}

#[cfg(not(unix))]
pub(crate) fn too_open(_: &Settings) -> Vec<TooOpen> {
    Vec::new()
}

/// Everything that nobody else has any business with.
#[cfg(unix)]
fn ours(settings: &Settings) -> Vec<PathBuf> {
    let data_dir = &settings.data_dir;
    let mut ours = Vec::new();
    if holds_only_ours(data_dir) {
        ours.push(data_dir.clone());
    }
    if let Database::Sqlite(path) = &settings.database {
        let beside = |end: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        ours.extend(["", "-wal", "-shm", "-lives"].map(beside));
    }
    if keeps_files_inside(settings) {
        let spool = data_dir.join("files/spool");
        ours.extend([data_dir.join("files"), spool.clone()]);
        ours.extend(entries(&spool));
    }
    let is_key = |path: &PathBuf| path.to_string_lossy().ends_with("key.pem");
    ours.extend(entries(&data_dir.join("tls")).into_iter().filter(is_key));
    ours
}

/// Whether nothing is in a data dir but what belongs there.
#[cfg(unix)]
fn holds_only_ours(data_dir: &Path) -> bool {
    entries(data_dir).iter().all(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("scumble.") || matches!(&*name, "files" | "tls")
    })
}

#[cfg(unix)]
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
