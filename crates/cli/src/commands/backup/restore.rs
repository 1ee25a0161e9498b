//! `scumble restore`: unpacks into a folder inside the data dir, looks at everything there, and only then gives it its
//! place. A data dir may be a volume of its own, so nothing outside it is touched.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use scumble_api::published::gigabytes;
use scumble_store::Snapshot;
use serde_json::json;
use tempfile::TempDir;

use super::format::DATABASE;
use super::room;
use super::stop::Stop;
use super::unpack::{Unpacked, unpack};
use crate::args::Restore;
use crate::commands::models::bar::Bar;
use crate::commands::time::iso;
use crate::failure::Failure;
use crate::settings::{data_dir, runtime};
use crate::{out, private};

/// The folder in which everything is unpacked at first.
const ASIDE: &str = ".scumble-restore-";

/// Brings back a backup.
pub(crate) fn restore(args: &Restore) -> Result<(), Failure> {
    let target = data_dir(args.data_dir.as_deref())?;
    private::close_new_files();
    let runtime = runtime()?;
    let (stop, bar) = (Stop::on_signals(&runtime), Bar::new());
    let made = Made::folder(&target)?;
    let restored = restored(&args.file, &target, &stop, &bar);
    bar.finish();
    let (unpacked, elsewhere) = restored.inspect_err(|_| made.undo())?;
    told(&unpacked, elsewhere, &target, args.json)
}

/// What was unpacked, and how many files the database names that are elsewhere: all or none.
fn restored(archive: &Path, target: &Path, stop: &Stop, bar: &Bar) -> Result<(Unpacked, u64), Failure> {
    check_empty(target)?;
    let aside = tempfile::Builder::new().prefix(ASIDE).tempdir_in(target);
    let aside = aside.map_err(|error| Failure::about("write into", target, error))?;
    let unpacked = unpack(archive, aside.path(), stop, bar)?;
    let database = aside.path().join(DATABASE);
    let about = |error| Failure::System(format!("the database in {} cannot be used: {error}", archive.display()));
    let snapshot = Snapshot::open(&database).map_err(about)?;
    let (named, _) = snapshot.all_files().map_err(about)?;
    snapshot.close().map_err(about)?;
    stop.check()?;
    publish(&aside, target)?;
    // `--without-files` is the only way to promise none where there are some
    let elsewhere = if unpacked.head.files == 0 { named } else { 0 };
    Ok((unpacked, elsewhere))
}

/// # Errors
/// Something is in the data dir.
fn check_empty(target: &Path) -> Result<(), Failure> {
    let cannot = |error| Failure::about("look into", target, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(target).map_err(cannot)? {
        names.push(entry.map_err(cannot)?.file_name().to_string_lossy().into_owned());
    }
    // file systems begin with it
    names.retain(|name| name != "lost+found");
    let found = |beginning: &str| names.iter().find(|name| name.starts_with(beginning));
    let (name, why) = if let Some(name) = found(DATABASE) {
        (name, "a server may be using it. Stop that and move the data dir away, or restore into another one")
    } else if let Some(name) = found(ASIDE) {
        (name, "another restore is at work there, or one that was killed has left it: delete it if none is")
    } else if let Some(name) = names.first() {
        (name, "a restore needs a data dir that is empty or not there: name another one with --data-dir DIR")
    } else {
        return Ok(());
    };
    Err(Failure::System(format!("there is {name} in {}; {why}", target.display())))
}

/// Gives everything its place: the database last, since with it an installation is there. Whatever came meanwhile is not
/// replaced.
fn publish(aside: &TempDir, target: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => Failure::System(format!(
            "something else has begun to use {} meanwhile; nothing was restored. Stop it, or name another data dir",
            target.display()
        )),
        _ => room::failed(target, &error),
    };
    let (files, placed) = (aside.path().join("files"), target.join("files"));
    let has_files = files.is_dir();
    if has_files {
        fs::rename(&files, &placed).map_err(failed)?;
    }
    let database = tempfile::TempPath::try_from_path(aside.path().join(DATABASE)).map_err(failed)?;
    if let Err(error) = database.persist_noclobber(target.join(DATABASE)) {
        if has_files {
            // back to where it goes with the rest
            let _ = fs::rename(&placed, &files);
        }
        return Err(failed(error.error));
    }
    if cfg!(unix) {
        fs::File::open(target).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(())
}

/// Folders that were made on the way to the data dir, the innermost first.
struct Made(Vec<PathBuf>);

impl Made {
    fn folder(target: &Path) -> Result<Self, Failure> {
        let missing = target.ancestors().take_while(|folder| *folder != Path::new("") && !folder.exists());
        let made = Self(missing.map(Path::to_owned).collect());
        private::make_folder(target)?;
        Ok(made)
    }

    /// What is not empty stays.
    fn undo(&self) {
        self.0.iter().for_each(|folder| _ = fs::remove_dir(folder));
    }
}

fn told(unpacked: &Unpacked, elsewhere: u64, target: &Path, json: bool) -> Result<(), Failure> {
    let Unpacked { head, files, bytes, database_bytes } = unpacked;
    let (made, target) = (iso(head.made_ms), target.display());
    let (bytes_said, database_said) = (gigabytes(*bytes), gigabytes(*database_bytes));
    let (begin, start) = match elsewhere {
        0 => (
            format!("{files} files ({bytes_said}) and the database ({database_said}) of {made} are in {target}"),
            format!("`scumble serve --data-dir {target}`"),
        ),
        n => (
            format!("the database ({database_said}) of {made} is in {target}, without the {n} files that it names"),
            format!("`scumble serve --data-dir {target} --files URL`, URL being where those files are"),
        ),
    };
    out::say(&format!("{begin}. Start the server with {start}: requests that were waiting or running then run now"));
    if !json {
        return Ok(());
    }
    out::json(&json!({
        "data_dir": target.to_string(), "made": made, "program": head.program, "files": files,
        "file_bytes": bytes, "files_elsewhere": elsewhere, "database_bytes": database_bytes,
    }))
}
