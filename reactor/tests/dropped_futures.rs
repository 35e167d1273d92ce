//! Futures of every kind of operation are dropped before each of their polls. What the kernel uses must live until it is done
//! with it, nothing may be left behind, and what is used next must work.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reactor::sync::{Notify, Queue, Semaphore, oneshot};
use reactor::{File, OpenOptions, Priority, SyncMethod, TcpStream};
use support::{listen, on_reactor, operations_settle_at, pair, pattern, poll_once};

/// Makes futures and drops the first before its first poll, the second after one poll, and so on until one is ready.
async fn drop_at_every_point<F: Future>(mut make: impl FnMut() -> F) {
    for polls in 0..100 {
        let mut future = Box::pin(make());
        for poll in 0..polls {
            if poll_once(&mut future).await.is_ready() {
                return;
            }
            if poll < 3 {
                reactor::yield_now().await;
            } else {
                reactor::sleep(Duration::from_micros(200)).await;
            }
        }
        drop(future);
    }
    panic!("never ready");
}

/// Memory that is overwritten when it is freed, so that a kernel that reads it too late writes nonsense.
struct Canary {
    bytes: Box<[u8]>,
    alive: Arc<AtomicBool>,
}

impl Canary {
    fn bytes(length: usize) -> (Bytes, Arc<AtomicBool>) {
        let alive = Arc::new(AtomicBool::new(true));
        let bytes = vec![0x11; length].into_boxed_slice();
        (Bytes::from_owner(Self { bytes, alive: alive.clone() }), alive)
    }
}

impl AsRef<[u8]> for Canary {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.bytes.fill(0xDD);
        self.alive.store(false, SeqCst);
    }
}

async fn scratch() -> (tempfile::TempDir, PathBuf, File) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    let options = OpenOptions::new().read(true).write(true).create(true);
    let file = File::open(&path, &options).await.unwrap();
    (dir, path, file)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn buffers_of_dropped_writes_live_until_their_completion() {
    on_reactor(|| async {
        let (_dir, path, file) = scratch().await;
        let base = reactor::stats().operations_in_flight;
        for round in 0..60 {
            let (data, alive) = Canary::bytes(256 << 10);
            let how = if round % 2 == 0 { SyncMethod::LinkedFdatasync } else { SyncMethod::WriteDsync };
            let mut commit = file.write_and_sync(data, 0, how);
            for _ in 0..round % 5 {
                if poll_once(&mut commit).await.is_ready() {
                    break;
                }
                reactor::yield_now().await;
            }
            let in_flight = reactor::stats().operations_in_flight > base;
            drop(commit);
            assert!(alive.load(SeqCst) || !in_flight || round % 5 > 0);
            operations_settle_at(base).await;
            assert!(!alive.load(SeqCst), "freed after the completion");
            let content = std::fs::read(&path).unwrap();
            assert!(content.iter().all(|byte| *byte == 0x11), "the kernel read freed memory");
        }
    });
}

#[test]
fn memory_of_dropped_reads_is_not_written_after_it_is_free() {
    on_reactor(|| async {
        let base = reactor::stats().operations_in_flight;
        for polls in 1..4 {
            let (near, far) = pair().await;
            let mut future = Box::pin(near.recv_into(BytesMut::with_capacity(64 << 10), 1));
            for _ in 0..polls {
                assert!(poll_once(&mut future).await.is_pending());
                reactor::yield_now().await;
            }
            drop(future);
            // Whatever was free is now ours, and stays as it is.
            let mut ours: Vec<Vec<u8>> = (0..32).map(|_| vec![0x22; 64 << 10]).collect();
            far.send(vec![Bytes::from(vec![0x33; 64 << 10])]).await.unwrap();
            for _ in 0..5 {
                reactor::sleep(Duration::from_millis(1)).await;
                assert!(ours.iter_mut().all(|bytes| bytes.iter().all(|byte| *byte == 0x22)));
            }
            drop((near, far));
            operations_settle_at(base).await;
        }
    });
}

