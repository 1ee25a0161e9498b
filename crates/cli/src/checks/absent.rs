//! What is not there yet. `serve` makes it, if it may; who only looks is told whether it may.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::failure::Failure;

/// A folder that is not there. `flag` names another one.
pub(crate) fn folder(what: &str, folder: &Path, flag: &str) -> Finding {
    told(what, folder, folder, flag)
}

/// A file that is not there, or holds nothing yet.
pub(super) fn file(what: &str, file: &Path, flag: &str) -> Finding {
    if file.exists() {
        return Finding::Odd(format!("{what} {} holds nothing yet; `scumble serve` begins it", file.display()));
    }
    told(what, file, file.parent().unwrap_or(Path::new("")), flag)
}

/// `inside`: the folder that would be made for it.
fn told(what: &str, path: &Path, inside: &Path, flag: &str) -> Finding {
    let named = format!("{what} {}", path.display());
    let above = nearest(inside);
    match writable(&above) {
        Ok(()) => Finding::Odd(format!("{named} is not there yet; `scumble serve` makes it")),
        Err(why) => Finding::Fails(Failure::System(format!(
            "{named} is not there, and cannot be made: {}: {why}; choose another with {flag}, or change its owner",
            above.display()
        ))),
    }
}

/// The nearest thing on the way to a folder that is there.
pub(super) fn nearest(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    whole.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Whether something can be made in a folder. Nothing is.
fn writable(folder: &Path) -> Result<(), String> {
    if !folder.is_dir() {
        return Err("it is not a folder".to_owned());
    }
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| error.to_string())
    }
    #[cfg(not(unix))]
    match std::fs::metadata(folder) {
        Ok(about) if about.permissions().readonly() => Err("it cannot be written".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}
