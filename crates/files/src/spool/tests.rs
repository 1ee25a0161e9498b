use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use super::segment::SEGMENT_BYTES;
use super::system::MANY;
use super::*;

/// A folder of files with a spool, whose flushes are counted and can be made to fail.
struct Bench {
    folder: TempDir,
    spool: Spool,
    flushes: Arc<AtomicUsize>,
    /// Of the whole file system.
    whole: Arc<AtomicUsize>,
    disk: Arc<Disk>,
}

/// A disk that can be made to take its time, or to break.
#[derive(Default)]
struct Disk {
    broken: AtomicBool,
    /// Held while it is not to flush.
    busy: Mutex<()>,
}

impl Disk {
    fn flush(&self, count: &AtomicUsize) -> io::Result<()> {
        count.fetch_add(1, Ordering::SeqCst);
        let _free = self.busy.lock().expect("nobody panics with it");
        if self.broken.load(Ordering::SeqCst) { Err(io::Error::other("it burns")) } else { Ok(()) }
    }
}

impl Bench {
    /// Nothing is settled before it has to be.
    fn new() -> Self {
        Self::with(Duration::from_secs(3_600))
    }

    fn with(quiet: Duration) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (flushes, whole, disk) =
            (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::<Disk>::default());
        let (count, device) = (flushes.clone(), disk.clone());
        let flush = move |_: &File| device.flush(&count);
        let (count, device) = (whole.clone(), disk.clone());
        let flush_all = move || device.flush(&count);
        let spool = Spool::open_with(
            folder.path(),
            quiet,
            Box::new(flush),
            Some(System::with(Box::new(flush_all), Duration::MAX)),
        );
        Self { folder, spool: spool.expect("a spool"), flushes, whole, disk }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn put(&self, bytes: &[u8]) -> FilePath {
        let path = FilePath::fresh("image.png", "image/png").expect("random numbers");
        self.spool.put(&path, bytes).expect("room");
        path
    }

    /// Waits until the settler has nothing to do.
    fn idle(&self) {
        while !matches!(self.spool.shared.lock().other, Other::Clear(_)) {
            thread::yield_now();
        }
    }

    /// What is left when the power goes: the segments, which are flushed, and of the files whatever `lose` leaves.
    fn power_cut(self, lose: impl FnOnce(&Path)) -> TempDir {
        let Self { folder, spool, .. } = self;
        let after = TempDir::new().expect("a folder");
        let copied = after.path().join(SPOOL);
        fs::create_dir(&copied).expect("a folder");
        for segment in fs::read_dir(folder.path().join(SPOOL)).expect("segments") {
            let segment = segment.expect("a segment");
            fs::copy(segment.path(), copied.join(segment.file_name())).expect("a copy");
        }
        copy_files(folder.path(), after.path());
        drop(spool);
        lose(after.path());
        after
    }
}

fn copy_files(from: &Path, to: &Path) {
    for folder in fs::read_dir(from.join("b")).into_iter().flatten() {
        let folder = folder.expect("a folder");
        let target = to.join("b").join(folder.file_name());
        fs::create_dir_all(&target).expect("a folder");
        for file in fs::read_dir(folder.path()).expect("a file") {
            let file = file.expect("a file");
            fs::copy(file.path(), target.join(file.file_name())).expect("a copy");
        }
    }
}

fn lose_everything(root: &Path) {
    fs::remove_dir_all(root.join("b")).expect("files");
}

#[track_caller]
fn check_there(root: &Path, path: &FilePath, bytes: &[u8]) {
    assert_eq!(fs::read(root.join(path.as_str())).expect("the file"), bytes);
}

fn segments(root: &Path) -> usize {
    fs::read_dir(root.join(SPOOL)).expect("segments").count()
}

