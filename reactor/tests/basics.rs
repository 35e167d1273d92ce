//! Tasks, timers, files and sockets on one reactor, and wake-ups between two.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reactor::{BufferPool, Builder, File, OpenOptions, Priority, SyncMethod, TcpListener, TcpStream};
use support::{listen, on_reactor};

#[test]
fn a_task_gives_its_output() {
    let sum = on_reactor(|| async {
        let a = reactor::spawn(Priority::Latency, "a", async { 1 });
        let b = reactor::spawn(Priority::Background, "b", async {
            reactor::yield_now().await;
            2
        });
        a.await + b.await
    });
    assert_eq!(sum, 3);
}

#[test]
fn timers_fire_in_order_of_deadline() {
    on_reactor(|| async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [3u64, 1, 2]
            .into_iter()
            .map(|ms| {
                let order = order.clone();
                reactor::spawn(Priority::Latency, "timer", async move {
                    reactor::sleep(Duration::from_millis(5 * ms)).await;
                    order.borrow_mut().push(ms);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [1, 2, 3]);
    });
}

#[test]
fn a_timeout_ends_what_takes_too_long() {
    on_reactor(|| async {
        let start = reactor::now();
        let slow = reactor::timeout(Duration::from_millis(5), reactor::sleep(Duration::from_secs(60)));
        assert_eq!(slow.await, Err(reactor::Elapsed));
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(reactor::timeout(Duration::from_secs(60), async { 7 }).await, Ok(7));
        assert_eq!(reactor::stats().timers, 0);
    });
}

#[test]
fn a_cancelled_task_drops_its_future() {
    struct SetOnDrop(Rc<Cell<bool>>);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    on_reactor(|| async {
        let dropped = Rc::new(Cell::new(false));
        let guard = SetOnDrop(dropped.clone());
        let task = reactor::spawn(Priority::Latency, "sleeper", async move {
            let _guard = guard;
            reactor::sleep(Duration::from_secs(3600)).await;
        });
        reactor::yield_now().await;
        assert!(!dropped.get());
        task.cancel();
        assert!(dropped.get());
    });
}

#[test]
fn background_work_is_not_starved_by_latency_work() {
    on_reactor(|| async {
        let stop = Rc::new(Cell::new(false));
        let seen = stop.clone();
        let busy = reactor::spawn(Priority::Latency, "busy", async move {
            while !seen.get() {
                reactor::yield_now().await;
            }
        });
        let background = reactor::spawn(Priority::Background, "background", async {
            for _ in 0..100 {
                reactor::yield_now().await;
            }
        });
        background.await;
        stop.set(true);
        busy.await;
    });
}

#[test]
fn a_file_is_written_synced_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/file");
    on_reactor(move || async move {
        reactor::fs::create_dir_all(path.parent().unwrap()).await.unwrap();
        let options = OpenOptions::new().read(true).write(true).create(true);
        let file = File::open(&path, &options).await.unwrap();
        for how in [SyncMethod::LinkedFdatasync, SyncMethod::WriteDsync] {
            let data = Bytes::from(vec![7u8; 10_000]);
            file.write_and_sync(data.clone(), 100, how).await.unwrap();
            assert_eq!(file.size().await.unwrap(), 10_100);
            let (count, back) = file.read_at(BytesMut::with_capacity(20_000), 20_000, 100).await;
            assert_eq!(count.unwrap(), 10_000);
            assert_eq!(back, data);
        }
        file.set_len(50).await.unwrap();
        file.allocate(0, 5000).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 5000);
        let other = path.with_file_name("other");
        reactor::fs::rename(&path, &other).await.unwrap();
        reactor::fs::sync_dir(other.parent().unwrap()).await.unwrap();
        assert!(!reactor::fs::exists(&path).await.unwrap());
        assert_eq!(reactor::fs::metadata(&other).await.unwrap().len, 5000);
        let names = reactor::fs::read_dir(other.parent().unwrap()).unwrap();
        assert_eq!(names.len(), 1);
        reactor::fs::remove_dir_all(dir.path()).await.unwrap();
        assert!(!reactor::fs::exists(dir.path()).await.unwrap());
    });
}

