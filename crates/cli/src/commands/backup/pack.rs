//! Writing an archive: a copy of the database, then the files that it names.
//!
//! Everything is made in a folder beside the archive that goes in any case; the archive gets its name when it is whole
//! and on the disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use scumble_files::FilePath;
use scumble_hub::Watch;
use scumble_store::{Clock, KnownFile, Snapshot, Survey, SystemClock};
use tar::{Builder, EntryType, Header};
use tempfile::{TempDir, TempPath};

use super::format::{self, DATABASE, FILES, HEAD, Head, MANIFEST};
use super::room;
use super::stop::Stop;
use super::summed::Summed;
use crate::commands::models::bar::Bar;
use crate::failure::Failure;

/// Rows that are read at once.
const ROWS: u32 = 1000;

/// A file goes before its row, within moments.
const MOMENT: Duration = Duration::from_millis(50);

/// What is to be packed, and where to.
pub(super) struct Packing<'a> {
    pub(super) database: &'a Path,
    /// The folder of the files; none where they are not wanted.
    pub(super) files: Option<&'a Path>,
    pub(super) target: &'a Path,
    pub(super) stop: &'a Stop,
    pub(super) bar: &'a Bar,
}

/// What was packed.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) database_bytes: u64,
    pub(super) archive_bytes: u64,
    /// Files that were deleted while the archive was made.
    pub(super) deleted: u64,
    /// Files with a row that are not there.
    pub(super) missing: u64,
    /// Files that have not the size of their row.
    pub(super) damaged: u64,
}

impl Packing<'_> {
    /// Writes the archive and gives it its name.
    pub(super) fn pack(&self) -> Result<Packed, Failure> {
        let folder = self.folder();
        let made = tempfile::Builder::new().prefix(".scumble-backup-").tempdir_in(folder);
        let made = made.map_err(|error| Failure::about("write into", folder, error))?;
        let copied = made.path().join(DATABASE);
        let now_ms = SystemClock.now_ms();
        let snapshot = self.snapshot(&copied)?;
        let (files, file_bytes) = if self.files.is_some() { snapshot.all_files()? } else { (0, 0) };
        let database_bytes = fs::metadata(&copied).map_err(|e| Failure::about("read", &copied, e))?.len();
        room::check(folder, file_bytes.saturating_add(database_bytes))?;
        let mut archive = Archive::begin(self, &made)?;
        self.bar.begin(file_bytes + database_bytes, 0);
        archive.text(HEAD, &serde_json::json!(Head::new(now_ms, files, file_bytes, database_bytes)).to_string())?;
        let mut packed = Packed::default();
        let mut snapshot = snapshot;
        if let Some(folder) = self.files {
            self.add_files(folder, &mut snapshot, &mut archive, &mut packed)?;
        }
        snapshot.close()?;
        packed.database_bytes = archive.file(DATABASE, &copied)?;
        packed.archive_bytes = archive.finish()?;
        Ok(packed)
    }

    /// Where the archive will be.
    fn folder(&self) -> &Path {
        self.target.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
    }

    fn snapshot(&self, to: &Path) -> Result<Snapshot, Failure> {
        let size = fs::metadata(self.database).map_or(0, |about| about.len());
        room::check(self.folder(), size)?;
        let mut before = 0;
        let taken = Snapshot::take(self.database, to, &mut |done, all| {
            if before == 0 {
                self.bar.begin(all, 0);
            }
            self.bar.come(done.saturating_sub(before));
            before = done;
            !self.stop.is_wanted()
        });
        match taken {
            Ok(Some(snapshot)) => Ok(snapshot),
            Ok(None) => Err(Failure::Interrupted),
            Err(scumble_store::Error::Absent) => Err(Failure::System(format!(
                "there is no database {}, so there is nothing to back up; name the data dir with --data-dir DIR",
                self.database.display()
            ))),
            Err(error) => Err(Failure::System(format!(
                "the database cannot be copied into {}: {error}. Nothing of it was kept",
                self.folder().display()
            ))),
        }
    }

    /// The files, by the page. What is not where it should be is looked at again: its row may have gone meanwhile.
    fn add_files(
        &self,
        folder: &Path,
        snapshot: &mut Snapshot,
        archive: &mut Archive<'_>,
        packed: &mut Packed,
    ) -> Result<(), Failure> {
        if !folder.is_dir() && snapshot.files("", 1)?.iter().any(|known| !known.is_fresh) {
            return Err(Failure::System(format!(
                "the folder of the files, {}, is not there; name it with --files, or back up the database alone with \
                 --without-files",
                folder.display()
            )));
        }
        let live = Survey::open_any(self.database)?;
        let mut after = String::new();
        loop {
            let page = snapshot.files(&after, ROWS)?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(&last.path);
            let mut absent = Vec::new();
            for known in page.into_iter().filter(|known| !known.is_fresh) {
                self.stop.check()?;
                match archive.stored(folder, &known)? {
                    Stored::Packed => (packed.files, packed.bytes) = (packed.files + 1, packed.bytes + known.bytes),
                    Stored::Absent => absent.push(known.path),
                    Stored::Damaged => packed.damaged += 1,
                }
            }
            let deleted = deleted(&live, absent, packed)?;
            snapshot.forget(&deleted)?;
        }
    }
}

