//! Files in a bucket: of a small stand-in for S3 in this process, and of the real thing where `SCUMBLE_TEST_S3` says.

mod fake_s3;

use scumble_files::{Error, Files, S3Credentials, S3Options, files_suite};

use self::fake_s3::FakeS3;

mod fake {
    use super::*;

    files_suite!({
        let bucket = FakeS3::start().await;
        (Files::open_with("s3://bucket/some/prefix", &options(&bucket.endpoint))?, bucket)
    });
}

/// What a file in a bucket looks like to whoever owns the bucket: below the prefix, nothing beside it.
#[tokio::test]
async fn files_are_below_the_prefix() -> Result<(), Error> {
    let bucket = FakeS3::start().await;
    let files = Files::open_with("s3://bucket/some/prefix", &options(&bucket.endpoint))?;
    let stored = files.put("bytes".into(), "image/png", "image.png").await?;
    assert_eq!(bucket.keys(), [format!("some/prefix/{}", stored.path)]);
    files.delete(&stored.path).await?;
    assert_eq!(bucket.keys(), Vec::<String>::new());
    Ok(())
}

/// A stream that is given up is taken back from the bucket too.
#[tokio::test]
async fn an_abandoned_upload_is_aborted() -> Result<(), Error> {
    let bucket = FakeS3::start().await;
    let files = Files::open_with("s3://bucket", &options(&bucket.endpoint))?;
    let path = scumble_files::FilePath::fresh("film.mp4", "video/mp4")?;
    let mut file = files.writer(&path, u64::MAX);
    file.write(vec![0; 9 * 1024 * 1024].into()).await?;
    assert_eq!(bucket.uploads(), 1);
    drop(file);
    let gone = async {
        while bucket.uploads() > 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.is_ok());
    Ok(())
}

#[test]
fn secrets_do_not_print() {
    let printed = format!("{:?}", options("http://127.0.0.1:1"));
    assert!(printed.contains("public-half") && !printed.contains("secret-half"), "{printed}");
}

fn options(endpoint: &str) -> S3Options {
    S3Options {
        endpoint: Some(endpoint.to_owned()),
        credentials: Some(S3Credentials {
            access_key_id: "public-half".into(),
            secret_access_key: "secret-half".into(),
            session_token: None,
        }),
        allow_http: true,
        ..S3Options::default()
    }
}

/// The suite over a real bucket: `SCUMBLE_TEST_S3=http://KEY:SECRET@HOST:PORT/BUCKET`.
mod real {
    use super::*;

    const VARIABLE: &str = "SCUMBLE_TEST_S3";

    macro_rules! over_s3 {
        ($($test:ident),+ $(,)?) => {
            $(#[tokio::test]
            async fn $test() -> Result<(), Error> {
                let Some(files) = bucket()? else {
                    eprintln!("SKIPPED: {VARIABLE} is not set, nothing was tried over a real S3");
                    return Ok(());
                };
                scumble_files::suite::$test(&files).await
            })+
        };
    }

    over_s3!(
        round_trip,
        empty_file,
        ranges,
        bad_ranges,
        missing,
        delete_twice,
        big_in_pieces,
        hostile_names,
        streams,
        stream_limits,
        the_first_file_stays,
        dropped_streams,
        parts_join,
        parts_are_told_apart,
    );

    fn bucket() -> Result<Option<Files>, Error> {
        let Ok(url) = std::env::var(VARIABLE) else { return Ok(None) };
        let parsed = || {
            let (scheme, rest) = url.split_once("://")?;
            let (credentials, rest) = rest.split_once('@')?;
            let (key, secret) = credentials.split_once(':')?;
            let (host, bucket) = rest.split_once('/')?;
            Some((format!("{scheme}://{host}"), key.to_owned(), secret.to_owned(), bucket.to_owned()))
        };
        let Some((endpoint, access_key_id, secret_access_key, bucket)) = parsed() else {
            panic!("{VARIABLE} must be http://KEY:SECRET@HOST:PORT/BUCKET");
        };
        let credentials = S3Credentials { access_key_id, secret_access_key, session_token: None };
        let options = S3Options { credentials: Some(credentials), ..options(&endpoint) };
        Files::open_with(&format!("s3://{bucket}/scumble-test"), &options).map(Some)
    }
}
