//! `scumble doctor --data`: whether the database is intact, whether rows and files belong together, how old things are and
//! when they go.
//!
//! Nothing is changed and nobody has to wait: the server may run. What it does meanwhile is not taken for damage: a file comes
//! before its row and goes before it, so a file without a row counts once it is old, and a row without a file once it is
//! still there when all has been looked at. Counts and a few names are kept, however much there is.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use scumble_files::{FilePath, Found, FoundKind, walk};
use scumble_store::{Age, Clock, End, FreshSize, KnownFile, Survey, SystemClock};

use super::report;
use crate::args::Doctor;
use crate::failure::Failure;
use crate::out;
use crate::settings::{Database, Settings, folder_of};

/// Rows that are read at once.
const ROWS: u32 = 1000;

/// So many are named of each kind; the others are counted.
pub(super) const NAMED: usize = 20;

/// So many rows without a file are looked at once more in the end.
const DOUBTED: usize = 10_000;

/// A younger file may still get its row.
const YOUNG: Duration = Duration::from_secs(3600);

const DAY_MS: i64 = 86_400_000;

/// Younger than so many days, with the name of that age.
pub(super) const AGES: [(i64, &str); 4] =
    [(1, "last day"), (7, "last 7 days"), (30, "last 30 days"), (90, "last 90 days")];

/// Within so many days, with the name of that time.
pub(super) const ENDS: [(i64, &str); 4] =
    [(0, "now"), (1, "within a day"), (7, "within 7 days"), (30, "within 30 days")];

/// All that was found.
pub(super) struct Report {
    pub(super) database: PathBuf,
    /// Its size, what of that is free, and the size of its log.
    pub(super) database_bytes: u64,
    pub(super) free_bytes: u64,
    pub(super) log_bytes: u64,
    pub(super) problems: Vec<String>,
    pub(super) rows: Lot,
    /// What was found in the folder of the files; where they are not in one, where they are.
    pub(super) files: Result<Files, String>,
    pub(super) fresh: FreshSize,
    /// In the order of [`AGES`], and what is older.
    pub(super) ages: Vec<Age>,
    /// In the order of [`ENDS`], what goes later and what stays.
    pub(super) ends: Vec<End>,
}

/// What was found in a folder.
#[derive(Default)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
    pub(super) whole: Lot,
    /// Rows whose file is not there, or has another size.
    pub(super) missing: Lot,
    pub(super) damaged: Lot,
    /// Files without a row.
    pub(super) orphans: Lot,
    /// Such as are young enough to get one.
    pub(super) young: Lot,
    pub(super) under_way: Lot,
    pub(super) spool: Lot,
    /// Things that are not of this program.
    pub(super) strays: Lot,
}

/// A number of things, and some of their names.
#[derive(Default)]
pub(super) struct Lot {
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) named: Vec<String>,
}

impl Lot {
    fn count(&mut self, bytes: u64) {
        (self.number, self.bytes) = (self.number + 1, self.bytes.saturating_add(bytes));
    }

    fn name(&mut self, bytes: u64, name: &dyn std::fmt::Display) {
        self.count(bytes);
        if self.named.len() < NAMED {
            self.named.push(name.to_string());
        }
    }
}

/// Looks at everything and tells it. Fails where something is lost or damaged.
pub(super) fn data(args: &Doctor) -> Result<(), Failure> {
    let settings = Settings::look(&args.serve)?;
    let report = examine(&settings)?;
    if args.json {
        out::pretty(&report::json(&report))?;
    } else {
        out::result(&report::text(&report))?;
    }
    let Report { problems, files, .. } = &report;
    let lost = files.as_ref().map_or(0, |files| files.missing.number + files.damaged.number);
    if problems.is_empty() && lost == 0 {
        return Ok(());
    }
    let database = if problems.is_empty() { "intact" } else { "damaged" };
    Err(Failure::System(format!(
        "the database is {database}, and {lost} files are missing or damaged; `scumble restore` brings back a backup"
    )))
}