#[test]
fn files_come_back_after_a_power_cut() {
    let bench = Bench::new();
    let (one, two, empty) = (bench.put(b"one"), bench.put(&vec![7; SMALL_BYTES]), bench.put(b""));
    let after = bench.power_cut(lose_everything);
    recover(after.path()).expect("room");
    check_there(after.path(), &one, b"one");
    check_there(after.path(), &two, &vec![7; SMALL_BYTES]);
    check_there(after.path(), &empty, b"");
    assert_eq!(segments(after.path()), 0);
    // and nothing is left to do
    recover(after.path()).expect("room");
}

#[test]
fn files_that_are_short_or_wrong_are_written_anew() {
    let bench = Bench::new();
    let (short, wrong, whole) = (bench.put(b"short"), bench.put(b"wrong"), bench.put(b"whole"));
    let after = bench.power_cut(|root| {
        fs::write(root.join(short.as_str()), b"").expect("a file");
        fs::write(root.join(wrong.as_str()), b"\0\0\0\0\0").expect("a file");
    });
    recover(after.path()).expect("room");
    for (path, bytes) in [(&short, b"short"), (&wrong, b"wrong"), (&whole, b"whole")] {
        check_there(after.path(), path, bytes);
    }
}

#[test]
fn deleted_files_stay_away() {
    let bench = Bench::new();
    let (gone, stays) = (bench.put(b"gone"), bench.put(b"stays"));
    assert!(bench.spool.remembers(&gone));
    disk::unwrite(bench.root(), &gone);
    bench.spool.forget(&gone).expect("room");
    assert!(!bench.spool.remembers(&gone) && bench.spool.remembers(&stays));
    // its name may come back, because its end was not flushed
    let after = bench.power_cut(|root| disk::write(root, &gone, b"").expect("a file"));
    recover(after.path()).expect("room");
    assert!(!after.path().join(gone.as_str()).exists());
    check_there(after.path(), &stays, b"stays");
}

#[test]
fn a_torn_record_ends_the_segment() {
    let bench = Bench::new();
    let (whole, torn) = (bench.put(b"whole"), bench.put(b"torn, alas"));
    let after = bench.power_cut(|root| {
        lose_everything(root);
        for segment in fs::read_dir(root.join(SPOOL)).expect("segments") {
            let segment = segment.expect("a segment").path();
            let mut bytes = fs::read(&segment).expect("a segment");
            if let Some(at) = bytes.windows(4).position(|four| four == b"alas") {
                bytes[at] ^= 1;
            }
            fs::write(segment, bytes).expect("a segment");
        }
    });
    recover(after.path()).expect("room");
    check_there(after.path(), &whole, b"whole");
    assert!(!after.path().join(torn.as_str()).exists());
}

#[test]
fn segments_take_turns_and_forget() {
    let bench = Bench::new();
    let big = vec![1; SMALL_BYTES];
    let rounds = 5 * SEGMENT_BYTES as usize / SMALL_BYTES;
    let files: Vec<FilePath> = (0..rounds).map(|_| bench.put(&big)).collect();
    assert_eq!(segments(bench.root()), 2);
    bench.idle();
    // the early ones are settled: no power cut takes them, and the spool knows nothing of them
    let (fresh, settled): (Vec<_>, Vec<_>) = files.iter().partition(|path| bench.spool.remembers(path));
    assert!(!fresh.is_empty() && settled.len() > fresh.len());
    let after = bench.power_cut(|root| fresh.iter().for_each(|path| disk::unwrite(root, path)));
    recover(after.path()).expect("room");
    for path in &files {
        check_there(after.path(), path, &big);
    }
}

#[test]
fn many_files_are_flushed_with_everything_and_one_by_one_if_that_fails() {
    for (files, broken, whole) in [(MANY - 1, false, 0), (MANY, false, 1), (MANY, true, 1)] {
        let bench = Bench::new();
        let files: Vec<FilePath> = (0..files).map(|_| bench.put(b"small")).collect();
        bench.disk.broken.store(broken, Ordering::SeqCst);
        assert!(bench.spool.shared.lock().change_segments());
        bench.spool.shared.work.notify_one();
        bench.idle();
        assert_eq!(bench.whole.load(Ordering::SeqCst), whole);
        assert!(!bench.spool.is_broken() && !files.iter().any(|path| bench.spool.remembers(path)));
    }
}

