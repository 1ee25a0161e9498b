//! The names of metrics: one list, which the documents, the dashboard and the alerts keep to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use scumble_meters::{EndpointLabel, Kind, Meters, Stage};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap().to_owned()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The label names of every series by its name.
fn series() -> BTreeMap<String, Vec<&'static str>> {
    let meters = Meters::new();
    let all = meters.declared().iter().flat_map(|one| one.series().into_iter().map(|name| (name, one.labels.clone())));
    all.collect()
}

/// Every metric of ours in a text, with the labels in the braces behind it.
fn used(text: &str) -> BTreeSet<(String, Vec<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("scumble_") {
        let text = &text[at..];
        let (name, rest) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let labels = inside.split(',').filter_map(|pair| pair.split(['=', '!']).next());
        let labels = labels.map(str::trim).filter(|label| !label.is_empty());
        found.insert((name.to_owned(), labels.map(str::to_owned).collect()));
    }
    found
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if ["expr", "query"].contains(&name.as_str()) => found.push(text.clone()),
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// Every query of the dashboard.
fn dashboard() -> String {
    let json: Value = serde_json::from_str(&read("deploy/grafana/scumble.json")).unwrap();
    let mut found = Vec::new();
    expressions(&json, &mut found);
    assert!(found.len() > 30, "{found:?}");
    found.join("\n")
}

/// Every line of the alerts that is not a remark.
fn alerts() -> String {
    let text = read("deploy/prometheus/alerts.yml");
    text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n")
}

#[test]
fn dashboard_and_alerts_read_what_there_is() {
    let known = series();
    // what Prometheus adds to every series, and to buckets
    let added = ["instance", "job", "le"];
    for (file, text) in [("the dashboard", dashboard()), ("the alerts", alerts())] {
        let used = used(&text);
        assert!(used.len() > 10, "{file} reads {used:?}");
        for (name, labels) in used {
            let own = known.get(&name).unwrap_or_else(|| panic!("{file} reads {name}, which is not counted"));
            for label in labels {
                let is_known = own.contains(&label.as_str()) || added.contains(&label.as_str());
                assert!(is_known, "{file} asks {name} for {label}; it has {own:?}");
            }
        }
    }
}

/// What is counted and never shown is not worth counting.
#[test]
fn the_dashboard_shows_every_metric() {
    let shown: BTreeSet<String> = used(&dashboard()).into_iter().map(|(name, _)| name).collect();
    for one in Meters::new().declared() {
        assert!(one.series().iter().any(|name| shown.contains(name)), "{} is not on the dashboard", one.name);
    }
}

#[test]
fn names_are_as_prometheus_wants_them() {
    for one in Meters::new().declared() {
        let is_plain = one.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(is_plain && one.name.starts_with("scumble_"), "{}", one.name);
        assert_eq!(one.kind == Kind::Counter, one.name.ends_with("_total"), "{}", one.name);
        if one.kind == Kind::Histogram {
            assert!(one.name.ends_with("_seconds"), "{}", one.name);
        }
        assert!(one.help.len() > 10 && one.help.ends_with('.'), "{}: {:?}", one.name, one.help);
    }
}

/// The table of docs/MONITORING.md; `UPDATE_EXPECT=1` writes it.
#[test]
fn the_document_lists_every_metric() {
    const BEGIN: &str = "<!-- metrics -->\n";
    const END: &str = "<!-- /metrics -->";
    let mut table = String::from("| metric | kind | labels | what it tells |\n|---|---|---|---|\n");
    for one in Meters::new().declared() {
        let kind = format!("{:?}", one.kind).to_lowercase();
        let labels = one.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(table, "| `{}` | {kind} | {labels} | {} |", one.name, one.help).unwrap();
    }
    let text = read("docs/MONITORING.md");
    let (before, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(root().join("docs/MONITORING.md"), &wanted).unwrap();
    }
    assert_eq!(read("docs/MONITORING.md"), wanted, "UPDATE_EXPECT=1 writes the table anew");
}

/// Every line is one that Prometheus's text format has, and every sample belongs to a metric with a type.
#[test]
fn the_text_is_well_formed_from_the_first_moment() {
    let meters = Meters::new();
    meters.jobs.stage.of(EndpointLabel::of("a/b"), Stage::Load).observe(0.5);
    let text = meters.render();
    let known = series();
    let mut typed = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(typed.insert(rest.split(' ').next().unwrap().to_owned()), "twice: {line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(known.contains_key(name), "{line}");
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    assert!(text.contains("scumble_jobs_accepted_total{endpoint=\"scumble/starter\"} 0"), "{text}");
    assert!(text.contains("scumble_job_stage_seconds_sum{endpoint=\"other\",stage=\"load\"} 0.5"), "{text}");
}
