//! What is printed: results on stdout, words about them on stderr. Nothing here panics when nobody reads it, and nothing
//! that came from elsewhere reaches a terminal as it is (`text`).

use std::io::{ErrorKind, IsTerminal, Write};

use serde_json::Value;

use crate::failure::Failure;
use crate::{log, text};

/// Lines of a result.
pub(crate) fn result(lines: &str) -> Result<(), Failure> {
    let mut all = text::lines(lines).into_owned();
    if !all.is_empty() && !all.ends_with('\n') {
        all.push('\n');
    }
    bytes(all.as_bytes())
}

/// A result for programs, in one line.
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    json_text(&value.to_string())
}

/// The same for people too, in several lines.
pub(crate) fn pretty(value: &Value) -> Result<(), Failure> {
    json_text(&format!("{value:#}"))
}

fn json_text(json: &str) -> Result<(), Failure> {
    bytes(format!("{}\n", text::json(json)).as_bytes())
}

/// A result as it is, such as a picture.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::System(format!("cannot write to stdout: {error}")),
    })
}

/// A line for people, on stderr. If nobody reads it, that is theirs to decide.
pub(crate) fn say(words: &str) {
    tell("INFO", "", words);
}

/// Something that the owner should know although all goes on.
pub(crate) fn warn(words: &str) {
    tell("WARN", "warning: ", words);
}

/// Why a command ends.
pub(crate) fn error(words: &str) {
    tell("ERROR", "error: ", words);
}

fn tell(level: &str, begin: &str, words: &str) {
    if log::is_json() {
        return log::line(level, words);
    }
    let _ = writeln!(std::io::stderr().lock(), "{begin}{}", text::lines(words));
}

/// A line as it is. If nobody reads it, that is theirs to decide.
pub(crate) fn raw_line(line: &str) {
    // in one piece, so that lines of several threads stay apart
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Whether stderr is to have colours: as on all systems, a terminal that nobody says otherwise of.
pub(crate) fn colours() -> bool {
    let says = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && (says("CLICOLOR_FORCE") || is_terminal())
}

/// Whether people look at stderr on something that can move its cursor.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Where `serve` logs: stderr, with whatever would turn or hide text escaped. Colours stay, since they are the log's own:
/// control characters of others are escaped where a line is made. Nobody has to read it.
#[derive(Clone, Copy)]
pub(crate) struct Log;

impl Write for Log {
    /// A line comes in one piece.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let shown = String::from_utf8_lossy(line);
        let wild = |c: char| text::is_hidden(c) && !matches!(c, '\n' | '\t' | '\x1b');
        let mut tame = String::with_capacity(shown.len());
        for c in shown.chars() {
            if wild(c) { tame.extend(c.escape_unicode()) } else { tame.push(c) }
        }
        let _ = std::io::stderr().lock().write_all(tame.as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
