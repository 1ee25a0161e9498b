//! `scumble backup` and `scumble restore`: an installation as one file, and back.

mod format;
mod pack;
mod restore;
mod room;
mod stop;
mod summed;
mod unpack;

use std::path::{Path, PathBuf};

use scumble_api::published::gigabytes;
use serde_json::json;

pub(crate) use self::restore::restore;

use self::pack::{Packed, Packing};
use self::stop::Stop;
use crate::args::Backup;
use crate::commands::models::bar::Bar;
use crate::failure::Failure;
use crate::out;
use crate::private;
use crate::settings::{Database, Place, folder_of, runtime};

/// Writes the archive.
pub(crate) fn backup(args: &Backup) -> Result<(), Failure> {
    let (place, files) = Place::with_files(&args.place, args.files.as_deref())?;
    let database = database_file(&place.database)?;
    let files = if args.without_files { None } else { Some(folder(&files)?) };
    refuse_to_replace(&args.file)?;
    // what the server signs with is in it
    private::close_new_files();
    let runtime = runtime()?;
    let (stop, bar) = (Stop::on_signals(&runtime), Bar::new());
    let packing = Packing { database, files: files.as_deref(), target: &args.file, stop: &stop, bar: &bar };
    let packed = packing.pack();
    bar.finish();
    told(&packed?, &args.file, args.json)
}

/// The file of the database; what is elsewhere has tools of its own.
fn database_file(database: &Database) -> Result<&Path, Failure> {
    match database {
        Database::Sqlite(path) => Ok(path),
        Database::Postgres(_) => Err(Failure::Usage(format!(
            "{database} is a PostgreSQL database, which has its own tools: back it up with `pg_dump --format=custom`, bring \
             it back with `pg_restore`, and do so before the files: /docs/operations of a server says how the two fit together"
        ))),
    }
}

/// The folder of the files; what is elsewhere has tools of its own.
fn folder(files: &str) -> Result<PathBuf, Failure> {
    folder_of(files).ok_or_else(|| {
        Failure::Usage(format!(
            "the files are in {files}, not in a folder of this machine. Keep a bucket with its own tools: versioning and \
             replication, or a copy with `aws s3 sync` or `rclone`; --without-files backs up the database alone, and \
             /docs/operations of a server says in which order"
        ))
    })
}

fn refuse_to_replace(file: &Path) -> Result<(), Failure> {
    if file.symlink_metadata().is_ok() {
        return Err(Failure::System(format!(
            "{} is there already and is not replaced; choose another name",
            file.display()
        )));
    }
    Ok(())
}

fn told(packed: &Packed, file: &Path, json: bool) -> Result<(), Failure> {
    let Packed { files, bytes, database_bytes, archive_bytes, deleted, missing, damaged } = packed;
    out::say(&format!(
        "{files} files ({}) and the database ({}) are in {}, {}. It holds the server's secrets: keep it private",
        gigabytes(*bytes),
        gigabytes(*database_bytes),
        file.display(),
        gigabytes(*archive_bytes)
    ));
    if json {
        out::json(&json!({
            "file": file.display().to_string(), "archive_bytes": archive_bytes, "files": files, "file_bytes": bytes,
            "database_bytes": database_bytes, "deleted_meanwhile": deleted, "missing": missing, "damaged": damaged,
        }))?;
    }
    if *missing + *damaged == 0 {
        return Ok(());
    }
    // whoever runs this by night reads nothing but how it ended
    Err(Failure::System(format!(
        "{missing} files that the database knows are not in their folder, and {damaged} have not the size that they should \
         have; everything else is in the backup. `scumble doctor --data` names them"
    )))
}