#[test]
fn a_file_opened_past_the_page_cache_is_read_to_its_unaligned_end() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    on_reactor(move || async move {
        if !reactor::fs::supports_direct(dir.path()).await.unwrap() {
            return;
        }
        let options = OpenOptions::new().read(true).write(true).create_new(true).direct(true);
        let file = File::open(&path, &options).await.unwrap();
        let mut block = reactor::aligned(8192);
        block.resize(8192, 9);
        file.write_and_sync(block.freeze(), 0, SyncMethod::LinkedFdatasync).await.unwrap();
        file.set_len(5000).await.unwrap();
        let (count, back) = file.read_at(reactor::aligned(16384), 16384, 0).await;
        assert_eq!(count.unwrap(), 5000);
        assert_eq!(back, vec![9u8; 5000]);
    });
}

#[test]
fn a_folder_is_locked_by_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let lock = reactor::fs::lock(dir.path(), ".lock", "pid 1").unwrap();
    let error = reactor::fs::lock(dir.path(), ".lock", "pid 2").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    assert!(error.to_string().contains("pid 1"));
    drop(lock);
    reactor::fs::lock(dir.path(), ".lock", "pid 2").unwrap();
}

#[test]
fn bytes_echo_until_the_peer_ends() {
    on_reactor(|| async {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let server = reactor::spawn(Priority::Latency, "server", async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut total = 0;
            loop {
                let received = stream.recv().await.unwrap();
                if received.is_empty() {
                    return total;
                }
                total += received.len();
                stream.send(vec![Bytes::copy_from_slice(&received), Bytes::from_static(b"!")]).await.unwrap();
            }
        });
        let client = TcpStream::connect(address).await.unwrap();
        client.set_nodelay(true).unwrap();
        for _ in 0..10 {
            client.send(vec![Bytes::from_static(b"hello")]).await.unwrap();
            let (count, bytes) = client.recv_into(BytesMut::with_capacity(100), 6).await;
            assert_eq!(count.unwrap(), 6);
            assert_eq!(&bytes[..], b"hello!");
        }
        drop(client);
        assert_eq!(server.await, 50);
    });
}

#[test]
fn channels_work_between_reactors_and_foreign_threads() {
    let (to_b, at_b) = async_channel::bounded::<u32>(4);
    let (to_a, at_a) = async_channel::bounded::<u32>(4);
    let b = Builder::new("b")
        .spawn(move || async move {
            while let Ok(number) = at_b.recv().await {
                to_a.send(number + 1).await.unwrap();
            }
        })
        .unwrap();
    let foreign = to_b.clone();
    let a = Builder::new("a")
        .spawn(move || async move {
            for number in 0..2000 {
                to_b.send(number).await.unwrap();
                assert_eq!(at_a.recv().await.unwrap(), number + 1);
            }
            at_a
        })
        .unwrap();
    let at_a = a.join().unwrap();
    for number in 0..200 {
        foreign.send_blocking(number).unwrap();
        assert_eq!(at_a.recv_blocking().unwrap(), number + 1);
        if number % 10 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    drop(foreign);
    b.join().unwrap();
}

#[test]
fn all_wake_ups_of_one_turn_are_one_notification() {
    const TASKS: u64 = 100;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..TASKS).map(|_| async_channel::bounded::<()>(1)).unzip();
    let woken = Builder::new("woken")
        .spawn(move || async move {
            let take = |from: async_channel::Receiver<()>| async move { while from.recv().await.is_ok() {} };
            let tasks: Vec<_> = receivers
                .into_iter()
                .map(|from| reactor::spawn(Priority::Latency, "take", take(from)))
                .collect();
            for task in tasks {
                task.await;
            }
        })
        .unwrap();
    let waking = Builder::new("waking").spawn(move || async move {
        let (mut notified, mut wakes) = (0, 0);
        for _ in 0..20 {
            // Long enough for the other to sleep, in most rounds.
            reactor::sleep(Duration::from_millis(10)).await;
            let before = reactor::stats();
            for sender in &senders {
                sender.try_send(()).unwrap();
            }
            while senders.iter().any(|sender| !sender.is_empty()) {
                reactor::sleep(Duration::from_millis(1)).await;
            }
            let after = reactor::stats();
            wakes += after.remote_wakes_sent - before.remote_wakes_sent;
            let sent = after.notifications_sent - before.notifications_sent;
            assert!(sent <= 1, "{sent} for one turn");
            notified += sent;
        }
        assert!(notified >= 1, "it slept at least once");
        assert!(wakes >= 10 * TASKS, "{wakes}");
    });
    waking.unwrap().join().unwrap();
    woken.join().unwrap();
}

