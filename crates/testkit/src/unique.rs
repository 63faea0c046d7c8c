//! Names that no other test uses, and that tell who made them and when.

use std::{
    collections::hash_map::DefaultHasher,
    fmt, fs,
    hash::{Hash, Hasher},
    path::Path,
    process,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A name in lower-case letters, digits and underscores: seconds since 1970, machine, process and
/// a counter. Its length is at most 48.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UniqueName {
    created: u64,
    machine: u32,
    process: u32,
    counter: u64,
}

impl UniqueName {
    pub(crate) fn new() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        Self {
            created: seconds_since_1970(),
            machine: *MACHINE,
            process: process::id(),
            counter: COUNTER.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The inverse of `to_string`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('_');
        let name = Self {
            created: parts.next()?.parse().ok()?,
            machine: u32::from_str_radix(parts.next()?, 16).ok()?,
            process: parts.next()?.parse().ok()?,
            counter: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(name)
    }

    /// Whether its maker can not be using it any more: the process is gone, or, where that can not
    /// be seen from here, it is older than `age`.
    pub(crate) fn is_abandoned_after(&self, age: Duration) -> bool {
        let ours = self.machine == *MACHINE;
        let gone = ours && !Path::new(&format!("/proc/{}", self.process)).exists();
        gone || seconds_since_1970().saturating_sub(self.created) > age.as_secs()
    }
}

impl fmt::Display for UniqueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, machine, process, counter } = self;
        write!(f, "{created}_{machine:08x}_{process}_{counter}")
    }
}

/// The wall clock: leftovers are as old as the server they lie on, whatever clock a test injects.
pub(crate) fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Within one of these, a process number means one process: the host, this boot of it, and the
/// namespace (each container counts its own).
static MACHINE: LazyLock<u32> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    for file in ["/proc/sys/kernel/hostname", "/proc/sys/kernel/random/boot_id"] {
        fs::read(file).unwrap_or_default().hash(&mut hasher);
    }
    fs::read_link("/proc/self/ns/pid").unwrap_or_default().hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).expect("32 bits are left")
});

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_name_reads_back_and_is_never_given_twice() {
        let name = UniqueName::new();
        assert_eq!(UniqueName::parse(&name.to_string()), Some(name));
        assert_ne!(UniqueName::new(), name);
        assert_eq!(UniqueName::parse("template_0123abcd"), None);
    }

    #[test]
    fn a_name_is_abandoned_when_its_process_is_gone_or_it_is_old() {
        let ours = UniqueName::new();
        // Above the largest number that Linux gives to a process (2^22).
        let of_the_dead = UniqueName { process: 5_000_000, ..ours };
        let elsewhere = UniqueName { machine: ours.machine ^ 1, ..of_the_dead };
        let old = UniqueName { created: ours.created - 2 * DAY.as_secs(), ..elsewhere };
        assert!(!ours.is_abandoned_after(DAY));
        assert!(of_the_dead.is_abandoned_after(DAY));
        assert!(!elsewhere.is_abandoned_after(DAY), "its process can not be seen from here");
        assert!(old.is_abandoned_after(DAY));
    }
}
