//! Keys: who may call.

/// A key as it is listed. The secret is not here: the store sees only its hash, and gives not even that out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The public half.
    pub id: String,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it was last used, to within what callers of [`Store::touch_key`](crate::Store::touch_key) care to report.
    pub last_used_ms: Option<i64>,
    /// When it was revoked; it is not accepted since.
    pub revoked_ms: Option<i64>,
}