#[test]
fn ranges_of_files_are_sent_whole() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    on_reactor(move || async move {
        let content: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 + (i >> 8)) as u8).collect();
        let path = dir.path().join("file");
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path, &OpenOptions::new().read(true)).await.unwrap();
        let (near, far) = support::pair().await;
        let shared = file.share();
        let sender = reactor::spawn(Priority::Latency, "sender", async move {
            near.send_file(&shared, 12_345, 2_500_000).await.unwrap();
            let error = near.send_file(&shared, 2_999_990, 11).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        });
        let (count, bytes) = far.recv_into(BytesMut::with_capacity(3_000_000), 2_500_010).await;
        assert_eq!(count.unwrap(), 2_500_010);
        assert!(bytes[..2_500_000] == content[12_345..2_512_345]);
        assert!(bytes[2_500_000..] == content[2_999_990..]);
        sender.await;
    });
}

#[test]
fn a_listener_can_be_closed_while_somebody_accepts() {
    on_reactor(|| async {
        let listener = Rc::new(listen());
        let address = listener.local_addr().unwrap();
        let accepting = listener.clone();
        let task =
            reactor::spawn(Priority::Latency, "accept", async move { accepting.accept().await.is_err() });
        reactor::sleep(Duration::from_millis(5)).await;
        listener.close();
        assert!(task.await);
        assert!(TcpStream::connect(address).await.is_err());
    });
}

#[test]
fn two_reactors_share_a_port() {
    let first = listen_shared("127.0.0.1:0".parse().unwrap());
    let address = first.local_addr().unwrap();
    let second = listen_shared(address);
    assert_eq!(second.local_addr().unwrap(), address);
}

fn listen_shared(address: std::net::SocketAddr) -> TcpListener {
    TcpListener::bind(address, &reactor::ListenOptions { reuse_port: true, backlog: 16 }).unwrap()
}

#[test]
fn the_cores_that_a_thread_may_run_on_are_those_it_was_left() {
    let all = reactor::allowed_cpus();
    assert!(!all.is_empty());
    let last = *all.last().unwrap();
    let left = std::thread::spawn(move || {
        Builder::new("pinned").cpu(Some(last)).run(|| async { reactor::allowed_cpus() }).unwrap()
    });
    assert_eq!(left.join().unwrap(), [last]);
}

async fn fixed_buffers(count: u32) -> Vec<reactor::FixedBuffer> {
    let mut buffers = Vec::new();
    for _ in 0..count {
        buffers.push(reactor::fixed_buffer().await);
    }
    buffers
}

