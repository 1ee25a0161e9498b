//! What can be typed about the data of an installation: `backup`, `restore`, `doctor`.

use std::path::PathBuf;

use super::{PlaceArgs, Serve};

/// Write everything that an installation holds into one file, with the server up or down.
///
/// In it are the database as it is at one moment, with every job and key that was acknowledged before, and the files that
/// it names. The database holds what the server signs with: keep the file as private as the data dir. Not in it are scumble.toml,
/// certificates, weights and adapters that were fetched.
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    /// The file that is written: a tar archive, packed where the name ends in .gz or .tgz. One that is there already is not
    /// replaced. While it is made, its folder needs room for the database twice.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Where images are kept, as for `serve`: a folder [default: files in the data dir].
    #[arg(long, env = "SCUMBLE_FILES", value_name = "URL")]
    pub(crate) files: Option<String>,
    /// The database alone: for files that are in a bucket, or copied by other means.
    #[arg(long)]
    pub(crate) without_files: bool,
    /// A JSON object about what was written.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Bring back what `scumble backup` has written, into a data dir that is empty or not there.
///
/// Everything in the file is checked before it counts; where anything is wrong with it, the data dir stays as it was. An
/// archive decides which keys open the server: restore those that you trust.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// What `scumble backup` has written.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where it goes [default: $XDG_DATA_HOME/scumble].
    #[arg(long, env = "SCUMBLE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A JSON object about what was restored.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check what `serve` with the same flags needs: one line each, with what to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Look through the data instead: whether the database is intact, which files and rows do not belong together, how old
    /// things are and when they go. Reads all of it, changes nothing, and may run beside the server.
    #[arg(long)]
    pub(crate) data: bool,
    /// JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) serve: Serve,
}
