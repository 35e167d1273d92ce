//! What a process on this machine has used, from `/proc`: the broker's, by `--pid`, and this program's own.

use std::{fs, io};

use crate::client::ClientError;

/// Clock ticks per second in `/proc`: fixed at 100 in what Linux shows to programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Use of a process since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time of all its threads, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Largest resident memory so far, in bytes.
    pub(crate) resident_bytes_max: u64,
    /// Bytes it caused to be written to disks; 0 where `/proc` does not tell.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// The use of process `pid` (`"self"`: of this one).
    pub(crate) fn of(pid: &str) -> Result<Self, ClientError> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        let parse = || -> io::Result<Self> {
            let status = read("status")?;
            Ok(Self {
                cpu_seconds: cpu_seconds(&read("stat")?).ok_or(io::ErrorKind::InvalidData)?,
                resident_bytes_max: field(&status, "VmHWM:").unwrap_or(0) * 1024,
                written_bytes: read("io").ok().and_then(|io| field(&io, "write_bytes:")).unwrap_or(0),
            })
        };
        parse().map_err(|cause| ClientError::Local { what: format!("cannot look at process {pid}"), cause })
    }
}

/// CPU time in the line of `/proc/PID/stat`. The name before it may hold anything, so fields count from its end.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 300 0 0 0 150 50 0 0 20 0 9 0 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(field("VmPeak:\t 9 kB\nVmHWM:\t  1234 kB\n", "VmHWM:"), Some(1234));
        assert_eq!(field("", "VmHWM:"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = Usage::of("self").unwrap();
        assert!(usage.resident_bytes_max > 0);
        assert!(Usage::of("0").is_err());
    }
}