#[test]
fn file_operations_may_be_dropped_at_every_point() {
    on_reactor(|| async {
        let (dir, path, file) = scratch().await;
        file.write_at(Bytes::from(pattern(100_000)), 0).await.unwrap();
        let base = reactor::stats().operations_in_flight;
        let before = descriptors();
        let names = Cell::new(0);
        let name = |prefix: &str| {
            names.set(names.get() + 1);
            dir.path().join(format!("{prefix}-{}", names.get()))
        };
        let read = OpenOptions::new().read(true);
        drop_at_every_point(|| File::open(&path, &read)).await;
        drop_at_every_point(|| file.read_at(BytesMut::with_capacity(100_000), 100_000, 0)).await;
        drop_at_every_point(|| file.write_at(Bytes::from(pattern(50_000)), 0)).await;
        drop_at_every_point(|| file.sync_all()).await;
        drop_at_every_point(|| file.sync_data()).await;
        drop_at_every_point(|| file.allocate(0, 200_000)).await;
        for how in [SyncMethod::LinkedFdatasync, SyncMethod::WriteDsync] {
            let make = || file.write_and_sync(Bytes::from(pattern(30_000)), 0, how);
            drop_at_every_point(make).await;
        }
        drop_at_every_point(|| reactor::fs::metadata(&path)).await;
        drop_at_every_point(|| reactor::fs::sync_dir(dir.path())).await;
        drop_at_every_point(|| {
            let new = name("made");
            async move { reactor::fs::create_dir_all(&new.join("a/b")).await }
        })
        .await;
        drop_at_every_point(|| {
            let (from, to) = (name("from"), name("to"));
            std::fs::write(&from, "x").unwrap();
            async move { reactor::fs::rename(&from, &to).await }
        })
        .await;
        drop_at_every_point(|| {
            let gone = name("gone");
            std::fs::create_dir_all(gone.join("a/b")).unwrap();
            std::fs::write(gone.join("a/file"), "x").unwrap();
            async move { reactor::fs::remove_dir_all(&gone).await }
        })
        .await;
        operations_settle_at(base).await;
        let (count, back) = file.read_at(BytesMut::with_capacity(100_000), 100_000, 0).await;
        assert_eq!(count.unwrap(), 100_000);
        assert!(back == pattern(100_000));
        settled_descriptors(before).await;
    });
}

async fn settled_descriptors(before: usize) {
    for _ in 0..1000 {
        // Other tests run beside this one.
        if descriptors() <= before + 60 {
            return;
        }
        reactor::sleep(Duration::from_millis(1)).await;
    }
    panic!("descriptors leak: {before} before, {} after", descriptors());
}

#[test]
fn connections_are_not_lost_by_a_dropped_accept() {
    on_reactor(|| async {
        let base = reactor::stats().operations_in_flight;
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let mut accepted = 0;
        let task = reactor::spawn(Priority::Latency, "connect", async move {
            let mut streams = Vec::new();
            for _ in 0..200 {
                streams.push(TcpStream::connect(address).await.unwrap());
            }
            streams
        });
        let mut streams = Vec::new();
        while accepted < 200 {
            let pause = Duration::from_micros(reactor::random_u64() % 50);
            if let Ok(connection) = reactor::timeout(pause, listener.accept()).await {
                streams.push(connection.unwrap());
                accepted += 1;
            }
        }
        let connected = task.await;
        drop((connected, streams, listener));
        operations_settle_at(base).await;
    });
}

#[test]
fn socket_operations_may_be_dropped_at_every_point() {
    on_reactor(|| async {
        let base = reactor::stats().operations_in_flight;
        let listener = listen();
        let address = listener.local_addr().unwrap();
        drop_at_every_point(|| TcpStream::connect(address)).await;
        drop(listener);
        // A send that the peer does not read cannot end; dropped, it breaks its stream and nothing else.
        for polls in 0..4 {
            let (near, far) = pair().await;
            let (data, alive) = Canary::bytes(16 << 20);
            let mut send = Box::pin(near.send(vec![data, Bytes::from_static(b"tail")]));
            for _ in 0..polls {
                assert!(poll_once(&mut send).await.is_pending());
                reactor::yield_now().await;
            }
            drop(send);
            if polls > 0 {
                let error = near.send(vec![Bytes::from_static(b"more")]).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            }
            drop(near);
            loop {
                let received = far.recv().await;
                let Ok(received) = received else { break };
                assert!(received.iter().all(|byte| *byte == 0x11), "the kernel read freed memory");
                if received.is_empty() {
                    break;
                }
            }
            drop(far);
            operations_settle_at(base).await;
            assert!(!alive.load(SeqCst));
        }
    });
}

