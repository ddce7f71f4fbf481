//! What the operating system knows of this process.

use std::time::{Duration, SystemTime};

/// The process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    started: SystemTime,
}

impl Process {
    /// As of now.
    pub(super) fn started() -> Self {
        Self { started: SystemTime::now() }
    }

    /// Seconds from the epoch to the start.
    pub(super) fn start_time_seconds(&self) -> f64 {
        self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
    }

    /// Bytes of memory that are really used; `None` where the system does not tell in this form.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        resident_bytes_of(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    /// How many files and sockets are open.
    pub(super) fn open_fds(&self) -> Option<u64> {
        let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
        // The listing itself holds one.
        u64::try_from(count).ok().map(|n| n.saturating_sub(1))
    }

    /// Processor time so far, user and system.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        crate::os::cpu_time().ok().map(|time| time.as_secs_f64())
    }
}

/// `VmRSS` of a `/proc/PID/status`.
fn resident_bytes_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status_file() {
        let status = "Name:\thighwater\nVmPeak:\t  999 kB\nVmRSS:\t   15360 kB\nThreads:\t7\n";
        assert_eq!(resident_bytes_of(status), Some(15 << 20));
        assert_eq!(resident_bytes_of("Name:\tkthread\n"), None);
    }
}
