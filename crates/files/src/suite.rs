//! What every place that keeps files must do, as tests.
//!
//! [`files_suite!`](crate::files_suite) makes one `#[tokio::test]` of each function here.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::TryStreamExt;

use crate::{Error, FilePath, Files, Part, Result};

/// Longer than what any place writes at once.
const LONG: usize = 20_000_000;

/// Runs the suite in the module where it is called. The expression makes a fresh, empty place: a tuple of [`Files`] and
/// whatever has to live as long (`()` if nothing).
#[macro_export]
macro_rules! files_suite {
    ($fresh:expr) => {
        $crate::files_suite!(@each $fresh;
            round_trip, empty_file, equal_names, ranges, bad_ranges, missing, delete_twice, big_in_pieces, clones_share,
            hostile_names, streams, stream_limits, the_first_file_stays, dropped_streams, parts_join, parts_are_told_apart,
            sweeping
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
    let bytes = pattern(3_000_000);
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

/// A file that comes piece by piece is there once it is finished, whole, however it was cut.
pub async fn streams(files: &Files) -> Result<()> {
    let whole = pattern(LONG);
    for (size, cut) in [(0, 1), (10, 3), (3_000_000, 65_537), (LONG, 1_000_000), (LONG, LONG)] {
        let path = FilePath::fresh("stream.png", "image/png")?;
        let mut file = files.writer(&path, LONG as u64);
        let bytes = whole.slice(..size);
        for begin in (0..size).step_by(cut) {
            file.write(bytes.slice(begin..size.min(begin + cut))).await?;
        }
        assert!(!files.exists(&path).await?, "there before it is whole");
        assert_eq!(file.finish().await?, size as u64);
        assert!(files.get(&path, None).await?.bytes().await? == bytes, "{size} bytes cut at {cut} differ");
    }
    Ok(())
}

/// A file may be as long as its limit, and no longer.
pub async fn stream_limits(files: &Files) -> Result<()> {
    for size in [5, LONG] {
        let path = FilePath::fresh("stream.png", "image/png")?;
        let mut fits = files.writer(&path, size as u64);
        fits.write(pattern(size)).await?;
        assert_eq!(fits.finish().await?, size as u64);
        let path = FilePath::fresh("stream.png", "image/png")?;
        let mut long = files.writer(&path, size as u64);
        long.write(pattern(size)).await?;
        let refused = long.write(Bytes::from_static(b"!")).await;
        assert!(matches!(refused, Err(Error::TooLarge { limit }) if limit == size as u64), "{refused:?}");
        drop(long);
        assert!(!files.exists(&path).await?);
    }
    Ok(())
}

/// Whoever brings a file a second time finds the first one.
pub async fn the_first_file_stays(files: &Files) -> Result<()> {
    for (first, second) in [(3, 5), (3, LONG), (LONG, 5), (LONG, LONG - 1)] {
        let path = FilePath::fresh("stream.png", "image/png")?;
        for size in [first, second] {
            let mut file = files.writer(&path, u64::MAX);
            file.write(pattern(size)).await?;
            assert_eq!(file.finish().await?, first as u64);
        }
        assert!(files.get(&path, None).await?.bytes().await? == pattern(first), "{first} then {second}");
    }
    Ok(())
}

/// A file that is given up midway was never there, and its path is free.
pub async fn dropped_streams(files: &Files) -> Result<()> {
    let path = FilePath::fresh("stream.png", "image/png")?;
    let mut file = files.writer(&path, u64::MAX);
    file.write(pattern(LONG)).await?;
    drop(file);
    assert!(!files.exists(&path).await?);
    let mut file = files.writer(&path, u64::MAX);
    file.write(Bytes::from_static(b"again")).await?;
    file.finish().await?;
    assert_eq!(files.get(&path, None).await?.bytes().await?, "again");
    Ok(())
}

/// Parts come in any order and are joined in the one that is asked for; then they can go.
pub async fn parts_join(files: &Files) -> Result<()> {
    let (path, other) = (FilePath::fresh("film.mp4", "video/mp4")?, FilePath::fresh("film.mp4", "video/mp4")?);
    let whole = pattern(LONG);
    let three = part(files, &path, 3, whole.slice(12_000_000..)).await?;
    let one = part(files, &path, 1, whole.slice(..3)).await?;
    let two = part(files, &path, 2, whole.slice(3..12_000_000)).await?;
    let empty = part(files, &path, 10_000, Bytes::new()).await?;
    let others = part(files, &other, 1, Bytes::from_static(b"other")).await?;
    let mut stored = files.parts(&path).await?;
    stored.sort_by_key(|part| part.number);
    assert_eq!(stored, [one, two, three, empty]);
    assert!(!files.exists(&path).await?);
    for _ in 0..2 {
        assert_eq!(files.join(&path, &stored).await?, LONG as u64);
        assert!(files.get(&path, None).await?.bytes().await? == whole, "the joined file differs");
    }
    files.forget_parts(&path).await?;
    files.forget_parts(&path).await?;
    assert_eq!(files.parts(&path).await?, []);
    assert_eq!(files.parts(&other).await?, [others]);
    let path = FilePath::fresh("film.mp4", "video/mp4")?;
    assert!(matches!(files.join(&path, &stored).await, Err(Error::NotFound(_))));
    assert!(!files.exists(&path).await?);
    Ok(())
}

/// Parts of one number are different parts; a longer one than allowed is none.
pub async fn parts_are_told_apart(files: &Files) -> Result<()> {
    let path = FilePath::fresh("film.mp4", "video/mp4")?;
    let (one, again) =
        tokio::join!(part(files, &path, 1, Bytes::from_static(b"one")), part(files, &path, 1, pattern(3_000_000)));
    let (one, again) = (one?, again?);
    assert_ne!(one.tag, again.tag);
    let mut long = files.part_writer(&path, 2, 4)?;
    assert!(matches!(long.writer().write(Bytes::from_static(b"12345")).await, Err(Error::TooLarge { limit: 4 })));
    drop(long);
    let mut stored = files.parts(&path).await?;
    stored.sort_by_key(|part| part.bytes);
    assert_eq!(stored, [one.clone(), again]);
    assert_eq!(files.join(&path, &[one]).await?, 3);
    Ok(())
}

/// Sweeping removes old parts, and neither young ones nor files.
pub async fn sweeping(files: &Files) -> Result<()> {
    let path = FilePath::fresh("film.mp4", "video/mp4")?;
    let kept = files.put(Bytes::from_static(b"kept"), "image/png", "image.png").await?;
    for number in 1..=3 {
        part(files, &path, number, Bytes::from_static(b"part")).await?;
    }
    assert_eq!(files.sweep(SystemTime::UNIX_EPOCH).await?, 0);
    assert_eq!(files.parts(&path).await?.len(), 3);
    assert_eq!(files.sweep(SystemTime::now() + Duration::from_secs(3600)).await?, 3);
    assert_eq!(files.parts(&path).await?, []);
    assert!(files.exists(&kept.path).await?);
    part(files, &path, 1, Bytes::from_static(b"part")).await?;
    assert_eq!(files.parts(&path).await?.len(), 1);
    Ok(())
}

async fn part(files: &Files, path: &FilePath, number: u32, bytes: Bytes) -> Result<Part> {
    let mut part = files.part_writer(path, number, u64::MAX)?;
    part.writer().write(bytes).await?;
    part.finish().await
}

/// Bytes that tell where they are.
fn pattern(size: usize) -> Bytes {
    (0..size).map(|i| (i % 251) as u8 ^ (i >> 16) as u8).collect()
}

#[track_caller]
fn parsed(path: &str) -> FilePath {
    match path.parse() {
        Ok(path) => path,
        Err(error) => panic!("{path}: {error}"),
    }
}
