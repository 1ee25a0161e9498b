//! Who wants to know how far it is.

/// Hears of what comes. Called from several tasks at once.
pub trait Watch: Send + Sync {
    /// So many bytes are wanted in all, of which so many are here.
    fn begin(&self, bytes: u64, here: u64);
    /// More of them have come.
    fn come(&self, bytes: u64);
    /// So many have to come once more.
    fn lost(&self, bytes: u64);
    /// The bytes of a file are all here and are held against its checksum.
    fn checking(&self, file: &str);
    /// A sentence.
    fn say(&self, sentence: &str);
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _: u64, _: u64) {}
    fn come(&self, _: u64) {}
    fn lost(&self, _: u64) {}
    fn checking(&self, _: &str) {}
    fn say(&self, _: &str) {}
}
