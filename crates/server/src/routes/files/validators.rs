//! ETags (RFC 9110, 13.1): who has a file need not be sent it again.

use axum::http::{HeaderMap, HeaderName, header};
use scumble_store::FileRecord;

/// The tag of a file. Its bytes never change; another file under the same path, after the first has expired, was made
/// at another time.
pub(super) fn tag(row: &FileRecord) -> String {
    format!("\"{:x}-{:x}\"", row.created_ms, row.bytes)
}

/// Whether the reader has this file already (`If-None-Match`).
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    texts(headers, header::IF_NONE_MATCH).any(|text| text.trim() == "*" || tags(text).any(|known| known == tag))
}

/// Whether a range of this file is what the reader means: they have the rest of it, or did not say what they have
/// (`If-Range`). A date is of no use, because files have none.
pub(super) fn may_be_ranged(headers: &HeaderMap, tag: &str) -> bool {
    match headers.get(header::IF_RANGE) {
        None => true,
        // a weak tag is no promise about bytes, so it never equals ours
        Some(value) => value.to_str().is_ok_and(|value| value.trim() == tag),
    }
}

fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// The tags of a list, strong and weak, with their quotes. What is in quotes may be a comma.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.find('"')?;
        let end = start + 1 + rest[start + 1..].find('"')?;
        let tag = &rest[start..=end];
        rest = &rest[end + 1..];
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TAG: &str = "\"1a-2b\"";

    fn headers(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_reader_knows_a_file_by_its_tag_in_any_form() {
        let known = |lines: &[&'static str]| is_known(&headers(&header::IF_NONE_MATCH, lines), TAG);
        for yes in [
            &["\"1a-2b\""][..],
            &["W/\"1a-2b\""],
            &["\"x\", \"1a-2b\""],
            &["\"a,b\" ,W/\"1a-2b\",\"y\""],
            &["\"x\"", "\"1a-2b\""],
            &[" * "],
        ] {
            assert!(known(yes), "{yes:?}");
        }
        for no in [&[][..], &["\"1a-2c\""], &["1a-2b"], &["\"1a-2b"], &["\"x,1a-2b,y\""], &["\"*\""], &[""]] {
            assert!(!known(no), "{no:?}");
        }
    }

    #[test]
    fn a_range_is_of_the_file_that_the_reader_has_begun() {
        let may = |lines: &[&'static str]| may_be_ranged(&headers(&header::IF_RANGE, lines), TAG);
        assert!(may(&[]) && may(&["\"1a-2b\""]));
        assert!(!may(&["\"other\""]) && !may(&["W/\"1a-2b\""]) && !may(&["Wed, 21 Oct 2015 07:28:00 GMT"]));
    }
}
