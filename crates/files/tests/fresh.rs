//! Small files that somebody else keeps before they are in their folder.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::{fs, io};

use bytes::Bytes;
use scumble_files::{Error, FilePath, Files, Fresh, FreshError, Result, Settler};
use tempfile::TempDir;

const SMALL: &[u8] = b"a small picture";

/// Keeps bytes in memory, and may refuse to give them.
#[derive(Default)]
struct Kept {
    files: Mutex<HashMap<FilePath, Bytes>>,
    refuses: bool,
}

impl Fresh for Kept {
    fn bytes<'a>(
        &'a self,
        path: &'a FilePath,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Bytes>, FreshError>> + Send + 'a>> {
        Box::pin(async {
            if self.refuses {
                return Err(io::Error::other("it sleeps").into());
            }
            Ok(self.files.lock().expect("nobody panics with it").get(path).cloned())
        })
    }
}

struct Bench {
    folder: TempDir,
    kept: Arc<Kept>,
    files: Files,
    settler: Settler,
}

impl Bench {
    fn new() -> Self {
        let (folder, kept) = (TempDir::new().expect("a temporary folder"), Arc::<Kept>::default());
        let files = open(folder.path()).with_fresh(kept.clone());
        let settler = files.settler().expect("a folder for files").expect("files are fresh in folders");
        Self { folder, kept, files, settler }
    }

    /// A small file that is kept.
    fn fresh(&self) -> FilePath {
        let file = self.files.fresh(SMALL, "image/png", "../image.png").expect("a path").expect("it is small");
        assert_eq!((file.bytes, file.path.name()), (SMALL.len() as u64, "image.png"));
        self.kept.files.lock().expect("nobody panics with it").insert(file.path.clone(), SMALL.into());
        file.path
    }

    fn on_disk(&self, path: &FilePath) -> std::path::PathBuf {
        self.folder.path().join(path.as_str())
    }
}

fn open(folder: &Path) -> Files {
    Files::open(folder.to_str().expect("a UTF-8 path")).expect("a folder for files")
}

#[tokio::test]
async fn a_fresh_file_is_read_as_any_other() -> Result<()> {
    let bench = Bench::new();
    let path = bench.fresh();
    assert!(!bench.on_disk(&path).exists());
    let check = async || {
        assert_eq!(bench.files.size(&path).await?, Some(SMALL.len() as u64));
        assert!(bench.files.exists(&path).await?);
        assert!(bench.files.data_uri(&path).await?.starts_with("data:image/png;base64,"));
        for (range, expected) in [(None, SMALL), (Some(2..7), b"small".as_slice()), (Some(8..u64::MAX), b"picture")] {
            let body = bench.files.get(&path, range).await?;
            assert_eq!((body.size, body.content_type), (SMALL.len() as u64, "image/png"));
            assert_eq!(body.range.end - body.range.start, expected.len() as u64);
            assert_eq!(body.bytes().await?, expected);
        }
        for outside in [SMALL.len() as u64..99, 3..3] {
            let refused = bench.files.get(&path, Some(outside)).await.map(|_| ());
            assert!(matches!(refused, Err(Error::BadRange { size: 15, .. })), "{refused:?}");
        }
        Ok::<_, Error>(())
    };
    check().await?;
    bench.settler.settle(vec![(path.clone(), SMALL.to_vec())]).await?;
    bench.kept.files.lock().expect("nobody panics with it").clear();
    assert_eq!(fs::read(bench.on_disk(&path)).expect("it is there"), SMALL);
    check().await?;
    bench.files.delete(&path).await?;
    assert!(matches!(bench.files.get(&path, None).await, Err(Error::NotFound(_))));
    assert_eq!(bench.files.size(&path).await?, None);
    Ok(())
}

#[tokio::test]
async fn only_small_files_in_folders_are_fresh() -> Result<()> {
    let bench = Bench::new();
    assert_eq!(bench.files.fresh(&[0; 300_000], "image/png", "image.png")?, None);
    // with nobody who keeps them, or no folder to get into
    let memory = Files::open("memory:")?.with_fresh(bench.kept.clone());
    for files in [open(bench.folder.path()), memory] {
        assert_eq!(files.fresh(SMALL, "image/png", "image.png")?, None);
        assert!(files.settler()?.is_none());
    }
    Ok(())
}

#[tokio::test]
async fn whatever_a_power_cut_left_is_written_anew() -> Result<()> {
    let bench = Bench::new();
    let paths: Vec<FilePath> = (0..100).map(|_| bench.fresh()).collect();
    let all = || paths.iter().map(|path| (path.clone(), SMALL.to_vec())).collect::<Vec<_>>();
    bench.settler.settle(all()).await?;
    fs::remove_file(bench.on_disk(&paths[1])).expect("it is there");
    fs::remove_dir_all(bench.on_disk(&paths[2]).parent().expect("a folder of its own")).expect("it is there");
    fs::write(bench.on_disk(&paths[3]), b"a small\0\0\0\0").expect("it can be written");
    bench.settler.settle(all()).await?;
    for path in &paths {
        assert_eq!(fs::read(bench.on_disk(path)).expect("it is there"), SMALL);
    }
    assert_eq!(fs::read_dir(bench.folder.path().join("aside")).map_or(0, Iterator::count), 0);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_or_settled_says_so() -> Result<()> {
    let folder = TempDir::new().expect("a temporary folder");
    let files = open(folder.path()).with_fresh(Arc::new(Kept { refuses: true, ..Kept::default() }));
    let path = files.fresh(SMALL, "image/png", "image.png")?.expect("it is small").path;
    let refused = files.get(&path, None).await.map(|_| ());
    assert!(matches!(refused, Err(Error::Storage(_))), "{refused:?}");

    let settler = files.settler()?.expect("files are fresh in folders");
    fs::remove_dir(folder.path().join("b")).expect("it is empty");
    fs::write(folder.path().join("b"), b"in the way").expect("a temporary folder can be written");
    let refused = settler.settle(vec![(path, SMALL.to_vec())]).await;
    assert!(matches!(refused, Err(Error::Disk(_))), "{refused:?}");
    assert_eq!(fs::read_dir(folder.path().join("aside")).map_or(0, Iterator::count), 0, "nothing is left of it");
    assert!(matches!(files.settler(), Err(Error::Disk(_))));
    // what cannot get into its folder must not pile up
    assert_eq!(files.fresh(SMALL, "image/png", "image.png")?, None);
    fs::remove_file(folder.path().join("b")).expect("it is there");
    settler.settle(Vec::new()).await?;
    assert!(files.fresh(SMALL, "image/png", "image.png")?.is_some());
    Ok(())
}
