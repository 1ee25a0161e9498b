//! The parsers of what strangers send, one function each, for `fuzz/`. Each checks what must hold of whatever it reads.

use axum::http::Request;

use crate::addressing::{Caller, Service, is_catalogue, proxy_path};
use crate::config::Config;
use crate::routes::{files, queue};

/// A target on the proxy route leads to one of our services, to the catalogue or nowhere.
///
/// # Panics
/// When it leads anywhere else.
pub fn proxy_target(target: &str, host: &str) {
    let Ok(request) = Request::builder().uri("/api/fal/proxy").header("host", host).body(()) else { return };
    let config = Config::default();
    let Some(caller) = Caller::of(&request.into_parts().0, &config) else { return };
    if let Some(path) = proxy_path(target, &caller, &config.hosts) {
        assert!(Service::has_path(path.path()) || is_catalogue(path.path()), "{target} leads to {path}");
    }
}

/// A path of the queue names a request or nothing.
pub fn queue_path(path: &str) {
    let _ = queue::parse(path);
}

/// A range of bytes does not end before it begins.
///
/// # Panics
/// When it does.
pub fn byte_range(text: &str, size: i64) {
    if let Some(range) = files::parse_range(text, size) {
        assert!(range.start <= range.end, "{text} of {size} is {range:?}");
    }
}
