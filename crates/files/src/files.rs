//! The type that keeps files.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};

use crate::{Error, FilePath, Result, content_type_of};

/// A place that keeps files. Cheap to clone; clones share the place.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
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
    /// Opens a place: a folder or `file:///folder`, made if it is not there, or `memory:`, which forgets.
    ///
    /// # Errors
    ///
    /// [`Error::Location`] when the folder cannot be made or opened, or the place is of another kind.
    pub fn open(location: &str) -> Result<Self> {
        let store: Arc<dyn ObjectStore> = match location.split_once("://") {
            None if location == "memory:" => Arc::new(InMemory::new()),
            None => Arc::new(open_folder(Path::new(location)).map_err(|reason| bad_location(location, reason))?),
            Some(("file", folder)) => Arc::new(open_file_url(folder).map_err(|reason| bad_location(location, reason))?),
            Some((scheme, _)) => return Err(bad_location(location, format!("{scheme}:// is not supported"))),
        };
        Ok(Self { store })
    }

    /// Stores a file under a path nobody can guess. `name` is what people see at the end of its URL; it need not be
    /// unique or clean. The path's extension is made to tell `content_type`.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::ReadOnly`], [`Error::Storage`], [`Error::NoRandomness`]; nothing is stored then.
    pub async fn put(&self, bytes: Bytes, content_type: &str, name: &str) -> Result<StoredFile> {
        let path = FilePath::random(name, content_type)?;
        let size = bytes.len() as u64;
        self.store.put(&object_path(&path), bytes.into()).await.map_err(|e| Error::about(&path, e))?;
        Ok(StoredFile { path, bytes: size, content_type: content_type.to_owned() })
    }

    /// Reads a file, or the part of it that `range` names. A range may end behind the end of the file (`500..u64::MAX`
    /// is everything from byte 500 on).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::BadRange`] when the range is empty or begins at or behind the end;
    /// [`Error::Storage`], which may also end the stream later.
    pub async fn get(&self, path: &FilePath, range: Option<Range<u64>>) -> Result<FileBody> {
        if let Some(range) = &range {
            let size = self.size(path).await?.ok_or_else(|| Error::NotFound(path.clone()))?;
            if range.start >= range.end || range.start >= size {
                return Err(Error::BadRange { path: path.clone(), size });
            }
        }
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = self.store.get_opts(&object_path(path), options).await.map_err(|e| Error::about(path, e))?;
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
        match self.store.head(&object_path(path)).await {
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
        match self.store.delete(&object_path(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::about(path, error)),
        }
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.store)
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

fn object_path(path: &FilePath) -> ObjectPath {
    ObjectPath::from(path.as_str())
}

fn bad_location(location: &str, reason: String) -> Error {
    Error::Location { location: location.to_owned(), reason }
}

fn open_file_url(folder: &str) -> Result<LocalFileSystem, String> {
    if !folder.starts_with('/') {
        return Err("a file URL has three slashes and an absolute path".to_owned());
    }
    // Decoding would be right for a URL and wrong for whoever put a path behind `file://`; better to ask.
    if folder.contains('%') {
        return Err("a file URL must not be percent-encoded here; write the folder's plain path instead".to_owned());
    }
    open_folder(Path::new(folder))
}

fn open_folder(folder: &Path) -> Result<LocalFileSystem, String> {
    if folder.as_os_str().is_empty() {
        return Err("the folder has no name".to_owned());
    }
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let disk = LocalFileSystem::new_with_prefix(folder).map_err(|error| error.to_string())?;
    // Without `with_fsync` a put is acknowledged when the file is in the page cache, not on disk.
    Ok(disk.with_fsync(true).with_automatic_cleanup(true))
}
