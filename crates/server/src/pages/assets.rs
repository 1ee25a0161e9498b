//! Styles, modules and the icon. Their address holds a digest of all of them, so browsers may keep them for ever.

use std::sync::OnceLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! module {
    ($name:literal) => {
        Asset {
            name: $name,
            content_type: "text/javascript; charset=utf-8",
            text: include_str!(concat!("../../../../web/modules/", $name)),
        }
    };
}

const ASSETS: &[Asset] = &[
    Asset {
        name: "style.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("../../../../web/style.css"),
    },
    Asset { name: "icon.svg", content_type: "image/svg+xml", text: include_str!("../../../../web/icon.svg") },
    module!("common.js"),
    module!("form.js"),
    module!("gallery.js"),
    module!("images.js"),
    module!("lists.js"),
    module!("literal.js"),
    module!("live.js"),
    module!("mask.js"),
    module!("model.js"),
    module!("run.js"),
    module!("snippets.js"),
];

/// A digest of all assets: what changes makes a new address for every one.
pub(super) fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let all = ASSETS.iter().fold(Sha256::new(), |digest, asset| digest.chain_update(asset.text));
        all.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    })
}

/// `GET /assets/{version}/{name}`. A version of another release gets this release's file, and is not kept.
pub(super) async fn read(Path((asked, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = format!("\"{}\"", version());
    let keep = if asked == version() { "public, max-age=31536000, immutable" } else { "no-cache" };
    let common = [
        (header::CACHE_CONTROL, keep.to_owned()),
        (header::ETAG, tag.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    ([(header::CONTENT_TYPE, asset.content_type)], common, asset.text).into_response()
}

/// `GET /favicon.ico`: what browsers look for beside answers that are no pages.
pub(super) async fn icon(headers: HeaderMap) -> Response {
    read(Path((String::new(), "icon.svg".to_owned())), headers).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_import_only_what_is_here() {
        for asset in ASSETS.iter().filter(|asset| asset.name.ends_with(".js")) {
            for line in asset.text.lines().filter(|line| line.starts_with("import ") || line.starts_with("} from ")) {
                let from = line.split('"').nth(1).unwrap_or_default();
                let known = ASSETS.iter().any(|other| Some(other.name) == from.strip_prefix("./"));
                assert!(known, "{} imports {from:?}", asset.name);
            }
        }
    }
}
