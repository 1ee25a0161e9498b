//! How a bucket is reached: the variables that every program for S3 reads.

use scumble_files::{Files, S3Credentials, S3Options};

use super::secret;
use crate::failure::Failure;

/// Opens the place where images are kept.
pub(crate) fn open_files(url: &str) -> Result<Files, Failure> {
    let s3 = if url.starts_with("s3://") { from_environment()? } else { S3Options::default() };
    Files::open_with(url, &s3).map_err(|e| Failure::System(e.to_string()))
}

fn from_environment() -> Result<S3Options, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
    let credentials = match (secret::variable("AWS_ACCESS_KEY_ID")?, secret::variable("AWS_SECRET_ACCESS_KEY")?) {
        (Some(access_key_id), Some(secret_access_key)) => {
            let session_token = secret::variable("AWS_SESSION_TOKEN")?;
            Some(S3Credentials { access_key_id, secret_access_key, session_token })
        }
        (None, None) => None,
        _ => {
            return Err(Failure::Usage(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together; one is missing".into(),
            ));
        }
    };
    Ok(S3Options {
        region: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
        // whoever writes http:// has decided
        allow_http: endpoint.as_deref().is_some_and(|url| url.starts_with("http://")),
        endpoint,
        credentials,
        virtual_hosted: false,
    })
}
