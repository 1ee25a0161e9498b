//! A URL that somebody wants opened. One that is accepted leads to the public internet as far as can be read, and means
//! the same when it is read again. Behind a zero byte: where it is redirected to.
#![cfg_attr(fuzzing, no_main)]

use scumble_fetch::{Url, check_target, is_public};

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, location) = text.split_once('\0').unwrap_or((text, "/"));
    let Ok(url) = check_target(text, false) else { return };
    public(&url);
    if let Ok(next) = url.join(location).map(String::from)
        && let Ok(next) = check_target(&next, false)
    {
        public(&next);
    }
}

fn public(url: &Url) {
    assert!(matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none(), "{url}");
    let host = url.host_str().expect("a host").trim_matches(['[', ']']);
    assert!(host.parse().is_ok_and(is_public) || host.parse::<std::net::IpAddr>().is_err(), "{url}");
    assert_eq!(check_target(url.as_str(), false).ok().as_ref(), Some(url));
}