#[test]
fn registered_buffers_are_written_read_and_used_again() {
    use reactor::limits::{FIXED_BUFFER_BYTES, FIXED_BUFFERS};
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    on_reactor(move || async move {
        let options = OpenOptions::new().read(true).write(true).create(true);
        let file = File::open(&path, &options).await.unwrap();
        let registered = reactor::fixed_buffer().await.is_chunk();
        for round in 0..40u8 {
            let mut buffers = fixed_buffers(3).await;
            assert!(buffers.iter().all(|buffer| buffer.is_chunk() == registered && buffer.is_empty()));
            let mut buffer = buffers.pop().unwrap();
            buffer.extend_from_slice(&support::pattern(5000));
            buffer.resize(8192, round);
            let data = buffer.freeze();
            assert!(reactor::is_aligned(&data));
            file.write_and_sync(data.slice(4096..), 0, SyncMethod::LinkedFdatasync).await.unwrap();
            file.write_at(data.clone(), 4096).await.unwrap();
            let mut back = buffers.pop().unwrap();
            back.extend_from_slice(b"head");
            let (count, back) = file.read_fixed(back, FIXED_BUFFER_BYTES - 4, 0).await;
            assert_eq!(count.unwrap(), 4096 + 8192);
            assert_eq!(back.len(), 4 + 4096 + 8192);
            assert!(back[4..4100] == data[4096..] && back[4100..] == data[..]);
        }
        // When all are taken the next is plain memory, and does the same.
        let taken = fixed_buffers(FIXED_BUFFERS).await;
        let mut plain = reactor::fixed_buffer().await;
        assert!(!plain.is_chunk());
        plain.resize(100, 9);
        let (count, plain) = file.read_fixed(plain, 50, 0).await;
        assert_eq!((count.unwrap(), plain.len()), (50, 150));
        file.write_at(plain.freeze(), 0).await.unwrap();
        // Memory may be given back elsewhere, and after the reactor's end.
        let frozen: Vec<_> = taken.into_iter().map(reactor::FixedBuffer::freeze).collect();
        std::thread::spawn(move || drop(frozen)).join().unwrap();
        assert_eq!(reactor::fixed_buffer().await.is_chunk(), registered);
    });
}

#[test]
fn buffers_for_reading_are_bounded_and_come_back() {
    use reactor::limits::{READ_BUFFER_BYTES, READ_BUFFERS};
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, support::pattern(3 * READ_BUFFER_BYTES)).unwrap();
    on_reactor(move || async move {
        let file = File::open(&path, &OpenOptions::new().read(true).direct(true)).await.unwrap();
        let mut held = Vec::new();
        while let Some(buffer) = reactor::read_buffer().await {
            assert_eq!(buffer.remaining(), READ_BUFFER_BYTES);
            held.push(buffer);
        }
        assert_eq!(held.len(), READ_BUFFERS as usize);
        let position = READ_BUFFER_BYTES as u64;
        let (count, buffer) = file.read_fixed(held.pop().unwrap(), READ_BUFFER_BYTES, position).await;
        assert_eq!(count.unwrap(), READ_BUFFER_BYTES);
        let bytes = buffer.freeze();
        assert!(
            bytes[..] == support::pattern(3 * READ_BUFFER_BYTES)[READ_BUFFER_BYTES..][..READ_BUFFER_BYTES]
        );
        let slice = bytes.slice(100..200);
        drop(bytes);
        assert!(reactor::read_buffer().await.is_none(), "a slice holds its buffer");
        std::thread::spawn(move || drop(slice)).join().unwrap();
        assert!(reactor::read_buffer().await.is_some());
    });
}

#[test]
fn pooled_buffers_come_when_asked_for_twice_and_are_used_again() {
    const BUFFER: usize = 1 << 20;
    on_reactor(|| async {
        let pool = BufferPool::new(BUFFER, 6 * BUFFER as u64, 2);
        assert!(pool.take(BUFFER).is_none(), "who needs one only gets no pages");
        reactor::sleep(Duration::from_millis(20)).await;
        assert!(pool.take(BUFFER + 1).is_none() && pool.take(BUFFER).is_none());
        let mut held = Vec::new();
        for turn in 0..1000 {
            assert!(turn < 999, "the pool does not grow: it has {}", held.len());
            held.extend(pool.take(BUFFER));
            if held.len() == 6 {
                break;
            }
            reactor::sleep(Duration::from_millis(1)).await;
        }
        reactor::sleep(Duration::from_millis(20)).await;
        assert!(pool.take(1).is_none(), "no more than it may have");
        let mut buffer = held.pop().unwrap();
        let place = buffer.as_ptr();
        assert!(place.addr().is_multiple_of(BUFFER));
        buffer.extend_from_slice(&support::pattern(5000));
        buffer.extend_to(8192);
        let (first, second) = (buffer.give(4096), buffer.give(4096));
        buffer.extend_from_slice(b"behind");
        assert_eq!(buffer.capacity(), BUFFER - 8192);
        drop((buffer, first));
        assert!(pool.take(1).is_none(), "a piece holds its buffer");
        assert!(
            second[..904] == support::pattern(5000)[4096..] && second[904..].iter().all(|byte| *byte == 0)
        );
        std::thread::spawn(move || drop(second)).join().unwrap();
        let again = pool.take(100).unwrap();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (place, 0, 100));
        drop(pool);
        drop((again, held));
    });
}