fn examine(settings: &Settings) -> Result<Report, Failure> {
    let path = match &settings.database {
        Database::Sqlite(path) => path,
        Database::Postgres(_) => {
            return Err(Failure::Usage(format!(
                "{} is a PostgreSQL database, which is looked through with its own tools, such as `pg_amcheck`; --data looks \
                 at a database in a file",
                settings.database
            )));
        }
    };
    let survey = Survey::open(path).map_err(|error| match error {
        scumble_store::Error::Absent => {
            let advice = "`scumble serve` makes it. Name another place with --data-dir DIR or --database URL";
            Failure::System(format!("there is no database {}; {advice}", settings.database))
        }
        other => other.into(),
    })?;
    let now_ms = SystemClock.now_ms();
    let problems = survey.problems(u32::try_from(NAMED).unwrap_or(u32::MAX))?;
    let (number, bytes) = survey.all_files()?;
    let files = match folder_of(&settings.files) {
        Some(folder) => Ok(compare(&survey, &folder, now_ms)?),
        None => Err(settings.files.clone()),
    };
    let (database_bytes, free_bytes) = survey.size()?;
    let log = std::fs::metadata(format!("{}-wal", path.display())).map_or(0, |about| about.len());
    Ok(Report {
        database: path.clone(),
        database_bytes,
        free_bytes,
        log_bytes: log,
        problems,
        rows: Lot { number, bytes, named: Vec::new() },
        files,
        fresh: survey.fresh_size()?,
        ages: survey.ages(&AGES.map(|(days, _)| now_ms - days * DAY_MS))?,
        ends: survey.ends(
            &ENDS.map(|(days, _)| now_ms + days * DAY_MS),
            settings.worker.retention,
            settings.worker.keeps_older,
        )?,
    })
}

/// Holds rows against files, then files against rows.
fn compare(survey: &Survey, folder: &Path, now_ms: i64) -> Result<Files, Failure> {
    let mut files = Files { folder: folder.to_owned(), ..Files::default() };
    let mut doubted = Vec::new();
    let mut after = String::new();
    loop {
        let page = survey.files(&after, ROWS)?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.path);
        for known in page {
            files.look_at(known, now_ms, &mut doubted);
        }
    }
    files.look_around(survey)?;
    for known in doubted {
        if survey.knows(&known.path)? && files.of(&known).is_none() {
            files.missing.name(known.bytes, &known.path);
        }
    }
    Ok(files)
}

impl Files {
    /// The file of a row.
    fn look_at(&mut self, known: KnownFile, now_ms: i64, doubted: &mut Vec<KnownFile>) {
        match self.of(&known) {
            Some(bytes) if bytes == known.bytes => self.whole.count(bytes),
            Some(bytes) => {
                self.damaged.name(bytes, &format!("{} ({bytes} bytes, should be {})", known.path, known.bytes));
            }
            None if known.is_fresh || known.expires_ms.is_some_and(|end| end <= now_ms) => {}
            None if doubted.len() < DOUBTED => doubted.push(known),
            None => self.missing.name(known.bytes, &known.path),
        }
    }

    /// The size of a row's file, where it is there.
    fn of(&self, known: &KnownFile) -> Option<u64> {
        let path: FilePath = known.path.parse().ok()?;
        let about = self.folder.join(path.as_str()).symlink_metadata().ok()?;
        about.is_file().then_some(about.len())
    }

    /// What is in the folder.
    fn look_around(&mut self, survey: &Survey) -> Result<(), Failure> {
        let folder = self.folder.clone();
        let old = SystemTime::now().checked_sub(YOUNG);
        let is_young = |found: &Found| found.written.zip(old).is_none_or(|(written, old)| written > old);
        walk::<Looked>(&folder, &mut |found| {
            match &found.kind {
                FoundKind::File(path) if survey.knows(path.as_str())? => {}
                FoundKind::File(_) if is_young(&found) => self.young.count(found.bytes),
                FoundKind::File(path) => self.orphans.name(found.bytes, path),
                FoundKind::UnderWay => self.under_way.count(found.bytes),
                FoundKind::Spool => self.spool.count(found.bytes),
                FoundKind::Stray(path) => self.strays.name(found.bytes, &path.display()),
            }
            Ok(())
        })
        .map_err(|error| match error {
            Looked::Disk(error) => Failure::about("look into", &folder, error),
            Looked::Store(error) => error.into(),
        })
    }
}

/// Why looking around ended.
enum Looked {
    Disk(std::io::Error),
    Store(scumble_store::Error),
}

impl From<std::io::Error> for Looked {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<scumble_store::Error> for Looked {
    fn from(error: scumble_store::Error) -> Self {
        Self::Store(error)
    }
}
