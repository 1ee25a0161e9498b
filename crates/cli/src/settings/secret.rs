//! Secrets that do not stand on the command line, where every user of the machine can read them: in a variable, or in
//! the file that the variable's name with `_FILE` behind it names, as containers get theirs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::failure::Failure;

/// No key and no URL is longer; a file that is was not meant.
const LONGEST: u64 = 64 * 1024;

/// What a variable says, or the file that its twin names; `None` where neither is set. An empty variable is as good as
/// none, as in shells.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Failure> {
    let twin = format!("{name}_FILE");
    match (plain(name)?, plain(&twin)?) {
        (Some(_), Some(_)) => Err(Failure::Usage(format!("{name} and {twin} are both set; leave one of them out"))),
        (Some(text), None) => Ok(Some(text)),
        (None, Some(path)) => file(&twin, Path::new(&path)).map(Some),
        (None, None) => Ok(None),
    }
}

/// The first line of a file that holds nothing but a secret.
pub(crate) fn file(named_by: &str, path: &Path) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{named_by}: {} {why}", path.display()));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(|e| Failure::System(format!("{named_by}: cannot read {}: {e}", path.display())))?;
    if bytes.len() as u64 > LONGEST {
        return Err(wrong("is larger than 64 KiB; it should hold the secret and nothing else"));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not text in UTF-8"))?;
    match text.trim() {
        "" => Err(wrong("is empty")),
        secret if secret.contains('\n') => Err(wrong("has several lines; it should hold the secret and nothing else")),
        secret => Ok(secret.to_owned()),
    }
}

fn plain(name: &str) -> Result<Option<String>, Failure> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let text = value.into_string().map_err(|_| Failure::Usage(format!("{name} is not text in UTF-8")))?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}
