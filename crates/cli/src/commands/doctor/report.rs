//! How what was found in the data is told: lines as `doctor` has them and two tables, or JSON.

use std::fmt::Write;

use scumble_api::published::gigabytes;
use serde_json::{Value, json};

use super::data::{AGES, ENDS, Lot, Report};
use crate::text;

/// For people.
pub(super) fn text(report: &Report) -> String {
    let mut lines = String::new();
    let mut say =
        |word: &str, what: &str, said: String| _ = writeln!(lines, "{word:5}  {what:9}  {}", text::line(&said));
    database(report, &mut say);
    files(report, &mut say);
    lines + &ages(report) + &ends(report) + &names(report)
}

fn database(report: &Report, say: &mut dyn FnMut(&str, &str, String)) {
    let Report { database, database_bytes, free_bytes, log_bytes, problems, .. } = report;
    let sizes = format!(
        "{}, {}, of which {} can be used again; its log has {}",
        database.display(),
        gigabytes(*database_bytes),
        gigabytes(*free_bytes),
        gigabytes(*log_bytes)
    );
    match problems.as_slice() {
        [] => say("ok", "database", format!("{sizes}; it is intact")),
        problems => {
            say(
                "FAILS",
                "database",
                format!("{sizes}; it is damaged: restore a backup, or ask `sqlite3` for .recover"),
            );
            problems.iter().for_each(|problem| say("", "", problem.clone()));
        }
    }
}

fn files(report: &Report, say: &mut dyn FnMut(&str, &str, String)) {
    let Report { rows, files, fresh, .. } = report;
    let files = match files {
        Ok(files) => files,
        Err(place) => {
            let known = format!("the database knows {} files, {}", rows.number, gigabytes(rows.bytes));
            return say(
                "-",
                "files",
                format!("not checked: they are in {place}, not in a folder of this machine; {known}"),
            );
        }
    };
    let folder = files.folder.display();
    say("ok", "files", format!("{folder} has {} with a row of their own", some(&files.whole)));
    if fresh.files > 0 {
        let bytes = gigabytes(fresh.bytes.max(0).unsigned_abs());
        say(
            "ok",
            "fresh",
            format!("{} files ({bytes}) are in the database and on their way into the folder", fresh.files),
        );
    }
    if files.under_way.number + files.spool.number + files.young.number > 0 {
        let (under_way, spool, young) = (some(&files.under_way), some(&files.spool), some(&files.young));
        say(
            "ok",
            "under way",
            format!("parts of uploads: {under_way}; the spool: {spool}; too young to judge: {young}"),
        );
    }
    if files.missing.number > 0 {
        let advice = "their requests are answered, and their URLs are not; restore a backup to get them back";
        say("FAILS", "missing", format!("{} have a row and are not in the folder: {advice}", some(&files.missing)));
    }
    if files.damaged.number > 0 {
        let advice = "something else than this program has changed them";
        say("FAILS", "damaged", format!("{} have another size than their row says: {advice}", some(&files.damaged)));
    }
    if files.orphans.number > 0 {
        let advice = "nobody can read them. A restored database leaves such, or a crash; they may be deleted";
        say("note", "orphans", format!("{} have no row: {advice}", some(&files.orphans)));
    }
    if files.strays.number > 0 {
        say("note", "strays", format!("{} in the folder are not of this program", some(&files.strays)));
    }
}

fn some(lot: &Lot) -> String {
    format!("{} files ({})", lot.number, gigabytes(lot.bytes))
}

fn ages(report: &Report) -> String {
    let mut table = format!("\n{:16} {:>9} {:>10} {:>9} {:>10}\n", "AGE", "REQUESTS", "THEIR ROWS", "FILES", "BYTES");
    let names = AGES.iter().map(|(_, name)| *name).chain(["older"]);
    for (name, age) in names.zip(&report.ages) {
        let (rows, bytes) = (gigabytes(age.job_bytes), gigabytes(age.file_bytes));
        let _ = writeln!(table, "{name:16} {:>9} {rows:>10} {:>9} {bytes:>10}", age.jobs, age.files);
    }
    table
}

fn ends(report: &Report) -> String {
    let mut table = format!("\n{:16} {:>9} {:>10} {:>9} {:>10}\n", "GOES", "REQUESTS", "", "FILES", "BYTES");
    for (name, end) in end_names().zip(&report.ends) {
        let bytes = gigabytes(end.file_bytes);
        let _ = writeln!(table, "{name:16} {:>9} {:>10} {:>9} {bytes:>10}", end.jobs, "", end.files);
    }
    table
}

fn end_names() -> impl Iterator<Item = &'static str> {
    ENDS.iter().map(|(_, name)| *name).chain(["later", "stays"])
}

/// The names of what is not as it should be.
fn names(report: &Report) -> String {
    let mut lines = String::new();
    let Ok(files) = &report.files else { return lines };
    let lots = [
        ("Missing", &files.missing),
        ("Damaged", &files.damaged),
        ("Orphans", &files.orphans),
        ("Strays", &files.strays),
    ];
    for (what, lot) in lots.into_iter().filter(|(_, lot)| lot.number > 0) {
        let _ = writeln!(lines, "\n{what}:");
        lot.named.iter().for_each(|name| _ = writeln!(lines, "  {}", text::line(name)));
        if lot.number > lot.named.len() as u64 {
            let _ = writeln!(lines, "  and {} more", lot.number - lot.named.len() as u64);
        }
    }
    lines
}

/// For programs.
pub(super) fn json(report: &Report) -> Value {
    let Report { database, database_bytes, free_bytes, log_bytes, problems, rows, files, fresh, ages, ends } = report;
    let files = files.as_ref().map_or_else(
        |place| json!({ "place": place, "checked": false }),
        |files| {
            json!({
                "place": files.folder.display().to_string(), "checked": true, "whole": sums(&files.whole),
                "missing": lot(&files.missing), "damaged": lot(&files.damaged), "orphans": lot(&files.orphans),
                "strays": lot(&files.strays), "young": sums(&files.young), "under_way": sums(&files.under_way),
                "spool": sums(&files.spool),
            })
        },
    );
    let ages = AGES.iter().map(|(days, _)| Some(*days)).chain([None]).zip(ages).map(|(days, age)| {
        json!({
            "younger_than_days": days, "requests": age.jobs, "row_bytes": age.job_bytes, "files": age.files,
            "file_bytes": age.file_bytes,
        })
    });
    let ends = end_names().zip(ends).map(
        |(name, end)| json!({ "when": name, "requests": end.jobs, "files": end.files, "file_bytes": end.file_bytes }),
    );
    json!({
        "database": {
            "path": database.display().to_string(), "bytes": database_bytes, "free_bytes": free_bytes,
            "log_bytes": log_bytes, "intact": problems.is_empty(), "problems": problems, "file_rows": sums(rows),
            "fresh_files": { "number": fresh.files, "bytes": fresh.bytes },
        },
        "files": files,
        "ages": ages.collect::<Vec<_>>(),
        "goes": ends.collect::<Vec<_>>(),
    })
}

fn sums(lot: &Lot) -> Value {
    json!({ "number": lot.number, "bytes": lot.bytes })
}

fn lot(lot: &Lot) -> Value {
    json!({ "number": lot.number, "bytes": lot.bytes, "some": lot.named })
}
