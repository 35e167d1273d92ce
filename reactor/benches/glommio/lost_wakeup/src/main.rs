//! Does a glommio executor ever sleep through a wake-up? Two pinned executors each wait on an eventfd; a thread for each writes
//! to it, after pauses of random length, and waits until the executor has seen it. Nothing else is armed.
//!
//! `PRE=500 SECS=25 cargo run --release`: PRE is the preempt timer in microseconds. A shard that has not moved for two seconds
//! is reported as stuck. The same on a plain ring: `../rawwake.c`; on our reactor: `reactor/tests/soak.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use glommio::io::PollableFd;
use glommio::{LocalExecutorBuilder, Placement};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {}
}

/// Waits on the eventfd and counts, for ever.
async fn take_signals(event: i32, seen: Arc<AtomicU64>) {
    let event_fd = PollableFd::new(event).unwrap();
    let mut count = 0u64;
    loop {
        event_fd.readable().await.unwrap();
        unsafe { libc::read(event, (&raw mut count).cast(), 8) };
        spin(Duration::from_micros(20));
        seen.fetch_add(1, SeqCst);
    }
}

/// Signals, and waits for each signal to have been seen.
fn signal(shard: usize, event: i32, seen: &AtomicU64, time: Duration) {
    let start = Instant::now();
    let (mut count, mut random) = (0u64, 88_172_645_463_325_252u64);
    while start.elapsed() < time {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let pause = Duration::from_micros(random % 200);
        if random & 1 == 0 {
            thread::sleep(pause)
        } else {
            spin(pause / 4)
        }
        let one = 1u64;
        unsafe { libc::write(event, (&raw const one).cast(), 8) };
        count += 1;
        let sent = Instant::now();
        while seen.load(SeqCst) < count {
            if sent.elapsed() > Duration::from_secs(2) {
                println!("shard {shard} STUCK at signal {count} after {:?}", start.elapsed());
                return;
            }
            if sent.elapsed() > Duration::from_micros(50) {
                thread::yield_now();
            }
        }
    }
    println!("shard {shard} ok, {count} signals");
}

fn main() {
    let preempt = Duration::from_micros(setting("PRE", 500));
    let time = Duration::from_secs(setting("SECS", 25));
    let mut threads = Vec::new();
    for shard in 0..2 {
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        let seen = Arc::new(AtomicU64::new(0));
        let taken = seen.clone();
        LocalExecutorBuilder::new(Placement::Fixed(shard))
            .preempt_timer(preempt)
            .spawn(move || take_signals(event, taken))
            .unwrap();
        threads.push(thread::spawn(move || signal(shard, event, &seen, time)));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    std::process::exit(0);
}
