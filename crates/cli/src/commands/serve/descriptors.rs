//! File descriptors: each connection takes one, and so does every file that is open.
//!
//! Many systems give a process 1024 of them until it asks for more, which it may. With too few, accepting fails just
//! when it matters, and so does everything that opens a file.

use scumble_server::listen::ConnectionLimits;

/// What database, files, fetches, makers and the spare room take beside connections.
const OTHERS: usize = 512;

/// Asks for as many descriptors as these connections need. Where there are not that many, fewer connections are taken.
pub(super) fn enough_for(limits: ConnectionLimits) -> ConnectionLimits {
    let wanted = limits.connections.saturating_add(OTHERS);
    let Some(granted) = raise(wanted).filter(|granted| *granted < wanted) else { return limits };
    let fewer = within(limits, granted);
    tracing::warn!(
        "this process may open {granted} files, so it takes {} connections at once and not {}; allow it more (ulimit -n, \
         or LimitNOFILE= of systemd), or set [limits] connections",
        fewer.connections,
        limits.connections
    );
    fewer
}

/// The same for a process with so many descriptors.
fn within(limits: ConnectionLimits, descriptors: usize) -> ConnectionLimits {
    // half of very few is for the rest
    let connections = descriptors.saturating_sub(OTHERS).max(descriptors / 2).clamp(1, limits.connections);
    ConnectionLimits { connections, per_address: limits.per_address.min(connections.div_ceil(2)), ..limits }
}

/// Raises this process's own limit to what is wanted, as far as it may; what the limit is then, `None` where there is
/// none.
#[cfg(unix)]
fn raise(wanted: usize) -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = wanted as u64;
    let now = getrlimit(Resource::Nofile);
    let soft = now.current?;
    if soft >= wanted {
        return usize::try_from(soft).ok();
    }
    let most = now.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let granted = match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: now.maximum }) {
        Ok(()) => most,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            soft
        }
    };
    usize::try_from(granted).ok()
}

#[cfg(not(unix))]
fn raise(_: usize) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_few_descriptors_takes_fewer_connections() {
        let taken = |descriptors| {
            let limits = within(ConnectionLimits::default(), descriptors);
            (limits.connections, limits.per_address)
        };
        assert_eq!(taken(4096), (3584, 1792));
        assert_eq!(taken(1024), (512, 256));
        assert_eq!(taken(256), (128, 64));
        assert_eq!(taken(1), (1, 1));
        assert_eq!(taken(1_000_000), (4096, 2048));
    }
}