#[test]
fn bytes_are_not_lost_by_a_dropped_receive() {
    on_reactor(|| async {
        let base = reactor::stats().operations_in_flight;
        let (near, far) = pair().await;
        let data = Bytes::from(pattern(300_000));
        let sent = data.clone();
        let sender = reactor::spawn(Priority::Latency, "sender", async move {
            let mut rest = sent;
            while !rest.is_empty() {
                let count = (reactor::random_u64() as usize % 3000 + 1).min(rest.len());
                far.send(vec![rest.split_to(count)]).await.unwrap();
                reactor::sleep(Duration::from_micros(reactor::random_u64() % 100)).await;
            }
        });
        let mut back = BytesMut::with_capacity(data.len() + 100_000);
        while back.len() < data.len() {
            let mut future = Box::pin(near.recv());
            for _ in 0..reactor::random_u64() % 4 {
                if let std::task::Poll::Ready(received) = poll_once(&mut future).await {
                    back.extend_from_slice(&received.unwrap());
                    break;
                }
                reactor::yield_now().await;
            }
            drop(future);
            if reactor::random_u64().is_multiple_of(50) {
                // Also when the two ways of receiving alternate.
                let (count, buffer) = near.recv_into(back, 1).await;
                back = buffer;
                assert!(count.unwrap() > 0 || back.len() == data.len());
            }
        }
        assert!(back == data);
        sender.await;
        drop(near);
        operations_settle_at(base).await;
    });
}

async fn drop_file_sends(path: &Path, content: &[u8]) {
    let base = reactor::stats().operations_in_flight;
    for polls in 0..6 {
        let file = File::open(path, &OpenOptions::new().read(true)).await.unwrap();
        let (near, far) = pair().await;
        let shared = file.share();
        let mut send = Box::pin(near.send_file(&shared, 0, 8 << 20));
        for _ in 0..polls {
            assert!(poll_once(&mut send).await.is_pending(), "the peer reads nothing");
            reactor::sleep(Duration::from_millis(1)).await;
        }
        drop(send);
        drop((near, file, shared));
        let mut total = 0;
        while let Ok(received) = far.recv().await {
            if received.is_empty() {
                break;
            }
            assert!(received[..] == content[total..total + received.len()]);
            total += received.len();
        }
        drop(far);
        operations_settle_at(base).await;
    }
}

#[test]
fn a_file_on_its_way_to_a_socket_may_be_dropped() {
    on_reactor(|| async {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        let content = pattern(8 << 20);
        std::fs::write(&path, &content).unwrap();
        drop_file_sends(&path, &content).await;
        // A file that is not in the page cache takes the other way.
        let cold =
            File::open(&dir.path().join("cold"), &OpenOptions::new().write(true).create(true).direct(true))
                .await;
        if let Ok(cold) = cold {
            let mut bytes = reactor::aligned(8 << 20);
            bytes.extend_from_slice(&content);
            cold.write_and_sync(bytes.freeze(), 0, SyncMethod::LinkedFdatasync).await.unwrap();
            drop_file_sends(&dir.path().join("cold"), &content).await;
        }
    });
}

#[test]
fn waiting_futures_may_be_dropped_at_every_point() {
    on_reactor(|| async {
        let semaphore = Semaphore::new(10);
        let held = semaphore.acquire(8).await;
        let mut first = Box::pin(semaphore.acquire(5));
        let mut second = Box::pin(semaphore.acquire(1));
        assert!(poll_once(&mut first).await.is_pending());
        assert!(poll_once(&mut second).await.is_pending(), "nobody overtakes");
        drop(first);
        assert!(poll_once(&mut second).await.is_ready(), "the way is free");
        drop(second);
        drop(held);
        let mut chosen = Box::pin(semaphore.acquire(10));
        assert!(poll_once(&mut chosen).await.is_ready());
        drop(chosen);
        assert_eq!(semaphore.available(), 10);

        let notify = Notify::new();
        let (mut a, mut b) = (Box::pin(notify.notified()), Box::pin(notify.notified()));
        assert!(poll_once(&mut a).await.is_pending() && poll_once(&mut b).await.is_pending());
        notify.notify_one();
        drop(a); // chosen, gone: the next one is chosen instead
        assert!(poll_once(&mut b).await.is_ready());
        let mut last = Box::pin(notify.notified());
        assert!(poll_once(&mut last).await.is_pending());
        notify.notify_one();
        drop(last); // chosen, gone, and nobody else waits: the next to wait does not have to
        assert!(poll_once(&mut Box::pin(notify.notified())).await.is_ready());

        let queue = Queue::new(1);
        queue.push(1).await.unwrap();
        let mut push = Box::pin(queue.push(2));
        assert!(poll_once(&mut push).await.is_pending());
        drop(push);
        assert_eq!(queue.pop().await, Some(1));
        let mut pop = Box::pin(queue.pop());
        assert!(poll_once(&mut pop).await.is_pending());
        queue.close();
        assert_eq!(poll_once(&mut pop).await, std::task::Poll::Ready(None));

        let (sender, receiver) = oneshot::<u32>();
        drop(receiver);
        assert_eq!(sender.send(1), Err(1));
        let (sender, receiver) = oneshot::<u32>();
        drop(sender);
        assert!(receiver.await.is_err());

        drop_at_every_point(|| reactor::sleep(Duration::from_millis(2))).await;
        assert_eq!(reactor::stats().timers, 0);
    });
}

