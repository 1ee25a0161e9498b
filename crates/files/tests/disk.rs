//! Files on disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use scumble_files::{Error, FilePath, Files, Result, files_suite};
use tempfile::TempDir;

files_suite!({
    let folder = folder();
    (open(folder.path())?, folder)
});

/// More than what takes the way through the spool.
const LARGE: usize = 300_000;

#[tokio::test]
async fn files_outlive_the_program() -> Result<()> {
    let folder = folder();
    let stored = open(folder.path())?.put(Bytes::from_static(b"kept"), "image/png", "image.png").await?;
    assert_eq!(open(folder.path())?.get(&stored.path, None).await?.bytes().await?, "kept");
    Ok(())
}

#[tokio::test]
async fn a_file_url_is_its_folder() -> Result<()> {
    let folder = folder();
    let by_url = Files::open(&format!("file://{}", folder.path().display()))?;
    let stored = by_url.put(Bytes::from_static(b"same"), "image/png", "image.png").await?;
    assert!(open(folder.path())?.exists(&stored.path).await?);
    Ok(())
}

#[tokio::test]
async fn the_folder_is_made_and_holds_only_complete_files() -> Result<()> {
    let folder = folder();
    let files = open(&folder.path().join("a/b/c"))?;
    let stored = files.put(Bytes::from_static(b"whole"), "image/png", "image.png").await?;
    assert_eq!(files_below(folder.path()), [folder.path().join("a/b/c").join(stored.path.as_str())]);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_stored_leaves_nothing() -> Result<()> {
    // where large files under way should be there is none, and where all files should be neither
    for (blocked, size) in [("aside", LARGE), ("b", LARGE), ("b", 2)] {
        let folder = folder();
        let files = open(folder.path())?;
        let in_the_way = folder.path().join(blocked);
        std::fs::write(&in_the_way, b"").expect("a temporary folder can be written");
        let refused = files.put(vec![0; size].into(), "image/png", "image.png").await;
        assert!(matches!(refused, Err(Error::Storage(_))), "{blocked}, {size} bytes: {refused:?}");
        assert_eq!(files_below(folder.path()), [in_the_way]);
    }
    Ok(())
}

#[tokio::test]
async fn without_a_spool_small_files_are_stored_all_the_same() -> Result<()> {
    let folder = folder();
    let files = open(folder.path())?;
    std::fs::write(folder.path().join("spool"), b"").expect("a temporary folder can be written");
    let stored = put(&files, b"small").await?;
    assert_eq!(read(&files, &stored).await?, "small");
    files.delete(&stored).await?;
    assert!(!files.exists(&stored).await?);
    Ok(())
}

#[tokio::test]
async fn deleting_leaves_no_folders_behind() -> Result<()> {
    let folder = folder();
    let files = open(folder.path())?;
    let stored = files.put(Bytes::from_static(b"gone"), "image/png", "image.png").await?;
    let own_folder = folder.path().join(stored.path.as_str()).parent().map(Path::to_owned);
    files.delete(&stored.path).await?;
    assert!(own_folder.is_some_and(|own| !own.exists()));
    assert!(folder.path().exists());
    Ok(())
}

#[tokio::test]
async fn half_a_file_cannot_be_read() -> Result<()> {
    let folder = folder();
    let files = open(folder.path())?;
    let stored = files.put(Bytes::from_static(b"whole"), "image/png", "image.png").await?;
    // What a crash leaves of a file under way: its aside name, which is not a path.
    let aside = format!("{}#1", stored.path);
    std::fs::write(folder.path().join(&aside), b"ha").expect("the folder of a stored file can be written");
    assert!(aside.parse::<scumble_files::FilePath>().is_err());
    Ok(())
}

#[tokio::test]
async fn sweeping_gets_what_a_crash_left() -> Result<()> {
    let folder = folder();
    let files = open(folder.path())?;
    let stored = files.put(Bytes::from_static(b"kept"), "image/png", "image.png").await?;
    // the names of files under way, which no listing shows
    for under_way in ["aside/0123#1", "aside/4567", "parts/89ab/1.cdef#1"] {
        let path = folder.path().join(under_way);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a temporary folder can be written");
        std::fs::write(path, b"half").expect("a temporary folder can be written");
    }
    // the folder of an upload whose first part is just coming
    let begun = folder.path().join("parts/cdef");
    std::fs::create_dir(&begun).expect("a temporary folder can be written");
    assert_eq!(files.sweep(SystemTime::UNIX_EPOCH).await?, 0);
    assert!(begun.is_dir());
    assert_eq!(files.sweep(SystemTime::now() + Duration::from_secs(60)).await?, 3);
    assert!(!begun.exists());
    assert_eq!(files_below(folder.path()), [folder.path().join(stored.path.as_str())]);
    Ok(())
}

#[tokio::test]
async fn a_stream_without_a_place_is_an_error() -> Result<()> {
    for (blocked, size) in [("b", 10), ("aside", 3_000_000)] {
        let folder = folder();
        let files = open(folder.path())?;
        std::fs::write(folder.path().join(blocked), b"in the way").expect("a temporary folder can be written");
        let path = FilePath::fresh("image.png", "image/png")?;
        let mut file = files.writer(&path, u64::MAX);
        let written = match file.write(vec![0; size].into()).await {
            Ok(()) => file.finish().await.map(drop),
            Err(error) => Err(error),
        };
        assert!(matches!(written, Err(Error::Storage(_))), "{blocked}: {written:?}");
        assert!(!files.exists(&path).await.unwrap_or(false));
    }
    Ok(())
}

#[test]
fn places_that_do_not_work_say_why() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("a temporary folder can be written");
    check_refused(&file.join("below").display().to_string(), "directory");
    check_refused("ftp://host/folder", "ftp:// is not supported");
    #[cfg(not(feature = "s3"))]
    check_refused("s3://bucket/prefix", "feature `s3`");
    #[cfg(feature = "s3")]
    check_refused("s3:///prefix", "no name");
    check_refused("file://relative/path", "three slashes");
    check_refused("file:///a%20b", "percent-encoded");
    check_refused("", "no name");
}

#[tokio::test]
async fn a_folder_that_vanished_is_made_again_or_is_an_error() -> Result<()> {
    let folder = folder();
    let inner = folder.path().join("inner");
    let files = open(&inner)?;
    std::fs::remove_dir_all(&inner).expect("a temporary folder can be removed");
    // In its place stands a file: nothing can be made below it.
    std::fs::write(&inner, b"").expect("a temporary folder can be written");
    let refused = files.put(Bytes::from_static(b"x"), "image/png", "image.png").await;
    assert!(matches!(refused, Err(Error::Storage(_))), "{refused:?}");
    Ok(())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn open(folder: &Path) -> Result<Files> {
    Files::open(&folder.display().to_string())
}

async fn put(files: &Files, bytes: &'static [u8]) -> Result<FilePath> {
    Ok(files.put(Bytes::from_static(bytes), "image/png", "image.png").await?.path)
}

async fn read(files: &Files, path: &FilePath) -> Result<Bytes> {
    files.get(path, None).await?.bytes().await
}

#[track_caller]
fn check_refused(location: &str, why: &str) {
    match Files::open(location) {
        Err(error @ Error::Location { .. }) => assert!(error.to_string().contains(why), "{error}"),
        other => panic!("{location}: {other:?}"),
    }
}

/// All files but those of the spool.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder can be listed");
    let paths = entries.map(|entry| entry.expect("a folder can be listed").path());
    let paths = paths.filter(|path| !path.ends_with("spool"));
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
