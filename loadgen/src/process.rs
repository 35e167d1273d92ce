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
    /// Resident memory now.
    pub(crate) resident_bytes: u64,
    /// Bytes it caused to be written to disks, if that is known.
    pub(crate) written_bytes: Option<u64>,
    /// Bytes it caused to be read from disks, if that is known.
    pub(crate) read_bytes: Option<u64>,
}

impl Usage {
    /// The use of process `pid` (`"self"`: of this one).
    pub(crate) fn of(pid: &str) -> Result<Self, ClientError> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        let parse = || -> io::Result<Self> {
            let status = read("status")?;
            // Only its owner may read this one.
            let disks = read("io").unwrap_or_default();
            Ok(Self {
                cpu_seconds: cpu_seconds(&read("stat")?).ok_or(io::ErrorKind::InvalidData)?,
                resident_bytes_max: field(&status, "VmHWM:").unwrap_or(0) * 1024,
                resident_bytes: field(&status, "VmRSS:").unwrap_or(0) * 1024,
                written_bytes: field(&disks, "write_bytes:"),
                read_bytes: field(&disks, "read_bytes:"),
            })
        };
        parse().map_err(|cause| ClientError::Local { what: format!("cannot look at process {pid}"), cause })
    }
}

/// CPU time that all processes of the host took since it started; `None` if the system does not tell.
pub(crate) fn host_cpu_seconds() -> Option<f64> {
    host_cpu(&fs::read_to_string("/proc/stat").ok()?)
}

/// Of the first line of `/proc/stat`: user, nice, system, idle, waiting for disks, interrupts, soft interrupts.
fn host_cpu(stat: &str) -> Option<f64> {
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let ticks: Vec<u64> = ticks.take(7).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _waiting, interrupts, soft] = ticks[..] else { return None };
    Some((user + nice + system + interrupts + soft) as f64 / TICKS_PER_SECOND)
}

/// How many processors process `pid` may run on; `None` if the system does not tell.
pub(crate) fn allowed_cores(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    count_of_list(list.trim())
}

/// How many numbers are in a list like `0-2,5`.
fn count_of_list(list: &str) -> Option<usize> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (last.parse::<usize>().ok()? + 1).checked_sub(first.parse().ok()?)
    };
    list.split(',').map(count).sum()
}

/// The command line of process `pid`; `None` if the system does not tell.
pub(crate) fn command_line(pid: u32) -> Option<Vec<String>> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = words.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    (!words.is_empty()).then_some(words)
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
    fn the_host_is_busy_with_all_but_idling_and_waiting() {
        let stat = "cpu  100 20 30 4000 500 6 44 7 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(host_cpu(stat), Some(2.0));
        assert_eq!(host_cpu("cpu  1 2 3"), None);
        assert!(host_cpu_seconds().is_some_and(|seconds| seconds > 0.0));
    }

    #[test]
    fn processors_are_counted_in_lists() {
        assert_eq!(count_of_list("0-2,5"), Some(4));
        assert_eq!(count_of_list("3"), Some(1));
        assert_eq!(count_of_list("3-1"), None);
        assert!(allowed_cores(std::process::id()).is_some_and(|cores| cores > 0));
    }

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(field("VmPeak:\t 9 kB\nVmHWM:\t  1234 kB\n", "VmHWM:"), Some(1234));
        assert_eq!(field("", "VmHWM:"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = Usage::of("self").unwrap();
        assert!(usage.resident_bytes > 0 && usage.resident_bytes_max >= usage.resident_bytes);
        assert!(command_line(std::process::id()).is_some_and(|words| words[0].contains("loadgen")));
        assert!(Usage::of("0").is_err());
    }
}
