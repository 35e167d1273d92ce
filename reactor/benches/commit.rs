//! Durable 4 KiB writes: the reactor beside a plain ring loop, run by run in turn.
//!
//! Each commit is an `O_DIRECT` write into a file of real zeros and an fdatasync linked behind it. Both sides run on core 0
//! and start the next commit when one is done, so many at a time as the depth says.
//! `cargo bench -p reactor --bench commit -- --runs 5 --seconds 1 --dir .` prints medians and ranges of commits per second,
//! latency, CPU time of the reactor's thread and of the process (kernel workers included) per commit, and the reactor's
//! share of the raw loop's rate.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)] // a measuring tool

mod raw;
mod support;

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use io_uring::{opcode, squeue, types};
use reactor::{Builder, File, Priority, SyncMethod};
use support::{argument, cpu_seconds, median, percentile, pin, range, thread_clock};

const BLOCK: usize = 4096;
const FILE_BYTES: u64 = 64 << 20;

struct Run {
    commits_per_second: f64,
    thread_us: f64,
    process_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Time and CPU time since the start of a run.
struct Meter {
    start: Instant,
    thread: f64,
    process: f64,
}

impl Meter {
    fn new() -> Self {
        let process = cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID);
        Self { start: Instant::now(), thread: cpu_seconds(thread_clock()), process }
    }

    fn run(&self, mut latencies: Vec<u64>) -> Run {
        latencies.sort_unstable();
        let count = latencies.len() as f64;
        Run {
            commits_per_second: count / self.start.elapsed().as_secs_f64(),
            thread_us: (cpu_seconds(thread_clock()) - self.thread) * 1e6 / count,
            process_us: (cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID) - self.process) * 1e6 / count,
            p50_us: percentile(&latencies, 50.0),
            p99_us: percentile(&latencies, 99.0),
        }
    }
}

fn on_core_0<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let body = || {
        pin(0);
        run()
    };
    std::thread::spawn(body).join().unwrap()
}

fn raw_run(path: &Path, depth: usize, time: Duration) -> Run {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path).unwrap();
    let target = types::Fd(file.as_raw_fd());
    let mut ring = raw::ring(256);
    let buffer = raw::memory(BLOCK);
    let mut started = vec![Instant::now(); depth];
    let mut written = vec![false; depth];
    let mut position = 0;
    let mut latencies = Vec::new();
    let meter = Meter::new();
    let mut start = |ring: &mut io_uring::IoUring, slot: usize| {
        let write = opcode::Write::new(target, buffer, BLOCK as u32)
            .offset(position)
            .build()
            .flags(squeue::Flags::IO_LINK)
            .user_data(slot as u64);
        let sync = opcode::Fsync::new(target).flags(types::FsyncFlags::DATASYNC).build();
        let sync = sync.user_data(slot as u64 | 1 << 32);
        unsafe { ring.submission().push_multiple(&[write, sync]) }.unwrap();
        position = (position + BLOCK as u64) % FILE_BYTES;
        Instant::now()
    };
    for (slot, started) in started.iter_mut().enumerate() {
        *started = start(&mut ring, slot);
    }
    let mut completions = Vec::new();
    while meter.start.elapsed() < time {
        ring.submit_and_wait(1).unwrap();
        completions.extend(ring.completion());
        for entry in completions.drain(..) {
            let slot = (entry.user_data() & 0xFFFF_FFFF) as usize;
            if entry.user_data() >> 32 == 0 {
                assert_eq!(entry.result(), BLOCK as i32);
                written[slot] = true;
                continue;
            }
            assert!(entry.result() == 0 && std::mem::take(&mut written[slot]));
            latencies.push(started[slot].elapsed().as_nanos() as u64);
            started[slot] = start(&mut ring, slot);
        }
    }
    let run = meter.run(latencies);
    // The ring must not go while the kernel writes.
    std::thread::sleep(Duration::from_millis(20));
    run
}

fn reactor_run(path: PathBuf, depth: usize, time: Duration) -> Run {
    let main = move || async move {
        let options = reactor::OpenOptions::new().write(true).direct(true);
        let file = File::open(&path, &options).await.unwrap();
        let mut block = reactor::aligned(BLOCK);
        block.resize(BLOCK, 1);
        let block = block.freeze();
        let position = Rc::new(std::cell::Cell::new(0));
        let meter = Meter::new();
        let end = reactor::now() + time;
        let tasks: Vec<_> = (0..depth)
            .map(|_| {
                let worker = commits(file.clone(), block.clone(), position.clone(), end);
                reactor::spawn(Priority::Latency, "commits", worker)
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await);
        }
        meter.run(latencies)
    };
    Builder::new("commit").run(main).unwrap()
}

async fn commits(
    file: File,
    block: Bytes,
    position: Rc<std::cell::Cell<u64>>,
    end: reactor::Instant,
) -> Vec<u64> {
    let mut latencies = Vec::new();
    loop {
        let start = reactor::now();
        if start >= end {
            return latencies;
        }
        let at = position.get();
        position.set((at + BLOCK as u64) % FILE_BYTES);
        file.write_and_sync(block.clone(), at, SyncMethod::LinkedFdatasync).await.unwrap();
        latencies.push(start.elapsed().as_nanos() as u64);
    }
}

fn main() {
    let (runs, seconds) = (argument("runs", 3), argument("seconds", 0.5));
    let dir: PathBuf = argument("dir", PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    let path = dir.join("commit.bench");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).unwrap();
    for megabyte in 0..FILE_BYTES >> 20 {
        file.write_all_at(&vec![0; 1 << 20], megabyte << 20).unwrap();
    }
    file.sync_all().unwrap();
    println!(
        "4 KiB write + fdatasync: commits/s, thread CPU us/commit, process CPU us/commit, p50 us, p99 us"
    );
    for depth in [1, 16] {
        let time = Duration::from_secs_f64(seconds);
        let (mut raw, mut reactor) = (Vec::new(), Vec::new());
        for run in 0..2 * runs {
            // raw, reactor, reactor, raw, …: whatever comes at intervals hits both.
            let path = path.clone();
            if (run + run / 2) % 2 == 0 {
                raw.push(on_core_0(move || raw_run(&path, depth, time)));
            } else {
                reactor.push(on_core_0(move || reactor_run(path, depth, time)));
            }
        }
        for (name, results) in [("raw", &raw), ("reactor", &reactor)] {
            let column = |f: fn(&Run) -> f64| results.iter().map(f).collect::<Vec<_>>();
            println!(
                "depth {depth} {name}: {} /s, thread {} us, process {} us, p50 {} p99 {}",
                range(&column(|run| run.commits_per_second), 0),
                range(&column(|run| run.thread_us), 1),
                range(&column(|run| run.process_us), 1),
                range(&column(|run| run.p50_us), 0),
                range(&column(|run| run.p99_us), 0),
            );
        }
        let of = |results: &[Run], f: fn(&Run) -> f64| median(&results.iter().map(f).collect::<Vec<_>>());
        let rate = of(&reactor, |run| run.commits_per_second) / of(&raw, |run| run.commits_per_second);
        let latency = of(&reactor, |run| run.p50_us) / of(&raw, |run| run.p50_us);
        let cpu = of(&reactor, |run| run.process_us) / of(&raw, |run| run.process_us);
        println!("depth {depth} reactor/raw: rate {rate:.2}, p50 {latency:.2}, process CPU {cpu:.2}");
    }
    drop(std::fs::remove_file(&path));
}
