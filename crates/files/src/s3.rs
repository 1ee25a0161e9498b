//! Buckets: S3, and what speaks like it.

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "s3")]
use std::time::Duration;

use object_store::ObjectStore;
#[cfg(feature = "s3")]
use object_store::{ClientOptions, RetryConfig, aws::AmazonS3Builder, prefix::PrefixStore};

/// How long a bucket may be silent before a request is given up. A piece of 8 MiB has to get there in this time.
#[cfg(feature = "s3")]
const SILENT: Duration = Duration::from_secs(30);

/// How long requests that fail are repeated: somebody waits for each.
#[cfg(feature = "s3")]
const REPEATED: Duration = Duration::from_secs(30);

/// How a bucket is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Options {
    /// The region; `us-east-1` when there is none.
    pub region: Option<String>,
    /// The URL of a service other than Amazon's.
    pub endpoint: Option<String>,
    /// Who we are. Without, the machine's own role is asked for at Amazon's metadata address.
    pub credentials: Option<S3Credentials>,
    /// Whether the endpoint may be reached without TLS.
    pub allow_http: bool,
    /// Whether the bucket's name is the first part of the host instead of the path.
    pub virtual_hosted: bool,
}

/// An access key. The secret half does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
    /// Beside a key that is only lent.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Credentials({}, …)", self.access_key_id)
    }
}

impl S3Options {
    /// Opens `bucket` or `bucket/prefix`.
    #[cfg(feature = "s3")]
    pub(crate) fn open(&self, location: &str) -> Result<Arc<dyn ObjectStore>, String> {
        let Self { region, endpoint, credentials, allow_http, virtual_hosted } = self;
        let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
        if bucket.is_empty() {
            return Err("the bucket has no name: write s3://bucket or s3://bucket/prefix".to_owned());
        }
        // a limit on all of a request's time would cut the bytes off for those who read slowly, or much
        let patience = ClientOptions::new().with_timeout_disabled().with_read_timeout(SILENT);
        let mut builder = AmazonS3Builder::new()
            .with_client_options(patience)
            .with_retry(RetryConfig { retry_timeout: REPEATED, ..RetryConfig::default() })
            .with_bucket_name(bucket)
            .with_region(region.as_deref().unwrap_or("us-east-1"))
            .with_allow_http(*allow_http)
            .with_virtual_hosted_style_request(*virtual_hosted);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(S3Credentials { access_key_id, secret_access_key, session_token }) = credentials {
            builder = builder.with_access_key_id(access_key_id).with_secret_access_key(secret_access_key);
            if let Some(token) = session_token {
                builder = builder.with_token(token);
            }
        }
        let bucket = builder.build().map_err(|error| error.to_string())?;
        match prefix.trim_matches('/') {
            "" => Ok(Arc::new(bucket)),
            prefix => Ok(Arc::new(PrefixStore::new(bucket, prefix))),
        }
    }

    #[cfg(not(feature = "s3"))]
    pub(crate) fn open(&self, _: &str) -> Result<Arc<dyn ObjectStore>, String> {
        Err("this program was built without its feature `s3`".to_owned())
    }
}

/// Says whose arithmetic TLS uses: ring's. Without a word, any HTTP client of a program that can speak TLS refuses to
/// be made. Whoever has spoken before keeps what they said.
pub(crate) fn choose_tls() {
    #[cfg(feature = "s3")]
    let _ = rustls::crypto::ring::default_provider().install_default();
}
