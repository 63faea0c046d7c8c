//! What a process holds: nothing that faults bring about may stay behind.

use std::fs;

/// What a process holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Open file descriptors.
    pub descriptors: u64,
    /// Memory that is resident, in KiB.
    pub memory_kib: u64,
    /// Connections to PostgreSQL.
    pub connections: u64,
}

/// What a process held before the faults, and holds after them.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Which process.
    pub process: String,
    /// Under load, before the first fault.
    pub before: Holding,
    /// In the end, without load.
    pub after: Holding,
}

/// Pools grow to their size, and clients keep some connections.
const MORE_DESCRIPTORS: u64 = 40;
/// The sizes of a process's pools, with those that listen for notifications.
const MOST_CONNECTIONS: u64 = 16;
const MORE_MEMORY_KIB: u64 = 96 * 1024;

impl Usage {
    /// What it holds too much of.
    #[must_use]
    pub fn excesses(&self) -> Vec<String> {
        let Self { process, before, after } = self;
        let mut excesses = Vec::new();
        let mut most = |what: &str, is: u64, may: u64| {
            if is > may {
                excesses.push(format!("{process} holds {is} {what}, and may hold {may}"));
            }
        };
        most("descriptors", after.descriptors, before.descriptors + MORE_DESCRIPTORS);
        most("KiB of memory", after.memory_kib, before.memory_kib + MORE_MEMORY_KIB);
        most("connections", after.connections, MOST_CONNECTIONS.max(before.connections));
        excesses
    }
}

/// The descriptors and the memory of a process; nothing of one that has ended.
#[must_use]
pub fn of_process(pid: u32) -> Holding {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.split_whitespace().next()?.parse().ok());
    Holding { descriptors, memory_kib: kib.unwrap_or(0), connections: 0 }
}
