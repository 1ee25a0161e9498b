//! `scumble doctor`: would `serve` work like this, and if not, what to do.

mod data;
mod report;

use std::fmt::Write;

use serde_json::{Value, json};

use crate::args::Doctor;
use crate::checks::{self, Details, Finding, Purpose};
use crate::failure::Failure;
use crate::out;
use crate::private;
use crate::settings::{Settings, runtime};
use crate::text;

/// Checks everything that `serve` with the same flags needs; one line each. Or looks through the data.
pub(crate) fn doctor(args: &Doctor) -> Result<(), Failure> {
    if args.data {
        return data::data(args);
    }
    let settings = Settings::look(&args.serve)?;
    private::begin(&settings);
    runtime()?.block_on(async {
        let mut examined = checks::examine(&settings, Purpose::Look).await;
        if let Some(folder) = args.serve.record.as_deref().filter(|folder| !folder.is_dir()) {
            examined
                .findings
                .push(("records", checks::absent::folder("the folder of the records", folder, "--record")));
        }
        let shown = match args.json {
            true => out::pretty(&objects(&examined.findings, &examined.details)),
            false => out::result(&(table(&examined.findings) + &lists(&examined.details))),
        };
        let (checks, failures) = (examined.findings.len(), examined.failures());
        examined.close().await;
        shown?;
        verdict(failures, checks)
    })
}

/// Ends as `serve` would.
fn verdict(failures: Vec<Failure>, checks: usize) -> Result<(), Failure> {
    let sentence = format!("{} of {checks} checks failed", failures.len());
    Failure::of(failures).map_or(Ok(()), |failure| Err(failure.in_short(sentence)))
}

/// All that is wrong with each thing that has more wrong than a line holds.
fn lists(details: &[Details]) -> String {
    let mut lines = String::new();
    for Details { of, lines: wrong } in details {
        let _ = writeln!(lines, "\nWrong with the weights of {of}, {} in all:", wrong.len());
        for one in wrong {
            let _ = writeln!(lines, "  {}", text::line(one));
        }
    }
    lines
}

/// For programs: the lines as objects, with all that is wrong with weights beside them.
fn objects(findings: &[(&'static str, Finding)], details: &[Details]) -> Value {
    let checks = findings.iter().map(|(what, finding)| {
        let (word, said) = told(finding);
        let word = word.to_lowercase();
        json!({ "check": what, "found": if word == "-" { "skipped" } else { word.as_str() }, "says": said })
    });
    let details = details.iter().map(|Details { of, lines }| json!({ "of": of, "wrong": lines }));
    json!({ "checks": checks.collect::<Vec<_>>(), "details": details.collect::<Vec<_>>() })
}

fn table(findings: &[(&'static str, Finding)]) -> String {
    let mut lines = String::new();
    for (what, finding) in findings {
        let (word, said) = told(finding);
        let _ = writeln!(lines, "{word:5}  {what:9}  {}", text::line(&said));
    }
    lines
}

fn told(finding: &Finding) -> (&'static str, String) {
    match finding {
        Finding::Well(fact) => ("ok", fact.clone()),
        Finding::Odd(fact) => ("note", fact.clone()),
        Finding::Skipped(why) => ("-", format!("not checked: {why}")),
        Finding::Fails(failure) => ("FAILS", failure.message()),
    }
}