#[test]
fn what_nobody_adds_to_is_settled() {
    let bench = Bench::with(Duration::ZERO);
    for round in 0..3 {
        let path = bench.put(b"small");
        while bench.spool.remembers(&path) {
            thread::yield_now();
        }
        assert_eq!(segments(bench.root()), 2, "round {round}");
        disk::unwrite(bench.root(), &path);
    }
    // what was deleted afterwards does not come back
    let after = bench.power_cut(|_| {});
    recover(after.path()).expect("room");
    assert!(fs::read_dir(after.path().join("b")).is_err());
}

#[test]
fn those_who_come_together_share_flushes() {
    let bench = Bench::new();
    let busy = bench.disk.busy.lock().expect("nobody panics with it");
    thread::scope(|scope| {
        let writers: Vec<_> = (0..32).map(|_| scope.spawn(|| bench.put(b"small"))).collect();
        // the first one flushes, the others wait for room behind it
        while bench.spool.shared.lock().appended < 32 {
            thread::yield_now();
        }
        assert!(writers.iter().all(|writer| !writer.is_finished()));
        drop(busy);
    });
    // those whom the first one had picked up, and all others
    assert!((1..=2).contains(&bench.flushes.load(Ordering::SeqCst)), "{:?}", bench.flushes);
}

#[test]
fn after_a_failed_flush_it_takes_nothing() {
    let bench = Bench::new();
    let before = bench.put(b"before");
    bench.disk.broken.store(true, Ordering::SeqCst);
    let path = FilePath::fresh("image.png", "image/png").expect("random numbers");
    bench.spool.put(&path, b"lost").expect_err("a flush that fails");
    assert!(!bench.root().join(path.as_str()).exists());
    bench.disk.broken.store(false, Ordering::SeqCst);
    assert!(bench.spool.is_broken());
    bench.spool.put(&path, b"lost").expect_err("a broken spool");
    let after = bench.power_cut(lose_everything);
    recover(after.path()).expect("room");
    check_there(after.path(), &before, b"before");
}

#[test]
fn nobody_waits_for_room_in_a_broken_spool() {
    let bench = Bench::new();
    let big = vec![1; SMALL_BYTES];
    let path = FilePath::fresh("image.png", "image/png").expect("random numbers");
    while bench.spool.shared.lock().current.has_room(&path, Record::Stored(&big)) {
        bench.put(&big);
    }
    bench.spool.shared.lock().broken = true;
    bench.spool.put(&path, &big).expect_err("a broken spool");
}

#[test]
fn a_segment_that_is_gone_is_somebody_elses() {
    let folder = TempDir::new().expect("a folder");
    let gone = folder.path().join("0123");
    assert!(segment::Abandoned::take(gone.clone()).expect("no error").is_none());
    fs::write(&gone, b"").expect("a file");
    let taken = segment::Abandoned::take(gone.clone()).expect("no error").expect("nobody has it");
    assert!(segment::Abandoned::take(gone.clone()).expect("no error").is_none());
    fs::remove_file(&gone).expect("a file");
    taken.delete().expect("it is gone already");
}

#[test]
fn a_spool_in_use_is_left_alone_and_a_closed_one_leaves_nothing() {
    let bench = Bench::new();
    let path = bench.put(b"here");
    recover(bench.root()).expect("room");
    assert_eq!(segments(bench.root()), 2);
    let Bench { folder, spool, .. } = bench;
    drop(spool);
    // the settler ends by itself
    while segments(folder.path()) > 0 {
        thread::yield_now();
    }
    check_there(folder.path(), &path, b"here");
}
