//! What a call is said to take beside the weights is not more than it takes, and of its order. Alone in its process, which is
//! what is measured.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{draw, open_in};
use scumble_engine::{Call, DType};
use scumble_testkit::tiny::{self, Variant};

#[test]
fn what_a_call_takes_is_known_before_it_is_drawn() {
    // tensors so large that their memory goes back to the system at once: what is held then is what is used
    for (variant, (width, height), images) in [
        (Variant::Schnell, (1024, 1024), 1),
        (Variant::Schnell, (1408, 1024), 2),
        (Variant::Sd35, (1024, 1024), 1),
        (Variant::AuraFlow, (1024, 1024), 1),
        (Variant::FLite, (1024, 1024), 1),
        (Variant::OmniGen2, (1024, 1024), 1),
    ] {
        let folder = tiny::of(variant).side(64).tempdir();
        let pipeline = open_in(folder.path(), Some(DType::F32)).unwrap();
        let call = Call { width, height, images, steps: 1, ..variant.call() };
        let said = pipeline.working(&call).unwrap();
        let held = most_held(|| drop(draw(&*pipeline, &call)));
        let share = held as f64 / said as f64;
        eprintln!("{variant:?} {width}x{height}, {images}: {held} bytes, said to be {said} at the least: {share:.2}");
        assert!((1.0..4.0).contains(&share), "{variant:?} {width}x{height}, {images}: {held} bytes of {said}");
    }
}

/// Bytes that this process holds more while this is done than before.
fn most_held(work: impl FnOnce()) -> u64 {
    let (stop, stopped) = mpsc::channel::<()>();
    let before = resident();
    let look = std::thread::spawn(move || {
        let mut most = 0;
        while stopped.recv_timeout(Duration::from_micros(200)) == Err(mpsc::RecvTimeoutError::Timeout) {
            most = most.max(resident());
        }
        most
    });
    work();
    drop(stop);
    look.join().unwrap().saturating_sub(before)
}

/// Bytes of this process in memory that no file backs.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    of("VmRSS:") - of("RssFile:")
}
