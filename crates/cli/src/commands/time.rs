//! Moments, for people and programs alike.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2026-01-02T03:04:05Z`.
pub(crate) fn iso(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(ms / 1000);
    time.ok().and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_default()
}
