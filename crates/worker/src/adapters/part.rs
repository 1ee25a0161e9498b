//! A file on its way into the cache.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::cache::{PART, now_ms};
use super::room::{Reserved, Room};
use super::trouble::Trouble;

/// A file on its way; removed when this goes, unless it is kept.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    file: Option<tokio::fs::File>,
    written: u64,
    /// How much may be written before the disk is looked at again.
    unchecked: u64,
    reserved: Reserved,
}

/// So much is written before the disk is looked at again.
const GLANCE: u64 = 16 * 1024 * 1024;

impl Part {
    /// An empty one, with room for what was announced. Blocks: the folder may have to be swept for it.
    pub(super) fn begin(room: &Arc<Room>, announced: Option<u64>) -> Result<Self, Trouble> {
        private_folder(&room.folder).map_err(|e| unwritten(&e))?;
        let reserved = room.reserve(announced.unwrap_or(0))?;
        room.check_disk()?;
        let path = room.folder.join(format!("{}{:016x}.{PART}", room.own, random()));
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|e| unwritten(&e))?;
        let _ = file.try_lock();
        let file = Some(tokio::fs::File::from_std(file));
        Ok(Self { path, file, written: 0, unchecked: GLANCE, reserved })
    }

    /// Writes the next piece, if there is room for it.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), Trouble> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let length = piece.len() as u64;
        self.reserved.extend(self.written.saturating_add(length)).await?;
        file.write_all(piece).await.map_err(|e| unwritten(&e))?;
        self.written += length;
        self.reserved.wrote(length);
        self.unchecked = self.unchecked.saturating_sub(length);
        if self.unchecked == 0 {
            self.unchecked = GLANCE;
            self.reserved.room.check_disk()?;
        }
        Ok(())
    }

    /// Where it is, with all that was written so far.
    pub(super) async fn flushed(&mut self) -> Result<&Path, Trouble> {
        if let Some(file) = &mut self.file {
            file.flush().await.map_err(|e| unwritten(&e))?;
        }
        Ok(&self.path)
    }

    /// Its file, when all of it is on the disk.
    pub(super) async fn synced(&mut self) -> Result<File, Trouble> {
        let Some(mut file) = self.file.take() else { return Err(unwritten(&io::Error::other("it is gone"))) };
        let flushed = async {
            file.flush().await?;
            file.sync_all().await
        };
        flushed.await.map_err(|e| unwritten(&e))?;
        Ok(file.into_std().await)
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // where it was kept, it has another name by now
        let _ = fs::remove_file(&self.path);
    }
}

pub(super) fn random() -> u64 {
    // a system without randomness has other worries; a name that is taken is an error
    getrandom::u64().unwrap_or_else(|_| now_ms())
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

pub(super) fn full() -> Trouble {
    Trouble::unread("there is not enough space for it on the disk of this server; its owner can make room")
}

/// The caller hears no path of this machine.
pub(super) fn unwritten(error: &io::Error) -> Trouble {
    tracing::error!(%error, "an adapter cannot be kept");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => full(),
        kind => Trouble::unread(format!("this server cannot keep it ({kind}); its owner can mend that")),
    }
}
