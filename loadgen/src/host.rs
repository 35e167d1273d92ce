//! The machine that loadgen runs on, as far as the system tells.

use std::fs;

use serde::{Deserialize, Serialize};

const UNKNOWN: &str = "unknown";

/// What a run cannot be repeated without.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Host {
    name: String,
    kernel: String,
    cpu_model: String,
    /// That this process may use.
    cores: usize,
    memory_bytes: u64,
}

impl Host {
    pub(crate) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let line = |path| match text(path).trim() {
            "" => UNKNOWN.to_owned(),
            found => found.to_owned(),
        };
        Self {
            name: line("/proc/sys/kernel/hostname"),
            kernel: line("/proc/sys/kernel/osrelease"),
            cpu_model: cpu_model(&text("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_bytes(&text("/proc/meminfo")),
        }
    }
}

/// The first processor's name; architectures name it differently.
fn cpu_model(cpuinfo: &str) -> String {
    let named = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = named("model name").or_else(|| named("Processor")).or_else(|| named("CPU part"));
    model.unwrap_or_else(|| UNKNOWN.to_owned())
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_files_are_read() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: A: CPU\nmodel name\t: B\n"), "A: CPU");
        assert_eq!(cpu_model(""), UNKNOWN);
        assert_eq!(memory_bytes("MemTotal:    1000 kB\nMemFree: 1 kB\n"), 1_024_000);
        let host = Host::read();
        assert!(host.cores > 0 && host.memory_bytes > 1 << 20 && host.kernel != UNKNOWN);
    }
}
