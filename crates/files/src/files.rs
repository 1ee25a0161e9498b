//! The type that keeps files.

use std::ops::Range;
use std::path::Path;
use std::{fmt, io};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

use crate::disk;
use crate::fresh::{Keeper, body_of};
use crate::place::Place;
use crate::{Error, FilePath, FileWriter, Result, S3Options, content_type_of};

/// A place that keeps files. Cheap to clone; clones share the place.
#[derive(Clone)]
pub struct Files {
    pub(crate) place: Place,
    /// Whoever keeps the bytes of the small ones at first.
    pub(crate) keeper: Option<Keeper>,
}

/// A file that is stored, completely and durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Where it is kept.
    pub path: FilePath,
    /// Its size.
    pub bytes: u64,
    /// The content type it was stored with.
    pub content_type: String,
}

/// The bytes of a file, or of a part of it, as they are read.
pub struct FileBody {
    /// The bytes, piece by piece.
    pub stream: BoxStream<'static, Result<Bytes>>,
    /// Which bytes of the file these are.
    pub range: Range<u64>,
    /// The size of the whole file.
    pub size: u64,
    /// The content type that the path's extension tells. Whoever has the file's row knows it better.
    pub content_type: &'static str,
}

impl Files {
    /// Opens a place: a folder or `file:///folder`, made if it is not there, or `memory:`, which forgets. A bucket
    /// needs [`Files::open_with`].
    ///
    /// # Errors
    ///
    /// [`Error::Location`] when the folder cannot be made or opened, or the place is of another kind.
    pub fn open(location: &str) -> Result<Self> {
        Self::open_with(location, &S3Options::default())
    }

    /// Opens a place of any kind: what [`Files::open`] takes, or `s3://bucket/prefix`, reached as `s3` says.
    ///
    /// # Errors
    ///
    /// [`Error::Location`] when the place cannot be opened, or is of another kind. A bucket is not asked before it is
    /// used.
    pub fn open_with(location: &str, s3: &S3Options) -> Result<Self> {
        let place = Place::open(location, s3);
        place
            .map(|place| Self { place, keeper: None })
            .map_err(|reason| Error::Location { location: location.to_owned(), reason })
    }

    /// Stores a file under a path nobody can guess. `name` is what people see at the end of its URL; it need not be
    /// unique or clean. The path's extension is made to tell `content_type`.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::ReadOnly`], [`Error::Storage`], [`Error::NoRandomness`]; nothing is stored then.
    pub async fn put(&self, bytes: Bytes, content_type: &str, name: &str) -> Result<StoredFile> {
        let path = FilePath::fresh(name, content_type)?;
        let size = bytes.len() as u64;
        let stored = match self.place.folder.clone() {
            Some(folder) => {
                let (place, path) = (self.place.clone(), path.clone());
                on_disk(move || place.put_on_disk(&folder, &path, &bytes)).await
            }
            None => self.place.store.put(&object_path(&path), bytes.into()).await.map(drop),
        };
        stored.map_err(|e| Error::storing(&path, e))?;
        Ok(StoredFile { path, bytes: size, content_type: content_type.to_owned() })
    }

    /// Begins to store a file whose bytes come piece by piece, at most `limit` of them, under a path from
    /// [`FilePath::fresh`]. Nothing is stored before [`FileWriter::finish`].
    #[must_use]
    pub fn writer(&self, path: &FilePath, limit: u64) -> FileWriter {
        FileWriter::new(self.place.clone(), path, object_path(path), limit)
    }

    /// Reads a file, or the part of it that `range` names. A range may end behind the end of the file (`500..u64::MAX`
    /// is everything from byte 500 on).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::BadRange`] when the range is empty or begins at or behind the end;
    /// [`Error::Storage`], which may also end the stream later.
    pub async fn get(&self, path: &FilePath, range: Option<Range<u64>>) -> Result<FileBody> {
        match self.get_settled(path, range.clone()).await {
            Err(Error::NotFound(_)) if self.keeper.is_some() => {}
            found => return found,
        }
        match self.fresh_bytes(path).await? {
            Some(bytes) => body_of(path, &bytes, range),
            // it may have been settled between the two looks
            None => self.get_settled(path, range).await,
        }
    }

