//! What adapters need of memory goes with the call that asked for them. Alone in its process, which is what is measured.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use common::{draw, open};
use scumble_engine::Call;
use scumble_engine::adapters::{ControlNet, IpAdapter};
use scumble_testkit::tiny::{self, Variant, adapters, loras};

#[test]
fn a_hundred_calls_with_changing_adapters_leave_memory_as_it_was() {
    let (folder, pipeline) = (tempfile::tempdir().unwrap(), open(Variant::Sd35));
    let path = |name: &str| folder.path().join(name);
    let plain = Call { steps: 1, ..Variant::Sd35.call() };
    let set = loras::sets(Variant::Sd35).remove(0);
    let mut files = set.files.iter();
    let mut lora = |scale| {
        let (dialect, file) = files.next().unwrap();
        vec![file.write(&path(dialect), scale)]
    };
    let controlnet = ControlNet {
        files: adapters::write_controlnet(&path("controlnet")),
        picture: tiny::picture(96, 64),
        scale: 0.7,
        start: 0.0,
        end: 1.0,
    };
    let ip_adapter = IpAdapter {
        files: adapters::write_ip_adapter(&path("ip_adapter")),
        encoder: adapters::write_image_encoder(&path("image_encoder")),
        picture: adapters::followed(),
        mask: None,
        mask_threshold: 0.5,
        scale: 0.6,
    };
    let calls = [
        plain.clone(),
        Call { loras: lora(1.0), ..plain.clone() },
        Call { controlnet: Some(controlnet.clone()), ..plain.clone() },
        Call { loras: lora(0.5), controlnet: Some(controlnet), ..plain.clone() },
        Call { ip_adapter: Some(ip_adapter), ..plain },
    ];
    let rounds = |count: usize| (0..count).for_each(|_| calls.iter().for_each(|call| drop(draw(&*pipeline, call))));
    rounds(10);
    let before = resident();
    rounds(20);
    let grown = resident() as i64 - before as i64;
    eprintln!("{} KiB before a hundred calls, {} KiB more after them", before / 1024, grown / 1024);
    // one held copy of a changed model would be 4 MB, a hundred of them 400
    assert!(grown < 8 << 20, "{grown} bytes more");
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}
