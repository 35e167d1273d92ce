//! What the system knows of this process, from `/proc`.

use std::fs;

/// Ticks a second of the times in `/proc/self/stat`: `USER_HZ`, the same on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process as the system sees it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) threads: u64,
    pub(super) resident_bytes: u64,
    pub(super) virtual_bytes: u64,
    pub(super) open_files: u64,
    pub(super) open_files_max: u64,
    /// Seconds since 1970.
    pub(super) started_at: f64,
}

/// The process now; what cannot be read is 0.
pub(super) fn read() -> Process {
    let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let open_files = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut process = Process { open_files, ..Process::default() };
    process.take_stat(&text("stat"), boot_time(&boot));
    process.take_status(&text("status"));
    process.open_files_max = limit(&text("limits"), "Max open files");
    process
}

impl Process {
    fn take_stat(&mut self, stat: &str, boot: f64) {
        // The name of the process may hold spaces and parentheses; what follows the last one is numbers.
        let Some((_, rest)) = stat.rsplit_once(')') else { return };
        let fields: Vec<f64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        // Numbered from the state, which is field 3 of proc(5).
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
        self.cpu_seconds = (field(14) + field(15)) / TICKS_PER_SECOND;
        self.threads = field(20) as u64;
        self.started_at = boot + field(22) / TICKS_PER_SECOND;
    }

    fn take_status(&mut self, status: &str) {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        self.resident_bytes = bytes("VmRSS");
        self.virtual_bytes = bytes("VmSize");
    }
}

fn boot_time(stat: &str) -> f64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0.0)
}

/// The soft limit in a line of `/proc/self/limits`; 0 when there is none.
fn limit(limits: &str, name: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_stand_behind_a_name_that_may_be_anything() {
        let mut process = Process::default();
        let numbers = (4..=52).map(|field| (field * 100).to_string()).collect::<Vec<_>>().join(" ");
        process.take_stat(&format!("7 (a ) b) S {numbers}"), 1_000.0);
        assert_eq!((process.cpu_seconds, process.threads, process.started_at), (29.0, 2_000, 1_022.0));
        assert_eq!(
            limit("Max open files            1024                 4096  files\n", "Max open files"),
            1024
        );
    }

    #[test]
    fn this_process_has_memory_threads_and_files() {
        let process = read();
        assert!(process.resident_bytes > 0 && process.virtual_bytes >= process.resident_bytes);
        assert!(
            process.threads > 0 && process.open_files > 0 && process.open_files_max >= process.open_files
        );
        assert!(process.started_at > 1_500_000_000.0, "{process:?}");
    }
}
