//! Reading an archive. Whoever made it may have meant harm, and whoever brought it may have lost a part: nothing in it is
//! believed. Only plain files of the names that a backup has are taken, no more and no larger than it says at the
//! beginning, and all of them have to fit the manifest at its end.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::GzDecoder;
use scumble_files::FilePath;
use scumble_hub::Watch;
use tar::{Entry, EntryType};

use super::format::{self, DATABASE, FILES, HEAD, HEAD_BYTES, Head, MANIFEST};
use super::room;
use super::stop::Stop;
use super::summed::Summed;
use crate::commands::models::bar::Bar;
use crate::failure::Failure;
use crate::{private, text};

/// Longer than any line of a manifest.
const LINE_BYTES: u64 = 1024;

/// What is read behind the end: tar fills its last block.
const REST_BYTES: u64 = 1 << 20;

/// What was in an archive.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) head: Head,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) database_bytes: u64,
}

/// Unpacks `archive` into the folder `into`, which is nobody else's. After an error, what is there is of no use.
pub(super) fn unpack(archive: &Path, into: &Path, stop: &Stop, bar: &Bar) -> Result<Unpacked, Failure> {
    let about = |failure: Failure| match failure {
        Failure::System(why) => Failure::System(format!("{}: {why}", archive.display())),
        other => other,
    };
    let (reader, source) = open(archive)?;
    let mut tar = tar::Archive::new(reader);
    let entries = tar.entries().map_err(|error| about(source.blame(&error)))?;
    let mut unpacking = Unpacking::begin(into, source, stop, bar)?;
    // what other programs put between entries to describe them is not read, but found and refused
    for entry in entries.raw(true) {
        stop.check()?;
        let entry = entry.map_err(|error| about(unpacking.source.blame(&error)))?;
        unpacking.take(entry).map_err(about)?;
    }
    // where it is packed its own sum comes last
    let rest = io::copy(&mut tar.into_inner().take(REST_BYTES), &mut io::sink());
    rest.map_err(|error| about(unpacking.source.blame(&error)))?;
    unpacking.finish().map_err(about)
}

/// The bytes of an archive, unpacked where they are packed.
fn open(archive: &Path) -> Result<(Box<dyn Read>, Source), Failure> {
    let cannot = |error| Failure::about("read", archive, error);
    let file = File::open(archive).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(Failure::System(format!("{} is not a file", archive.display())));
    }
    let source = Source::default();
    let mut file = BufReader::with_capacity(1 << 20, Ending { inner: file, source: source.clone() });
    let is_packed = file.fill_buf().map_err(cannot)?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> = if is_packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    Ok((reader, source))
}

/// Whether all of the file was read: then whatever is missing was cut off.
#[derive(Clone, Default)]
struct Source(Rc<Cell<bool>>);

struct Ending<R> {
    inner: R,
    source: Source,
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.source.0.set(true);
        }
        Ok(read)
    }
}

impl Source {
    fn blame(&self, error: &io::Error) -> Failure {
        if self.0.get() {
            cut()
        } else {
            Failure::System(format!("it is damaged, or not a backup of Scumble: {error}"))
        }
    }
}

fn cut() -> Failure {
    Failure::System("it ends too early: a part of it is missing. Copy it anew from where it was made".to_owned())
}

fn wrong(why: &str) -> Failure {
    Failure::System(format!("{why}; it is damaged, or not a backup of Scumble"))
}

/// An archive that is being read.
struct Unpacking<'a> {
    into: &'a Path,
    source: Source,
    stop: &'a Stop,
    bar: &'a Bar,
    head: Option<Head>,
    files: u64,
    bytes: u64,
    database_bytes: Option<u64>,
    /// What its manifest has to say.
    manifest: BufWriter<File>,
    manifest_path: PathBuf,
    is_whole: bool,
}

impl<'a> Unpacking<'a> {
    fn begin(into: &'a Path, source: Source, stop: &'a Stop, bar: &'a Bar) -> Result<Self, Failure> {
        let manifest_path = into.join(MANIFEST);
        let manifest = File::create_new(&manifest_path).map_err(|error| room::failed(&manifest_path, &error))?;
        let manifest = BufWriter::new(manifest);
        let (files, bytes, database_bytes) = (0, 0, None);
        Ok(Self {
            into,
            source,
            stop,
            bar,
            head: None,
            files,
            bytes,
            database_bytes,
            manifest,
            manifest_path,
            is_whole: false,
        })
    }

    /// The next thing in the archive: what it is, whether it is its turn, and whether there may be so much of it.
    fn take(&mut self, entry: Entry<'_, impl Read>) -> Result<(), Failure> {
        let name = name(&entry)?;
        let size = entry.size();
        if entry.header().entry_type() != EntryType::Regular {
            return Err(wrong(&format!("{} is not a plain file", text::line(&name))));
        }
        let is_in_turn = match name.as_str() {
            HEAD => self.head.is_none(),
            MANIFEST => self.database_bytes.is_some() && !self.is_whole,
            _ => self.head.is_some() && self.database_bytes.is_none(),
        };
        if !is_in_turn {
            return Err(wrong(&format!("{} is not in its place", text::line(&name))));
        }
        match name.as_str() {
            HEAD => self.take_head(entry, size),
            MANIFEST => self.compare(entry),
            DATABASE => self.take_database(entry, size),
            _ => self.take_file(&name, entry, size),
        }
    }

