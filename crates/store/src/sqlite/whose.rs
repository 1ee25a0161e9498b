//! Whose a database is that this user may not open: a command that was run as root leaves such files behind.

use std::path::Path;

use crate::Error;

/// The error that says it, where something of the database at `path` is there and this user is not let at it.
#[cfg(unix)]
pub(super) fn denied(path: &Path) -> Option<Error> {
    use std::fs::{File, metadata};
    use std::io::ErrorKind;
    use std::os::unix::fs::MetadataExt;

    let shut = |path: &Path| {
        let opened = File::options().read(true).write(true).open(path);
        opened.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        name.into()
    };
    // SQLite opens what lies beside it too
    let files: [std::path::PathBuf; 3] = ["", "-wal", "-shm"].map(beside);
    let file = files.into_iter().find(|path| shut(path))?;
    // of what is in a folder that is shut nothing is known: then the folder counts
    let (place, about) = file.ancestors().find_map(|place| Some((place, metadata(place).ok()?)))?;
    Some(Error::Denied {
        path: file.clone(),
        place: (place != file).then(|| place.to_owned()),
        owner: name(about.uid()),
        mode: about.mode() & 0o7777,
    })
}

/// Other systems say it in words of their own.
#[cfg(not(unix))]
pub(super) fn denied(_: &Path) -> Option<Error> {
    None
}

/// The user's name, where this machine's own list has it.
#[cfg(unix)]
fn name(id: u32) -> String {
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(id)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("the user {id}"))
}
