//! Moments, for people and programs alike.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2026-01-02T03:04:05Z`.
pub(crate) fn iso(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(ms / 1000);
    time.ok().and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_default()
}

/// `30 days`, `90 minutes`: in the largest unit that says it in whole numbers.
pub(super) fn span(ms: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let (number, unit) = UNITS
        .into_iter()
        .find(|(size, _)| ms >= *size && ms % size == 0)
        .map_or((ms, "millisecond"), |(size, unit)| (ms / size, unit));
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_whole_numbers() {
        let told = [30 * 86_400_000, 86_400_000, 90 * 60_000, 1_500, 3_600_000].map(span);
        assert_eq!(told, ["30 days", "1 day", "90 minutes", "1500 milliseconds", "1 hour"]);
    }
}
