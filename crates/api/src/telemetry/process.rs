//! What the process uses, as the kernel tells it: the usual `process_…` metrics. Where there is no `/proc` there are none.

use std::fs;

/// What `/proc/self/stat` counts processor time in: `USER_HZ`, which Linux shows every program as 100.
const TICKS_PER_SECOND: u64 = 100;

/// Reads the numbers and tells the recorder.
#[expect(clippy::cast_precision_loss, reason = "gauges for people")]
pub(super) fn measure() {
    if let Some(ticks) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(ticks) {
        metrics::counter!("process_cpu_seconds_total").absolute(ticks / TICKS_PER_SECOND);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kibibytes) = field(&status, "VmRSS:") {
        metrics::gauge!("process_resident_memory_bytes").set((kibibytes * 1_024) as f64);
    }
    if let Some(kibibytes) = field(&status, "VmSize:") {
        metrics::gauge!("process_virtual_memory_bytes").set((kibibytes * 1_024) as f64);
    }
    if let Some(threads) = field(&status, "Threads:") {
        metrics::gauge!("process_threads").set(threads as f64);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        metrics::gauge!("process_open_fds").set(open.count() as f64);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(most) = field(&limits, "Max open files") {
        metrics::gauge!("process_max_fds").set(most as f64);
    }
}

/// Time in user and in kernel mode. The name of the program in front may hold anything, so it is read from behind that.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_the_name) = stat.rsplit_once(')')?;
    let mut fields = behind_the_name.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// The first number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "7 (a ) b) S 1 1 1 0 -1 4194560 900 0 3 0 250 31 0 0 20 0 9 0 100 0";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("nothing"), None);
        let status = "Name:\tconvene\nVmSize:\t  2048 kB\nVmRSS:\t    1024 kB\nThreads:\t9\n";
        assert_eq!(field(status, "VmRSS:"), Some(1_024));
        assert_eq!(field(status, "Threads:"), Some(9));
        let limits = "Max open files            1024                 4096                 files\n";
        assert_eq!(field(limits, "Max open files"), Some(1_024));
        assert_eq!(field(limits, "Max locked memory"), None);
    }
}
