//! What the benches share: arguments, clocks, medians, pinning. Benches print, and judge nothing.
#![allow(dead_code)] // each bench uses a part

use std::time::Duration;

/// `--name value` from the command line.
pub(crate) fn argument<T: std::str::FromStr>(name: &str, default: T) -> T {
    let mut arguments =
        std::env::args().skip_while(|argument| argument.strip_prefix("--") != Some(name)).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Pins the calling thread.
pub(crate) fn pin(cpu: usize) {
    assert!(core_affinity::set_for_current(core_affinity::CoreId { id: cpu }), "no core {cpu}");
}

/// The clock of the calling thread's CPU time, which other threads can read.
pub(crate) fn thread_clock() -> libc::clockid_t {
    let mut clock = 0;
    unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
    clock
}

/// CPU time, in seconds, of a thread's clock or of [`libc::CLOCK_PROCESS_CPUTIME_ID`].
pub(crate) fn cpu_seconds(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_secs_f64()
}

/// The middle of several runs.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// `median [least-most]`.
pub(crate) fn range(values: &[f64], digits: usize) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{:.digits$} [{least:.digits$}-{most:.digits$}]", median(values))
}

/// A percentile of sorted nanoseconds, in microseconds.
pub(crate) fn percentile(sorted: &[u64], percent: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    sorted[((sorted.len() - 1) as f64 * percent / 100.0) as usize] as f64 / 1e3
}
