//! Files that come in parts, in any order, at the same time, from several callers.
//!
//! Each part is an object of its own under `parts/<the file's random part>/`, named by its number and a tag nobody can
//! guess. A part that is sent twice is there twice; whoever completes the file says which one is meant. Joining them
//! gives the file its path.

use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::path::{is_random_hex, random_hex};
use crate::{Error, FilePath, FileWriter, Files, Result};

/// The folder of all parts.
pub(crate) const PARTS: &str = "parts";

/// A part that is stored, completely and durably.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its place in the file.
    pub number: u32,
    /// Which of the parts of this number it is.
    pub tag: String,
    /// Its size.
    pub bytes: u64,
}

/// A part under way.
#[derive(Debug)]
pub struct PartWriter {
    number: u32,
    tag: String,
    writer: FileWriter,
}

impl PartWriter {
    /// The part's bytes; see [`FileWriter::write`].
    pub fn writer(&mut self) -> &mut FileWriter {
        &mut self.writer
    }

    /// Stores the part.
    ///
    /// # Errors
    ///
    /// As for [`FileWriter::finish`].
    pub async fn finish(self) -> Result<Part> {
        Ok(Part { number: self.number, tag: self.tag, bytes: self.writer.finish().await? })
    }
}

impl Files {
    /// Begins to store a part of the file that will be at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::NoRandomness`].
    pub fn part_writer(&self, path: &FilePath, number: u32, limit: u64) -> Result<PartWriter> {
        let tag = random_hex()?;
        let at = ObjectPath::from(format!("{PARTS}/{}/{number}.{tag}", path.random()));
        Ok(PartWriter { number, tag, writer: FileWriter::new(self.place.clone(), path, at, limit) })
    }

    /// All the parts of the file that will be at `path`, in no order.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`].
    pub async fn parts(&self, path: &FilePath) -> Result<Vec<Part>> {
        let listed: Vec<_> = self.place.store.list(Some(&folder(path))).try_collect().await.map_err(about(path))?;
        Ok(listed.iter().filter_map(|object| parse(object.location.filename()?, object.size)).collect())
    }

    /// Joins parts, in the order given, to the file at `path`; returns its size. Should there be one already, that one
    /// stays. The parts stay too: see [`Files::forget_parts`].
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when a part is gone; [`Error::Full`], [`Error::ReadOnly`], [`Error::Storage`].
    pub async fn join(&self, path: &FilePath, parts: &[Part]) -> Result<u64> {
        let mut file = self.writer(path, u64::MAX);
        for Part { number, tag, bytes } in parts {
            let at = ObjectPath::from(format!("{PARTS}/{}/{number}.{tag}", path.random()));
            let mut begin = 0;
            while begin < *bytes {
                let end = begin.saturating_add(self.place.piece as u64).min(*bytes);
                file.write(self.place.store.get_range(&at, begin..end).await.map_err(about(path))?).await?;
                begin = end;
            }
        }
        file.finish().await
    }

    /// Deletes all the parts of a file.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Storage`].
    pub async fn forget_parts(&self, path: &FilePath) -> Result<()> {
        let listed: Vec<_> = self.place.store.list(Some(&folder(path))).try_collect().await.map_err(about(path))?;
        for object in listed {
            match self.place.store.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(Error::about(path, error)),
            }
        }
        Ok(())
    }
}

fn folder(path: &FilePath) -> ObjectPath {
    ObjectPath::from(format!("{PARTS}/{}", path.random()))
}

fn about(path: &FilePath) -> impl Fn(object_store::Error) -> Error + '_ {
    |error| Error::about(path, error)
}

fn parse(name: &str, bytes: u64) -> Option<Part> {
    let (number, tag) = name.split_once('.')?;
    Some(Part { number: number.parse().ok()?, tag: is_random_hex(tag).then(|| tag.to_owned())?, bytes })
}
