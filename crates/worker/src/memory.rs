//! How much memory this process may have.

use std::path::Path;

use scumble_engine::Device;

/// A share of the machine's memory, in hundredths, that weights may take: the rest is for what they compute and for others.
const OF_MACHINE: u64 = 70;

/// The same of what an owner gives to models.
const OF_BUDGET: u64 = 85;

/// What weights may take of what the owner gives to models, or of the machine's; `None` where nobody says how much there is.
fn for_weights(owner: Option<u64>) -> Option<u64> {
    owner.map(share).or_else(|| total().map(|bytes| bytes / 100 * OF_MACHINE))
}

/// What weights may take of this much: the rest is for what is computed with them.
pub(crate) fn share(bytes: u64) -> u64 {
    bytes / 100 * OF_BUDGET
}

/// What weights may take of a device, and what they may take together with what is computed with them: of what the owner gives,
/// or else of the machine's memory, or of what is free now where a device has its own; `None` where nobody says.
pub(crate) fn of_device(device: &Device, owner: Option<u64>) -> (Option<u64>, Option<u64>) {
    if device.is_cpu() {
        return (for_weights(owner), owner.or_else(total));
    }
    let whole = owner.or_else(|| scumble_engine::memory(device).map(|memory| memory.free));
    (whole.map(share), whole)
}

/// Whether weights of so many bytes leave room enough in this much memory; not where nobody knows how much there is.
pub fn has_room(bytes: u64, memory: Option<u64>) -> bool {
    memory.is_some_and(|memory| bytes <= memory / 100 * OF_MACHINE)
}

/// Bytes of memory that this process may have: the machine's, or what its control group may have of it; `None` where the
/// system does not say.
pub fn total() -> Option<u64> {
    let machine = of_machine(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok();
    let limit = own.and_then(|own| of_group(&own, Path::new("/sys/fs/cgroup")));
    Some(limit.map_or(machine, |limit| limit.min(machine)))
}

/// `MemTotal` of `/proc/meminfo`.
fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest limit on the way from this process's group up to the root of all groups (version 2).
fn of_group(own: &str, root: &Path) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = |group: &Path| std::fs::read_to_string(group.join("memory.max")).ok()?.trim().parse::<u64>().ok();
    let groups = Path::new(path).ancestors().map(|group| root.join(group));
    groups.filter_map(|group| limit(&group)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_counts() {
        assert_eq!(of_machine("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16384));
        assert_eq!(of_machine("MemTotal: much"), None);
        let root = tempfile::tempdir().expect("a folder");
        let write = |group: &str, limit: &str| {
            let group = root.path().join(group);
            std::fs::create_dir_all(&group).expect("a folder");
            std::fs::write(group.join("memory.max"), limit).expect("a file");
        };
        write("", "max\n");
        write("a", "5000\n");
        write("a/b", "9000\n");
        assert_eq!(of_group("0::/a/b\n", root.path()), Some(5000));
        assert_eq!(of_group("0::/c\n", root.path()), None);
        assert_eq!(of_group("4:memory:/a\n", root.path()), None, "version 1 is not asked");
    }
}