    /// Reads a file where it is when it is not fresh.
    async fn get_settled(&self, path: &FilePath, range: Option<Range<u64>>) -> Result<FileBody> {
        if let Some(range) = &range {
            let size = self.settled_size(path).await?.ok_or_else(|| Error::NotFound(path.clone()))?;
            check_range(path, range, size)?;
        }
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = self.place.store.get_opts(&object_path(path), options).await.map_err(|e| Error::about(path, e))?;
        let (size, range, read) = (found.meta.size, found.range.clone(), path.clone());
        let stream = found.into_stream().map_err(move |e| Error::about(&read, e)).boxed();
        Ok(FileBody { stream, range, size, content_type: content_type_of(path.name()) })
    }

    /// A whole file as a data URI.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Storage`].
    pub async fn data_uri(&self, path: &FilePath) -> Result<String> {
        let file = self.get(path, None).await?;
        let content_type = file.content_type;
        Ok(format!("data:{content_type};base64,{}", STANDARD.encode(file.bytes().await?)))
    }

    /// The size of a file; `None` when there is no such file.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`].
    pub async fn size(&self, path: &FilePath) -> Result<Option<u64>> {
        if let Some(size) = self.settled_size(path).await? {
            return Ok(Some(size));
        }
        match self.fresh_bytes(path).await? {
            Some(bytes) => Ok(Some(bytes.len() as u64)),
            None if self.keeper.is_some() => self.settled_size(path).await,
            None => Ok(None),
        }
    }

    async fn settled_size(&self, path: &FilePath) -> Result<Option<u64>> {
        match self.place.store.head(&object_path(path)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::about(path, error)),
        }
    }

    /// Whether there is such a file.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`].
    pub async fn exists(&self, path: &FilePath) -> Result<bool> {
        Ok(self.size(path).await?.is_some())
    }

    /// Deletes a file. One that is not there is fine: it is gone either way.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Storage`].
    pub async fn delete(&self, path: &FilePath) -> Result<()> {
        match self.place.store.delete(&object_path(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(Error::about(path, error)),
        }
        if self.place.spool_of(path).is_none() {
            return Ok(());
        }
        let (place, deleted) = (self.place.clone(), path.clone());
        let forgotten = on_disk(move || place.spool_of(&deleted).map_or(Ok(()), |spool| spool.forget(&deleted))).await;
        forgotten.map_err(|e| Error::about(path, e))
    }
}

impl Files {
    /// The folder in which the files are, where they are in one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.place.folder.as_deref()
    }

    /// How much space is left where the files are, where that is known: on disk.
    ///
    /// # Errors
    ///
    /// [`Error::Disk`].
    pub fn free_bytes(&self) -> Result<Option<u64>> {
        self.place.folder.as_deref().map_or(Ok(None), |folder| disk::free_bytes(folder).map_err(Error::Disk))
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.place)
    }
}

impl FileBody {
    /// All the bytes at once.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when reading fails midway.
    pub async fn bytes(self) -> Result<Bytes> {
        let mut pieces = self.stream;
        let Some(first) = pieces.try_next().await? else { return Ok(Bytes::new()) };
        // Most files come in one piece, which is handed on as it is.
        let Some(second) = pieces.try_next().await? else { return Ok(first) };
        let mut all = BytesMut::from(&first[..]);
        all.extend_from_slice(&second);
        while let Some(piece) = pieces.try_next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream: _, range, size, content_type } = self;
        write!(f, "FileBody({range:?} of {size} bytes of {content_type})")
    }
}

/// Whether a file of this size has something of the range.
pub(crate) fn check_range(path: &FilePath, range: &Range<u64>, size: u64) -> Result<()> {
    if range.start >= range.end || range.start >= size {
        return Err(Error::BadRange { path: path.clone(), size });
    }
    Ok(())
}

/// The disk is waited for on a thread that may.
async fn on_disk(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> object_store::Result<()> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).and_then(|done| done);
    done.map_err(|error| object_store::Error::Generic { store: "disk", source: error.into() })
}

pub(crate) fn object_path(path: &FilePath) -> ObjectPath {
    ObjectPath::from(path.as_str())
}
