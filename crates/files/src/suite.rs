//! What every place that keeps files must do, as tests.
//!
//! [`files_suite!`](crate::files_suite) makes one `#[tokio::test]` of each function here.

use bytes::Bytes;
use futures::TryStreamExt;

use crate::{Error, FilePath, Files, Result};

/// Runs the suite in the module where it is called. The expression makes a fresh, empty place: a tuple of [`Files`] and
/// whatever has to live as long (`()` if nothing).
#[macro_export]
macro_rules! files_suite {
    ($fresh:expr) => {
        $crate::files_suite!(@each $fresh;
            round_trip, empty_file, equal_names, ranges, bad_ranges, missing, delete_twice, big_in_pieces, clones_share,
            hostile_names
        );
    };
    (@each $fresh:expr; $($test:ident),+) => {
        $(#[tokio::test]
        async fn $test() -> $crate::Result<()> {
            let (files, _keep) = $fresh;
            $crate::suite::$test(&files).await
        })+
    };
}

/// What is put comes back: bytes, size, range, content type.
pub async fn round_trip(files: &Files) -> Result<()> {
    let stored = files.put(Bytes::from_static(b"pixels"), "image/png", "image.png").await?;
    assert!(stored.path.as_str().ends_with("/image.png"), "{}", stored.path);
    assert_eq!((stored.bytes, stored.content_type.as_str()), (6, "image/png"));

    let path = parsed(stored.path.as_str());
    assert!(files.exists(&path).await?);
    assert_eq!(files.size(&path).await?, Some(6));
    let body = files.get(&path, None).await?;
    assert_eq!((body.range.clone(), body.size, body.content_type), (0..6, 6, "image/png"));
    assert_eq!(body.bytes().await?, "pixels");
    Ok(())
}

/// An empty file is a file.
pub async fn empty_file(files: &Files) -> Result<()> {
    let stored = files.put(Bytes::new(), "text/plain", "empty.txt").await?;
    assert_eq!(stored.bytes, 0);
    let body = files.get(&stored.path, None).await?;
    assert_eq!(body.size, 0);
    assert_eq!(body.bytes().await?, "");
    Ok(())
}

/// Files of the same name do not meet.
pub async fn equal_names(files: &Files) -> Result<()> {
    let one = files.put(Bytes::from_static(b"one"), "image/png", "image.png").await?;
    let two = files.put(Bytes::from_static(b"two"), "image/png", "image.png").await?;
    assert_ne!(one.path, two.path);
    assert_eq!(files.get(&one.path, None).await?.bytes().await?, "one");
    assert_eq!(files.get(&two.path, None).await?.bytes().await?, "two");
    Ok(())
}

/// A range gives its bytes; one that ends behind the end is cut there.
pub async fn ranges(files: &Files) -> Result<()> {
    let stored = files.put(Bytes::from_static(b"0123456789"), "image/png", "image.png").await?;
    for (asked, got, bytes) in
        [(0..1, 0..1, "0"), (3..7, 3..7, "3456"), (8..100, 8..10, "89"), (5..u64::MAX, 5..10, "56789")]
    {
        let body = files.get(&stored.path, Some(asked)).await?;
        assert_eq!((body.range.clone(), body.size), (got, 10));
        assert_eq!(body.bytes().await?, bytes);
    }
    Ok(())
}

/// A range with nothing in it is an error that tells the size.
pub async fn bad_ranges(files: &Files) -> Result<()> {
    let stored = files.put(Bytes::from_static(b"0123456789"), "image/png", "image.png").await?;
    let empty = files.put(Bytes::new(), "image/png", "image.png").await?;
    #[expect(clippy::reversed_empty_ranges, reason = "it is what a hostile caller sends")]
    for (path, range, expected) in
        [(&stored.path, 10..11, 10), (&stored.path, 4..4, 10), (&stored.path, 7..3, 10), (&empty.path, 0..1, 0)]
    {
        match files.get(path, Some(range.clone())).await {
            Err(Error::BadRange { size, .. }) => assert_eq!(size, expected),
            other => panic!("{range:?}: {other:?}"),
        }
    }
    Ok(())
}

/// A file that is not there is [`Error::NotFound`].
pub async fn missing(files: &Files) -> Result<()> {
    let path = parsed("b/00000000000000000000000000000000/image.png");
    assert!(!files.exists(&path).await?);
    assert_eq!(files.size(&path).await?, None);
    assert!(matches!(files.get(&path, None).await, Err(Error::NotFound(missing)) if missing == path));
    assert!(matches!(files.get(&path, Some(0..1)).await, Err(Error::NotFound(missing)) if missing == path));
    Ok(())
}

/// Deleting deletes, and doing it twice is fine.
pub async fn delete_twice(files: &Files) -> Result<()> {
    let gone = files.put(Bytes::from_static(b"gone"), "image/png", "image.png").await?;
    let stays = files.put(Bytes::from_static(b"stays"), "image/png", "image.png").await?;
    files.delete(&gone.path).await?;
    files.delete(&gone.path).await?;
    assert!(!files.exists(&gone.path).await?);
    assert!(files.exists(&stays.path).await?);
    // The place is still fit for use after its last file went.
    files.delete(&stays.path).await?;
    let next = files.put(Bytes::from_static(b"next"), "image/png", "image.png").await?;
    assert!(files.exists(&next.path).await?);
    Ok(())
}

/// A big file comes back whole, read piece by piece or at once.
pub async fn big_in_pieces(files: &Files) -> Result<()> {
    let bytes: Bytes = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let stored = files.put(bytes.clone(), "image/png", "big.png").await?;
    assert_eq!(files.get(&stored.path, None).await?.bytes().await?, bytes);
    let pieces: Vec<Bytes> = files.get(&stored.path, None).await?.stream.try_collect().await?;
    assert_eq!(pieces.concat(), bytes);
    Ok(())
}

/// A clone is the same place.
pub async fn clones_share(files: &Files) -> Result<()> {
    let stored = files.clone().put(Bytes::from_static(b"shared"), "image/png", "image.png").await?;
    assert!(files.exists(&stored.path).await?);
    Ok(())
}

/// Whatever a file is called, its path stays inside.
pub async fn hostile_names(files: &Files) -> Result<()> {
    for name in
        ["../../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "a\0b", "%2e%2e%2f", "", ".", "..", "🖼️", "a/b/c"]
    {
        let stored = files.put(Bytes::from_static(b"x"), "image/png", name).await?;
        assert_eq!(stored.path.as_str().split('/').count(), 3, "{name:?} became {}", stored.path);
        let path = parsed(stored.path.as_str());
        assert_eq!(files.get(&path, None).await?.content_type, "image/png", "{name:?} became {path}");
    }
    Ok(())
}

#[track_caller]
fn parsed(path: &str) -> FilePath {
    match path.parse() {
        Ok(path) => path,
        Err(error) => panic!("{path}: {error}"),
    }
}
