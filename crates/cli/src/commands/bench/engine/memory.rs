//! What this process holds of the machine's memory.

use serde::Serialize;

/// Bytes at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// In memory now, files that are mapped included.
    pub(super) resident: u64,
    /// The part of it that is files, which the system may drop and read again.
    pub(super) files: u64,
    /// The most that was in memory so far.
    pub(super) peak: u64,
}

impl Memory {
    /// As the system says it; `None` where it does not.
    pub(super) fn now() -> Option<Self> {
        Self::of(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    fn of(status: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { resident: bytes("VmRSS")?, files: bytes("RssFile")?, peak: bytes("VmHWM")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_read() {
        let status = "Name:\tscumble\nVmHWM:\t    300 kB\nVmRSS:\t    200 kB\nRssAnon:\t 80 kB\nRssFile:\t 120 kB\n";
        let expected = Memory { resident: 200 * 1024, files: 120 * 1024, peak: 300 * 1024 };
        assert_eq!(Memory::of(status), Some(expected));
        assert_eq!(Memory::of("VmRSS: 1 kB\nVmHWM: much\n"), None);
    }
}