/// Those of these files whose rows have gone since; the others are missing.
fn deleted(live: &Survey, absent: Vec<String>, packed: &mut Packed) -> Result<Vec<String>, Failure> {
    if absent.is_empty() {
        return Ok(absent);
    }
    std::thread::sleep(MOMENT);
    let mut deleted = Vec::new();
    for path in absent {
        if live.knows(&path)? { packed.missing += 1 } else { deleted.push(path) }
    }
    packed.deleted += deleted.len() as u64;
    Ok(deleted)
}

/// How it went with a file.
enum Stored {
    Packed,
    Absent,
    Damaged,
}

/// An archive that grows.
struct Archive<'a> {
    packing: &'a Packing<'a>,
    builder: Builder<Sink>,
    manifest: BufWriter<File>,
    manifest_path: PathBuf,
    path: PathBuf,
}

impl<'a> Archive<'a> {
    fn begin(packing: &'a Packing<'a>, made: &TempDir) -> Result<Self, Failure> {
        let (path, manifest_path) = (made.path().join("archive"), made.path().join(MANIFEST));
        let create = |path: &Path| File::create_new(path).map_err(|error| room::failed(path, &error));
        let file = BufWriter::with_capacity(1 << 20, create(&path)?);
        let is_packed = matches!(packing.target.extension().and_then(|end| end.to_str()), Some("gz" | "tgz"));
        let sink = if is_packed { Sink::Packed(GzEncoder::new(file, Compression::fast())) } else { Sink::Plain(file) };
        let manifest = BufWriter::new(create(&manifest_path)?);
        Ok(Self { packing, builder: Builder::new(sink), manifest, manifest_path, path })
    }

    fn text(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        self.entry(name, text.len() as u64, 0, text.as_bytes())
    }

    /// A file of ours, whole.
    fn file(&mut self, name: &str, path: &Path) -> Result<u64, Failure> {
        let cannot = |error| Failure::about("read", path, error);
        let file = File::open(path).map_err(cannot)?;
        let bytes = file.metadata().map_err(cannot)?.len();
        self.entry(name, bytes, 0, file)?;
        Ok(bytes)
    }

    /// A file that the database knows.
    fn stored(&mut self, folder: &Path, known: &KnownFile) -> Result<Stored, Failure> {
        let Ok(path) = known.path.parse::<FilePath>() else { return Ok(Stored::Damaged) };
        let path = folder.join(path.as_str());
        let cannot = |error| Failure::about("read", &path, error);
        // only a plain file is opened: others may not end
        let about = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::Absent),
            about => about.map_err(cannot)?,
        };
        if !about.is_file() || about.len() != known.bytes {
            return Ok(Stored::Damaged);
        }
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::Absent),
            file => file.map_err(cannot)?,
        };
        let written = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let written = written.map_or(0, |time| time.as_secs());
        self.entry(&format!("{FILES}{}", known.path), known.bytes, written, file)?;
        Ok(Stored::Packed)
    }

    /// So many bytes under a name, and a line in the manifest.
    fn entry(&mut self, name: &str, bytes: u64, written: u64, from: impl Read) -> Result<(), Failure> {
        let Packing { target, stop, bar, .. } = self.packing;
        let failed = |error: &io::Error| room::failed(target, error);
        let mut from = Summed::new(from.take(bytes), stop, bar);
        let added = self.builder.append(&header(name, bytes, written).map_err(|e| failed(&e))?, &mut from);
        stop.check()?;
        added.map_err(|error| failed(&error))?;
        let (read, sum) = from.finish();
        if read != bytes {
            return Err(Failure::System(format!("{name} became shorter while it was read; try again")));
        }
        self.manifest.write_all(format::line(&sum, bytes, name).as_bytes()).map_err(|error| failed(&error))
    }

    /// Ends with the manifest, brings all of it to the disk and gives it its name. Returns its size.
    fn finish(mut self) -> Result<u64, Failure> {
        let target = self.packing.target;
        let failed = |error: io::Error| room::failed(target, &error);
        self.manifest.flush().map_err(failed)?;
        let manifest = File::open(&self.manifest_path).map_err(failed)?;
        let bytes = manifest.metadata().map_err(failed)?.len();
        self.builder.append(&header(MANIFEST, bytes, 0).map_err(failed)?, manifest).map_err(failed)?;
        let file = self.builder.into_inner().and_then(Sink::finish).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        self.packing.stop.check()?;
        let archive = TempPath::try_from_path(&self.path).map_err(failed)?;
        archive.persist_noclobber(target).map_err(|error| failed(error.error))?;
        // and its name
        if cfg!(unix) {
            File::open(self.packing.folder()).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(bytes)
    }
}

/// A plain file for its owner only.
fn header(name: &str, bytes: u64, written: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(written);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    Ok(header)
}

/// Where the archive goes.
enum Sink {
    Plain(BufWriter<File>),
    Packed(GzEncoder<BufWriter<File>>),
}

impl Sink {
    fn finish(self) -> io::Result<File> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Packed(packed) => packed.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Packed(packed) => packed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Packed(packed) => packed.flush(),
        }
    }
}