    fn take_head(&mut self, entry: impl Read, size: u64) -> Result<(), Failure> {
        if size > HEAD_BYTES {
            return Err(wrong(&format!("its {HEAD} is too long")));
        }
        let (mut text, mut from) = (Vec::new(), Summed::new(entry, self.stop, self.bar));
        from.read_to_end(&mut text).map_err(|error| self.source.blame(&error))?;
        self.note(HEAD, size, from.finish())?;
        let head = Head::read(&text)?;
        let all = head.file_bytes.saturating_add(head.database_bytes);
        room::check(self.into, all)?;
        self.bar.begin(all, 0);
        self.head = Some(head);
        Ok(())
    }

    fn take_database(&mut self, entry: impl Read, size: u64) -> Result<(), Failure> {
        if self.head.as_ref().is_none_or(|head| size > head.database_bytes) {
            return Err(wrong("its database is larger than it says at the beginning"));
        }
        self.store(DATABASE, &self.into.join(DATABASE), entry, size)?;
        self.database_bytes = Some(size);
        Ok(())
    }

    fn take_file(&mut self, name: &str, entry: impl Read, size: u64) -> Result<(), Failure> {
        let path: Option<FilePath> = name.strip_prefix(FILES).and_then(|path| path.parse().ok());
        let Some(path) = path else {
            return Err(wrong(&format!("{} has no business in a backup", text::line(name))));
        };
        (self.files, self.bytes) = (self.files + 1, self.bytes.saturating_add(size));
        if self.head.as_ref().is_none_or(|head| self.files > head.files || self.bytes > head.file_bytes) {
            return Err(wrong("it holds more files than it says at the beginning"));
        }
        let target = self.into.join(FILES).join(path.as_str());
        private::make_folder(target.parent().unwrap_or(self.into))?;
        self.store(name, &target, entry, size)
    }

    /// Writes a new file, of exactly so many bytes.
    fn store(&mut self, name: &str, target: &Path, entry: impl Read, size: u64) -> Result<(), Failure> {
        let failed = |error: &io::Error| room::failed(target, error);
        let mut file = match File::create_new(target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(wrong(&format!("{name} is in it twice")));
            }
            file => file.map_err(|error| failed(&error))?,
        };
        let mut from = Summed::new(entry, self.stop, self.bar);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            self.stop.check()?;
            let read = from.read(&mut buffer).map_err(|error| self.source.blame(&error))?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).map_err(|error| failed(&error))?;
        }
        flush_one(&file).map_err(|error| failed(&error))?;
        self.note(name, size, from.finish())
    }

    /// What the manifest has to say of this.
    fn note(&mut self, name: &str, size: u64, (read, sum): (u64, Vec<u8>)) -> Result<(), Failure> {
        if read != size {
            return Err(cut());
        }
        let noted = self.manifest.write_all(format::line(&sum, size, name).as_bytes());
        noted.map_err(|error| room::failed(&self.manifest_path, &error))
    }

    /// Whether the manifest says what was found, line by line.
    fn compare(&mut self, entry: impl Read) -> Result<(), Failure> {
        self.manifest.flush().map_err(|error| room::failed(&self.manifest_path, &error))?;
        let ours = File::open(&self.manifest_path).map_err(|e| Failure::about("read", &self.manifest_path, e))?;
        let (mut ours, mut theirs) = (BufReader::new(ours), BufReader::new(entry));
        loop {
            self.stop.check()?;
            let found = line(&mut ours).map_err(|e| Failure::about("read", &self.manifest_path, e))?;
            let said = line(&mut theirs).map_err(|error| self.source.blame(&error))?;
            if found.is_empty() && said.is_empty() {
                break;
            }
            if found != said {
                let name = [&found, &said].into_iter().find(|line| !line.is_empty()).map_or("", |line| last_word(line));
                // the archive may end within the manifest
                let is_cut = said.len() < found.len() && found.starts_with(&said) && self.source.0.get();
                return Err(if is_cut {
                    cut()
                } else {
                    wrong(&format!("{} is not what its manifest says", text::line(name)))
                });
            }
        }
        self.is_whole = true;
        Ok(())
    }

    fn finish(self) -> Result<Unpacked, Failure> {
        let Self { head: Some(head), files, bytes, database_bytes: Some(database_bytes), is_whole: true, .. } = self
        else {
            return Err(cut());
        };
        fs::remove_file(&self.manifest_path).map_err(|e| Failure::about("remove", &self.manifest_path, e))?;
        flush_all(self.into).map_err(|error| room::failed(self.into, &error))?;
        Ok(Unpacked { head, files, bytes, database_bytes })
    }
}

fn name(entry: &Entry<'_, impl Read>) -> Result<String, Failure> {
    let bytes = entry.path_bytes();
    String::from_utf8(bytes.into_owned()).map_err(|error| {
        let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
        wrong(&format!("{} has no business in a backup", text::line(&shown)))
    })
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(LINE_BYTES).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn last_word(line: &str) -> &str {
    line.trim_end().rsplit("  ").next().unwrap_or_default()
}

/// Where a whole file system can be flushed, that is done once, at the end.
#[cfg(target_os = "linux")]
fn flush_one(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn flush_all(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

#[cfg(not(target_os = "linux"))]
fn flush_one(file: &File) -> io::Result<()> {
    file.sync_all()
}

#[cfg(not(target_os = "linux"))]
fn flush_all(_: &Path) -> io::Result<()> {
    Ok(())
}
