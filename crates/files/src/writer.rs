//! Files whose bytes come piece by piece.

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutPayload};

use crate::path::random_hex;
use crate::place::Place;
use crate::{Error, FilePath, Result};

/// The folder of files under way. What a crash leaves here is swept up by [`Files::sweep`](crate::Files::sweep).
pub(crate) const ASIDE: &str = "aside";

/// A file under way. It never holds more than one piece in memory: 1 MiB, or 8 MiB for a bucket.
///
/// Dropping it before it is finished takes back what was written.
pub struct FileWriter {
    place: Place,
    /// What the file is for, in errors.
    about: FilePath,
    /// Where it will be.
    target: ObjectPath,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    written: u64,
    limit: u64,
    /// Begun with the first whole piece: smaller files are put in one go.
    upload: Option<Upload>,
}

struct Upload {
    at: ObjectPath,
    parts: Box<dyn MultipartUpload>,
}

impl FileWriter {
    pub(crate) fn new(place: Place, about: &FilePath, target: ObjectPath, limit: u64) -> Self {
        let about = about.clone();
        Self { place, about, target, waiting: Vec::new(), waiting_bytes: 0, written: 0, limit, upload: None }
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::Full`], [`Error::ReadOnly`], [`Error::Storage`], [`Error::NoRandomness`]. The
    /// file is of no use then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.written += bytes.len() as u64;
        if self.written > self.limit {
            return Err(Error::TooLarge { limit: self.limit });
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push(bytes);
        if self.waiting_bytes >= self.place.piece { self.flush().await } else { Ok(()) }
    }

    /// Gives the file its path, once it is complete and durable; returns its size. Should the path have a file
    /// already, that one stays, and its size is returned: the first one wins.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], [`Error::ReadOnly`], [`Error::Storage`]; nothing is stored then.
    pub async fn finish(mut self) -> Result<u64> {
        let published = if self.upload.is_some() {
            self.flush().await?;
            self.publish().await
        } else {
            let whole = self.take_waiting();
            self.place.store.put_opts(&self.target, whole, PutMode::Create.into()).await.map(drop)
        };
        match published {
            Ok(()) => Ok(self.written),
            Err(object_store::Error::AlreadyExists { .. }) => {
                Ok(self.place.store.head(&self.target).await.map_err(|e| Error::about(&self.about, e))?.size)
            }
            Err(error) => Err(Error::storing(&self.about, error)),
        }
    }

    /// Hands what waits to the place.
    async fn flush(&mut self) -> Result<()> {
        let piece = self.take_waiting();
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(begin(&self.place, &self.about, &self.target).await?),
        };
        upload.parts.put_part(piece).await.map_err(|e| Error::storing(&self.about, e))
    }

    fn take_waiting(&mut self) -> PutPayload {
        self.waiting_bytes = 0;
        PutPayload::from_iter(std::mem::take(&mut self.waiting))
    }

    /// From aside to its path. A bucket has no aside: there the file appears under its path with its last piece, and
    /// only two that end in the same moment could both be the first.
    async fn publish(&mut self) -> object_store::Result<()> {
        let Some(Upload { at, parts }) = &mut self.upload else { return Ok(()) };
        if *at == self.target {
            return match self.place.store.head(at).await {
                Ok(_) => {
                    Err(object_store::Error::AlreadyExists { path: at.to_string(), source: "it came first".into() })
                }
                Err(object_store::Error::NotFound { .. }) => {
                    parts.complete().await?;
                    self.upload = None;
                    Ok(())
                }
                Err(error) => Err(error),
            };
        }
        parts.complete().await?;
        let Some(Upload { at, .. }) = self.upload.take() else { return Ok(()) };
        let linked = self.place.store.copy_if_not_exists(&at, &self.target).await;
        // if the second name cannot be removed now, the sweep does it later
        let _ = self.place.store.delete(&at).await;
        linked
    }
}

/// Begins to write aside, where the place can give a file its path later.
async fn begin(place: &Place, about: &FilePath, target: &ObjectPath) -> Result<Upload> {
    let at = if place.links { ObjectPath::from(format!("{ASIDE}/{}", random_hex()?)) } else { target.clone() };
    let parts = place.store.put_multipart(&at).await.map_err(|e| Error::storing(about, e))?;
    Ok(Upload { at, parts })
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        let Some(Upload { mut parts, .. }) = self.upload.take() else { return };
        // a folder takes its file back by itself; a bucket has to be told
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // what stays behind has no path, and there is nobody left to tell
                let _ = parts.abort().await;
            });
        }
    }
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileWriter({} bytes for {})", self.written, self.target)
    }
}
