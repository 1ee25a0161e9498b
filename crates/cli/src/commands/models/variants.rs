//! The forms in which a model's weights are published: how large, under which terms, and which of them this machine runs.

use std::fmt::Write;

use scumble_api::published::{Form, Licence, Published, Variant, gigabytes};
use scumble_worker::{has_room, total_memory};
use serde_json::{Value, json};

/// A line for each repository and each form.
pub(super) fn list(model: &Published) -> String {
    let mut text = String::from("Weights:\n");
    for repository in model.repositories {
        let gated = if repository.gated { ", to be accepted at its page" } else { "" };
        let _ = writeln!(text, "  {}: {}{gated}", repository.id, terms(repository.licence));
    }
    text += "Forms (--variant):\n";
    for variant in model.variants {
        let from = match variant.form {
            Form::Folder { .. } => String::new(),
            Form::File { repository, file, .. } => format!(" ({repository}, {file})"),
        };
        let _ = writeln!(text, "  {:6} {:>8}  {}{from}", variant.name, variant.size(), fits(variant));
    }
    let _ = writeln!(text, "`scumble models pull {}` fetches {}.", model.pulled_as(), model.variants[0].name);
    text
}

/// A licence and its limit.
pub(super) fn terms(licence: Licence) -> String {
    let Licence { name, limit } = licence;
    limit.map_or_else(|| name.to_owned(), |limit| format!("{name} ({limit})"))
}

fn fits(variant: &Variant) -> String {
    match total_memory() {
        Some(memory) if has_room(variant.bytes, Some(memory)) => "fits this machine".to_owned(),
        Some(memory) => format!("does not fit this machine's memory of {}", gigabytes(memory)),
        None => "how much memory this machine has is not known".to_owned(),
    }
}

/// The same for programs.
pub(super) fn json(model: &Published) -> Value {
    let repository = |repository: &scumble_api::published::Repository| {
        json!({
            "id": repository.id,
            "licence": repository.licence.name,
            "limit": repository.licence.limit,
            "gated": repository.gated,
        })
    };
    let variant = |variant: &Variant| {
        json!({
            "name": variant.name,
            "bytes": variant.bytes,
            "fits": has_room(variant.bytes, total_memory()),
        })
    };
    json!({
        "name": model.name,
        "endpoints": model.endpoints,
        "repositories": model.repositories.iter().map(repository).collect::<Vec<_>>(),
        "variants": model.variants.iter().map(variant).collect::<Vec<_>>(),
    })
}
