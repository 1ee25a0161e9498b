//! Text for terminals.

use std::fmt::Write;

use crate::answers::Standing;
use crate::endpoint::Endpoint;
use crate::endpoints::ENDPOINTS;
use crate::field::{Field, Kind};
use crate::image_size::PRESETS;

/// Every endpoint, a line each: id, what it is called, what it does, and how it stands in this installation.
pub fn terminal_list(standing: &dyn Fn(&Endpoint) -> Standing) -> String {
    let row = |e: &Endpoint| [e.id, e.title, e.category(), standing(e).label].map(str::to_owned);
    aligned(&ENDPOINTS.iter().map(row).collect::<Vec<_>>())
}

/// What an endpoint is and takes, and how it stands in this installation.
pub fn terminal_page(endpoint: &Endpoint, standing: &Standing) -> String {
    let (Endpoint { id, title, description, .. }, Standing { label, text, .. }) = (endpoint, standing);
    format!("{id}: {title}\n{description}\n\n{label}. {text}\n\n{}", terminal_fields(endpoint))
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
    let mut text = aligned(&rows);
    for field in fields {
        let Some(words) = words(&field.kind) else { continue };
        let _ = write!(text, "\n{} is one of:", field.name);
        // a list of words is easier to read in lines of a terminal's width
        let mut lines = vec![String::from("   ")];
        for word in words {
            if lines.last().is_some_and(|line| line.len() + word.len() > 100) {
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
            Some(presets.chain([r#"{"width": W, "height": H}"#.to_owned()]).collect())
        }
        _ => None,
    }
}

/// Columns under each other, two spaces between them, the last one free.
fn aligned(rows: &[[String; 4]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [a, b, c, d] in rows {
        let line = format!("  {a:0$}  {b:1$}  {c:2$}  {d}", widths[0], widths[1], widths[2]);
        text += line.trim_end();
        text.push('\n');
    }
    text
}
