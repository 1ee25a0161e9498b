//! The image bytes of Scumble: disk, memory or a bucket behind one type, [`Files`].
//!
//! Files are written once, at once, piece by piece or in parts, under a path nobody can guess, and never changed. Nothing here knows jobs, endpoints or
//! HTTP, and nothing that is stored is ever executed or interpreted.
//!
//! Invariants, each of them a test of the `suite`:
//!
//! - A [`FilePath`] exists only if it is one that [`Files::put`] could have made; it cannot point outside.
//! - Nobody learns the path of a file before it is complete. On disk a large one is written aside, renamed and flushed with
//!   its folders; a small one is in the flushed spool until that is done. What `put` acknowledged survives a power cut.
//! - A path has one file: the first that was complete. What comes later is thrown away.
//! - However long a file is, no more than a piece of it is in memory.

mod content_type;
mod disk;
mod error;
mod files;
mod fresh;
mod parts;
mod path;
mod place;
mod s3;
mod said;
mod spool;
mod sweep;
mod walk;
mod writer;

#[cfg(feature = "suite")]
pub mod suite;

pub use content_type::content_type_of;
pub use disk::free_bytes;
pub use error::{Error, Result, Trouble};
pub use files::{FileBody, Files, StoredFile};
pub use fresh::{Fresh, FreshError, Settler};
pub use parts::{Part, PartWriter};
pub use path::{FilePath, ParseFilePathError};
pub use s3::{S3Credentials, S3Options};
#[cfg(feature = "fuzz")]
pub use spool::read_segment;
pub use walk::{Found, FoundKind, walk};
pub use writer::FileWriter;
