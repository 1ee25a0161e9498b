//! Who is signed in on pages. Every process on a database shares them.

/// How many visits of one key there are at once: with one more the oldest ends.
pub const VISITS_MAX: u32 = 32;