#[test]
fn a_reactor_that_ends_waits_for_what_the_kernel_still_has() {
    let (data, alive) = Canary::bytes(1 << 20);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    let written = path.clone();
    on_reactor(move || async move {
        let (near, far) = pair().await;
        // All of these are under way when the main future returns.
        reactor::spawn(Priority::Latency, "receive", async move { near.recv().await.map(drop) }).detach();
        let task = async move { far.recv_into(BytesMut::with_capacity(1 << 16), 1).await.0 };
        reactor::spawn(Priority::Latency, "receive into", task).detach();
        let listener = listen();
        reactor::spawn(Priority::Latency, "accept", async move { listener.accept().await.map(drop) })
            .detach();
        reactor::spawn(Priority::Latency, "sleep", reactor::sleep(Duration::from_secs(3600))).detach();
        let file = File::open(&written, &OpenOptions::new().write(true).create(true)).await.unwrap();
        drop(file.write_and_sync(data, 0, SyncMethod::LinkedFdatasync));
        reactor::yield_now().await;
    });
    assert!(!alive.load(SeqCst));
    assert_eq!(std::fs::read(&path).unwrap(), vec![0x11; 1 << 20], "a write runs to its end");
}

#[test]
fn receives_dropped_after_their_completion_hold_no_buffer() {
    on_reactor(|| async {
        let mut streams = Vec::new();
        for _ in 0..reactor::limits::RECV_BUFFERS {
            let (near, far) = pair().await;
            let mut given_up = Box::pin(near.recv());
            assert!(poll_once(&mut given_up).await.is_pending());
            far.send(vec![Bytes::from_static(b"x")]).await.unwrap();
            reactor::sleep(Duration::from_micros(200)).await;
            drop(given_up);
            streams.push((near, far));
        }
        let (near, far) = pair().await;
        far.send(vec![Bytes::from_static(b"y")]).await.unwrap();
        let received = reactor::timeout(Duration::from_secs(5), near.recv()).await.unwrap().unwrap();
        assert_eq!(&*received, b"y");
        for (near, _far) in &streams {
            assert_eq!(&*near.recv().await.unwrap(), b"x");
        }
    });
}

#[test]
fn buffers_live_until_their_completion_although_a_destructor_panics() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "a destructor panics");
        }
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    let (data, alive) = Canary::bytes(32 << 20);
    let written = path.clone();
    let panicked = std::panic::catch_unwind(move || {
        on_reactor(move || async move {
            let file = File::open(&written, &OpenOptions::new().write(true).create(true)).await.unwrap();
            let writer = async move { file.write_and_sync(data, 0, SyncMethod::LinkedFdatasync).await };
            reactor::spawn(Priority::Latency, "writer", writer).detach();
            let bad = Bad;
            reactor::spawn(Priority::Latency, "bad", async move {
                let _bad = bad;
                std::future::pending::<()>().await;
            })
            .detach();
            reactor::yield_now().await;
        });
    });
    assert!(panicked.is_err());
    assert!(!alive.load(SeqCst));
    let content = std::fs::read(&path).unwrap();
    assert!(
        content.len() == 32 << 20 && content.iter().all(|byte| *byte == 0x11),
        "written from freed memory"
    );
}
