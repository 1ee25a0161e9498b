//! As much of S3 as files need: objects, ranges, conditions, uploads in parts, lists. It checks no signatures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

/// The smallest piece of an upload that is not its last, as in the real one.
const PART_BYTES_MIN: usize = 5 * 1024 * 1024;

/// One bucket, called `bucket`.
pub(crate) struct FakeS3 {
    pub(crate) endpoint: String,
    bucket: Arc<Mutex<Bucket>>,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, (Bytes, SystemTime)>,
    /// By id: key and parts.
    uploads: BTreeMap<String, (String, BTreeMap<u32, Bytes>)>,
    begun: u64,
}

type Shared = Arc<Mutex<Bucket>>;

fn lock(bucket: &Shared) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeS3 {
    /// An empty bucket on a port of its own, as long as the test's runtime lives.
    pub(crate) async fn start() -> Self {
        let bucket = Shared::default();
        let app = Router::new().fallback(answer).layer(axum::extract::DefaultBodyLimit::disable());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(axum::serve(listener, app.with_state(bucket.clone())).into_future());
        Self { endpoint, bucket }
    }

    /// What the bucket holds.
    pub(crate) fn keys(&self) -> Vec<String> {
        lock(&self.bucket).objects.keys().cloned().collect()
    }

    /// How many uploads were begun and not ended.
    pub(crate) fn uploads(&self) -> usize {
        lock(&self.bucket).uploads.len()
    }
}

async fn answer(
    State(bucket): State<Shared>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert!(headers[header::AUTHORIZATION].to_str().is_ok_and(|a| a.contains("Credential=public-half/")), "unsigned");
    let path = uri.path().strip_prefix("/bucket").expect("the bucket's path");
    let key = path.trim_start_matches('/').to_owned();
    let bucket = &mut *lock(&bucket);
    match (method, query.get("uploadId"), query.get("partNumber")) {
        (Method::PUT, Some(id), Some(number)) => bucket.put_part(id, number, body),
        (Method::PUT, None, None) => bucket.put(key, &headers, body),
        (Method::POST, None, None) if query.contains_key("uploads") => bucket.begin(key),
        (Method::POST, Some(id), None) => bucket.complete(id),
        (Method::POST, None, None) if query.contains_key("delete") => bucket.delete_many(&body),
        (Method::DELETE, Some(id), None) => {
            bucket.uploads.remove(id);
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::DELETE, None, None) => {
            bucket.objects.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::GET, None, None) if query.contains_key("list-type") => bucket.list(query.get("prefix")),
        (Method::GET | Method::HEAD, None, None) => bucket.get(&key, &headers),
        (method, ..) => panic!("{method} {uri} is not known here"),
    }
}

impl Bucket {
    fn put(&mut self, key: String, headers: &HeaderMap, body: Bytes) -> Response {
        if headers.contains_key(header::IF_NONE_MATCH) && self.objects.contains_key(&key) {
            return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
        }
        self.objects.insert(key, (body, SystemTime::now()));
        [(header::ETAG, "\"etag\"")].into_response()
    }

    fn begin(&mut self, key: String) -> Response {
        self.begun += 1;
        let id = format!("upload-{}", self.begun);
        self.uploads.insert(id.clone(), (key, BTreeMap::new()));
        format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
            .into_response()
    }

    fn put_part(&mut self, id: &str, number: &str, body: Bytes) -> Response {
        let Some((_, parts)) = self.uploads.get_mut(id) else {
            return error(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        parts.insert(number.parse().expect("a number"), body);
        [(header::ETAG, "\"etag\"")].into_response()
    }

    fn complete(&mut self, id: &str) -> Response {
        let Some((key, parts)) = self.uploads.remove(id) else {
            return error(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        let parts: Vec<Bytes> = parts.into_values().collect();
        if parts.iter().rev().skip(1).any(|part| part.len() < PART_BYTES_MIN) {
            return error(StatusCode::BAD_REQUEST, "EntityTooSmall");
        }
        self.objects.insert(key, (parts.concat().into(), SystemTime::now()));
        "<CompleteMultipartUploadResult><ETag>etag</ETag></CompleteMultipartUploadResult>".into_response()
    }

    fn delete_many(&mut self, body: &Bytes) -> Response {
        let text = String::from_utf8_lossy(body);
        let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        let deleted = keys.map(|(key, _)| {
            self.objects.remove(key);
            format!("<Deleted><Key>{key}</Key></Deleted>")
        });
        format!("<DeleteResult>{}</DeleteResult>", deleted.collect::<String>()).into_response()
    }

    fn list(&self, prefix: Option<&String>) -> Response {
        let prefix = prefix.map_or("", String::as_str);
        let found = self.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let contents = found.map(|(key, (bytes, modified))| {
            let modified = rfc3339(*modified);
            let size = bytes.len();
            format!("<Contents><Key>{key}</Key><LastModified>{modified}</LastModified><Size>{size}</Size></Contents>")
        });
        format!("<ListBucketResult>{}</ListBucketResult>", contents.collect::<String>()).into_response()
    }

    fn get(&self, key: &str, headers: &HeaderMap) -> Response {
        let Some((bytes, modified)) = self.objects.get(key) else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
        let last_modified = rfc2822(*modified);
        let common = [(header::ETAG, "\"etag\"".to_owned()), (header::LAST_MODIFIED, last_modified)];
        let Some(range) = headers.get(header::RANGE).and_then(|range| range.to_str().ok()) else {
            return (common, bytes.clone()).into_response();
        };
        let (first, last) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')).expect("a range");
        let first: usize = first.parse().expect("a number");
        let last = last.parse::<usize>().map_or(bytes.len(), |last| last.saturating_add(1)).min(bytes.len());
        if first >= last {
            return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
        }
        let part = [(header::CONTENT_RANGE, format!("bytes {first}-{}/{}", last - 1, bytes.len()))];
        (StatusCode::PARTIAL_CONTENT, common, part, bytes.slice(first..last)).into_response()
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, format!("<Error><Code>{code}</Code></Error>")).into_response()
}

fn rfc3339(time: SystemTime) -> String {
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000Z");
    time::OffsetDateTime::from(time).format(format).expect("a time")
}

fn rfc2822(time: SystemTime) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    time::OffsetDateTime::from(time).format(format).expect("a time")
}
