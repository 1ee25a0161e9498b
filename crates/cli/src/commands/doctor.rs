//! `scumble doctor`: would `serve` work like this, and if not, what to do.

use std::fmt::Write;

use crate::args::Serve;
use crate::checks::{self, Details, Finding, Purpose};
use crate::failure::Failure;
use crate::out;
use crate::private;
use crate::settings::{Settings, runtime};
use crate::text;

/// Checks everything that `serve` with the same flags needs; one line each.
pub(crate) fn doctor(args: &Serve) -> Result<(), Failure> {
    let settings = Settings::look(args)?;
    private::begin(&settings);
    runtime()?.block_on(async {
        let mut examined = checks::examine(&settings, Purpose::Look).await;
        if let Some(folder) = args.record.as_deref().filter(|folder| !folder.is_dir()) {
            examined
                .findings
                .push(("records", checks::absent::folder("the folder of the records", folder, "--record")));
        }
        let shown = out::result(&(table(&examined.findings) + &lists(&examined.details)));
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

fn table(findings: &[(&'static str, Finding)]) -> String {
    let mut lines = String::new();
    for (what, finding) in findings {
        let (word, said) = match finding {
            Finding::Well(fact) => ("ok", fact.clone()),
            Finding::Odd(fact) => ("note", fact.clone()),
            Finding::Skipped(why) => ("-", format!("not checked: {why}")),
            Finding::Fails(failure) => ("FAILS", failure.message()),
        };
        let _ = writeln!(lines, "{word:5}  {what:9}  {}", text::line(&said));
    }
    lines
}