#[test]
fn a_pooled_buffer_is_received_into_up_to_its_room() {
    on_reactor(|| async {
        let pool = BufferPool::new(64 << 10, 128 << 10, 2);
        let mut buffer = loop {
            if let Some(buffer) = pool.take(50_000) {
                break buffer;
            }
            reactor::sleep(Duration::from_millis(1)).await;
        };
        let (near, far) = support::pair().await;
        near.send(vec![Bytes::from(support::pattern(60_000))]).await.unwrap();
        buffer.extend_from_slice(b"head");
        let (count, mut buffer) = far.recv_into(buffer, 49_996).await;
        assert_eq!((count.unwrap(), buffer.len()), (49_996, 50_000));
        assert!(buffer[..4] == *b"head" && buffer[4..] == support::pattern(60_000)[..49_996]);
        let full = buffer.give(50_000);
        let (error, buffer) = far.recv_into(buffer, 1).await;
        assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        drop((full, buffer));
        // What a dropped receive has got comes first, and what does not fit is not lost.
        let mut dropped = Box::pin(far.recv());
        let rest = poll_once(&mut dropped);
        drop(dropped);
        assert!(rest.is_none());
        near.send(vec![Bytes::from_static(b"more")]).await.unwrap();
        let (count, small) = far.recv_into(pool.take(3).unwrap(), 1).await;
        let got = count.unwrap();
        assert!(got > 3 && small.len() == got, "{got} bytes");
        assert!(small[..] == support::pattern(60_000)[49_996..][..got]);
    });
}

/// Polls a receive once; what it got, if it is done.
fn poll_once(
    future: &mut std::pin::Pin<Box<impl Future<Output = std::io::Result<reactor::RecvBuf>>>>,
) -> Option<usize> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(received) => Some(received.unwrap().len()),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_write_and_its_sync_wake_the_reactor_once() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    on_reactor(move || async move {
        let options = OpenOptions::new().write(true).create(true).direct(true);
        let file = File::open(&path, &options).await.unwrap();
        let mut block = reactor::aligned(4096);
        block.resize(4096, 1);
        let block = block.freeze();
        file.write_and_sync(block.clone(), 0, SyncMethod::LinkedFdatasync).await.unwrap();
        let before = reactor::stats().sleeps;
        for _ in 0..50 {
            file.write_and_sync(block.clone(), 0, SyncMethod::LinkedFdatasync).await.unwrap();
        }
        let sleeps = reactor::stats().sleeps - before;
        assert!(sleeps <= 60, "{sleeps} sleeps for 50 commits");
    });
}

#[test]
fn signals_to_end_are_reported() {
    // Sent to this thread alone: the test process has others, which do not block them.
    let seen = std::thread::spawn(|| {
        reactor::signal::block().unwrap();
        on_reactor(|| async {
            let mut seen = Vec::new();
            for signal in [libc::SIGTERM, libc::SIGINT] {
                let sender = reactor::spawn(Priority::Latency, "kill", async move {
                    reactor::sleep(Duration::from_millis(2)).await;
                    // SAFETY: no pointers.
                    let this = unsafe { libc::pthread_self() };
                    // SAFETY: no pointers; the thread is this one.
                    unsafe { libc::pthread_kill(this, signal) };
                });
                seen.push(reactor::signal::termination().await.unwrap());
                sender.await;
            }
            seen
        })
    });
    assert_eq!(
        seen.join().unwrap(),
        [reactor::signal::Signal::Terminate, reactor::signal::Signal::Interrupt]
    );
}
