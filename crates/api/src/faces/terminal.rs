//! Text for terminals.

use std::fmt::Write;

use crate::answers::Standing;
use crate::endpoint::Endpoint;
use crate::endpoints::ENDPOINTS;
use crate::field::{Field, Kind};
use crate::image_size::PRESETS;

/// The width of a line for people. Terminals are often wider, but lines that are longer are harder to read.
const WIDTH: usize = 100;
/// In front of a help that stands below its field.
const BELOW: &str = "      ";

/// Every endpoint, a line each: id, what it is called, what it does, and how it stands in this installation, with what it
/// lacks.
pub fn terminal_list(standing: &dyn Fn(&Endpoint) -> Standing) -> String {
    let row = |e: &Endpoint| [e.id.to_owned(), e.title.to_owned(), e.category().to_owned(), short(e, &standing(e))];
    let rows: Vec<[String; 4]> = ENDPOINTS.iter().map(row).collect();
    let left = columns(&rows);
    left.iter().zip(&rows).map(|(left, [.., standing])| format!("{left}{standing}\n")).collect()
}

/// How an endpoint stands, in a few words.
fn short(endpoint: &Endpoint, standing: &Standing) -> String {
    let need = match (standing.word, endpoint.family.maker()) {
        ("needs-key", Some(maker)) => maker.key_variable().to_owned(),
        ("needs-weights", _) => pull_command(endpoint, &standing.text),
        _ => return standing.label.to_owned(),
    };
    format!("{}: {need}", standing.label)
}

/// The command that fetches what an endpoint needs: the one that its advice names, where weights were named that are not here.
fn pull_command(endpoint: &Endpoint, advice: &str) -> String {
    let named = advice.split('`').skip(1).step_by(2).find(|quoted| quoted.starts_with("scumble models pull "));
    let usual = || endpoint.pull_command().unwrap_or_else(|| "a folder or file of weights".to_owned());
    named.map_or_else(usual, str::to_owned)
}

/// What an endpoint is and takes, and how it stands in this installation.
pub fn terminal_page(endpoint: &Endpoint, standing: &Standing) -> String {
    let (Endpoint { id, title, description, .. }, Standing { label, text, .. }) = (endpoint, standing);
    let (description, stands) = (wrapped(description, WIDTH, ""), wrapped(&format!("{label}. {text}"), WIDTH, ""));
    format!("{id}: {title}\n{description}\n\n{stands}\n\n{}", terminal_fields(endpoint))
}

/// The fields of an endpoint's input, a paragraph each, then those of the objects in it.
pub fn terminal_fields(endpoint: &Endpoint) -> String {
    let mut text = String::from("Fields (-i NAME=VALUE):\n");
    text += &fields(endpoint.fields());
    for shape in endpoint.shapes() {
        let _ = write!(text, "\n{}:\n{}", shape.name, fields(shape.fields));
    }
    text
}

fn fields(fields: &[Field]) -> String {
    let rows: Vec<[String; 4]> =
        fields.iter().map(|f| [f.name.to_owned(), f.kind.type_name(), filling(f), f.help.to_owned()]).collect();
    let mut text = described(&rows);
    for field in fields {
        let Some(words) = words(&field.kind) else { continue };
        let _ = write!(text, "\n{} is one of:", field.name);
        // a list of words is easier to read in lines of a terminal's width
        let mut lines = vec![String::from("   ")];
        for word in words {
            if lines.last().is_some_and(|line| line.len() + word.len() + 1 > WIDTH) {
                lines.push(String::from("   "));
            }
            if let Some(line) = lines.last_mut() {
                let _ = write!(line, " {word} ");
            }
        }
        for line in lines {
            let _ = write!(text, "\n{}", line.trim_end());
        }
        text.push('\n');
    }
    text
}

/// `required`, or the default, and the limits.
fn filling(field: &Field) -> String {
    let default = match field.default() {
        None if field.is_required() => "required".to_owned(),
        None => "optional".to_owned(),
        Some(default) => brief(&default.to_string()),
    };
    match field.kind {
        Kind::Integer { min, max } => format!("{default}  ({min} to {max})"),
        Kind::Number { min, max } if min.is_finite() => format!("{default}  ({min} to {max})"),
        Kind::List { max, .. } => format!("{default}  (up to {max})"),
        _ => default,
    }
}

/// A size in pixels, as the command line takes it.
const PIXELS: &str = r#"WxH, or {"width": W, "height": H}, of which a side that is left out is 512"#;

fn brief(text: &str) -> String {
    const LENGTH: usize = 32;
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn words(kind: &Kind) -> Option<Vec<String>> {
    match kind {
        Kind::Choice(words) => Some(words.iter().map(|w| (*w).to_owned()).collect()),
        Kind::ImageSize { .. } => {
            let presets = PRESETS.iter().map(|(name, width, height)| format!("{name} ({width}x{height})"));
            Some(presets.chain([PIXELS.to_owned()]).collect())
        }
        _ => None,
    }
}

/// The first three columns under each other, two spaces behind each.
fn columns(rows: &[[String; 4]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    rows.iter().map(|[a, b, c, _]| format!("  {a:0$}  {b:1$}  {c:2$}  ", widths[0], widths[1], widths[2])).collect()
}

/// Columns whose last one is a text: beside the others where all of them fit into a line, else below.
fn described(rows: &[[String; 4]]) -> String {
    let left = columns(rows);
    let fits = |(left, [.., last]): (&String, &[String; 4])| left.chars().count() + last.chars().count() <= WIDTH;
    let all_fit = left.iter().zip(rows).all(fits);
    let row = |(left, [.., last]): (&String, &[String; 4])| match all_fit {
        true => format!("{}\n", format!("{left}{last}").trim_end()),
        false => format!("{}\n{BELOW}{}\n", left.trim_end(), wrapped(last, WIDTH - BELOW.len(), BELOW)),
    };
    left.iter().zip(rows).map(row).collect()
}

/// The words of a text; a command between backticks is one, so that it can be copied.
fn words_of(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_open = false;
    for word in text.split_whitespace() {
        match words.last_mut().filter(|_| is_open) {
            Some(command) => *command += &format!(" {word}"),
            None => words.push(word.to_owned()),
        }
        is_open ^= word.matches('`').count() % 2 == 1;
    }
    words
}

/// A text in lines of at most so many characters, words whole; all but the first begin with `indent`.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in words_of(text) {
        let length = lines.last().map_or(0, |line| line.chars().count());
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    lines.join(&format!("\n{indent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_wrapped_between_words_and_lose_none() {
        assert_eq!(wrapped("one two three", 7, "  "), "one two\n  three");
        assert_eq!(wrapped("immeasurable word", 4, ""), "immeasurable\nword");
        assert_eq!(wrapped("", 10, ""), "");
        assert_eq!(wrapped("type `a b c` or `d`, e", 8, ""), "type\n`a b c`\nor `d`,\ne");
        for endpoint in ENDPOINTS {
            let page = terminal_page(endpoint, &Standing::of(endpoint, None));
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let all = words(&page);
            for field in endpoint.fields() {
                let help = words(field.help);
                assert!(all.windows(help.len()).any(|found| found == help), "{}: {}", endpoint.id, field.name);
            }
            for line in page.lines() {
                assert!(line.chars().count() <= WIDTH, "{}: {line}", endpoint.id);
            }
        }
    }
}
