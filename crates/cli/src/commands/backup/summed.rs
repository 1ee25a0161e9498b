//! Bytes that are counted and summed as they pass, on their way into an archive or out of it.

use std::io::{self, Read};

use scumble_hub::Watch;
use sha2::{Digest, Sha256};

use super::stop::Stop;
use crate::commands::models::bar::Bar;

/// Reads from another reader and remembers what it has seen. Ends with an error once somebody wants to stop.
pub(super) struct Summed<'a, R> {
    inner: R,
    sum: Sha256,
    bytes: u64,
    stop: &'a Stop,
    bar: &'a Bar,
}

impl<'a, R: Read> Summed<'a, R> {
    pub(super) fn new(inner: R, stop: &'a Stop, bar: &'a Bar) -> Self {
        Self { inner, sum: Sha256::new(), bytes: 0, stop, bar }
    }

    /// How many bytes there were, and their SHA-256.
    pub(super) fn finish(self) -> (u64, Vec<u8>) {
        (self.bytes, self.sum.finalize().to_vec())
    }
}

impl<R: Read> Read for Summed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_wanted() {
            return Err(io::Error::other("interrupted"));
        }
        let read = self.inner.read(buffer)?;
        self.sum.update(&buffer[..read]);
        self.bytes += read as u64;
        self.bar.come(read as u64);
        Ok(read)
    }
}
