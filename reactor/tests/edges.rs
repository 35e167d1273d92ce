//! Full queues, broken links, ended reactors, ended peers.
#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reactor::{Builder, File, OpenOptions, Priority, SyncMethod};
use support::{on_reactor, operations_settle_at, pair, pattern, poll_once};

#[test]
fn linked_pairs_are_never_split_by_a_full_queue() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    let main = move || async move {
        let file = File::open(&path, &OpenOptions::new().read(true).write(true).create(true)).await.unwrap();
        let base = reactor::stats().operations_in_flight;
        for offset in 0..9 {
            let mut single: Vec<_> = (0..offset).map(|_| Box::pin(file.sync_data())).collect();
            for sync in &mut single {
                assert!(poll_once(sync).await.is_pending());
            }
            let commits: Vec<_> = (0..7u8)
                .map(|i| {
                    let data = Bytes::from(vec![offset as u8 * 10 + i; 4096]);
                    file.write_and_sync(data, u64::from(i) * 4096, SyncMethod::LinkedFdatasync)
                })
                .collect();
            for commit in commits {
                commit.await.unwrap(); // a split pair reports the sync as cancelled
            }
            for sync in single {
                sync.await.unwrap();
            }
        }
        operations_settle_at(base).await;
        assert!(reactor::stats().submit_queue_full > 9);
    };
    Builder::new("small").ring_entries(8).run(main).unwrap();
}

#[test]
fn more_completions_than_the_queue_holds_all_arrive() {
    let main = || async {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        let file = File::open(&path, &OpenOptions::new().read(true).write(true).create(true)).await.unwrap();
        file.write_at(Bytes::from(pattern(8192)), 0).await.unwrap();
        let done = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..2000)
            .map(|_| {
                let (file, done) = (file.clone(), done.clone());
                reactor::spawn(Priority::Latency, "read", async move {
                    let (count, _) = file.read_at(BytesMut::with_capacity(100), 100, 50).await;
                    assert_eq!(count.unwrap(), 100);
                    done.set(done.get() + 1);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(done.get(), 2000);
    };
    Builder::new("small").ring_entries(4).run(main).unwrap();
}

#[test]
fn a_failed_write_of_a_pair_fails_the_commit() {
    on_reactor(|| async {
        let options = OpenOptions::new().read(true).write(true);
        let full = File::open("/dev/full".as_ref(), &options).await.unwrap();
        let error =
            full.write_and_sync(Bytes::from_static(b"x"), 0, SyncMethod::LinkedFdatasync).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(28), "{error}"); // ENOSPC
        // The write succeeds, the sync is not possible.
        let null = File::open("/dev/null".as_ref(), &options).await.unwrap();
        let commit = null.write_and_sync(Bytes::from_static(b"x"), 0, SyncMethod::LinkedFdatasync);
        assert_eq!(commit.await.unwrap_err().raw_os_error(), Some(22)); // EINVAL
    });
}

#[test]
fn waking_an_ended_reactor_is_harmless() {
    let (wakers, taken) = async_channel::bounded::<Waker>(16);
    let ended = Builder::new("ended").spawn(move || async move {
        for _ in 0..16 {
            let waker = std::future::poll_fn(|context| std::task::Poll::Ready(context.waker().clone())).await;
            wakers.send(waker).await.unwrap();
        }
    });
    ended.unwrap().join().unwrap();
    for _ in 0..8 {
        taken.try_recv().unwrap().wake();
    }
    // From another reactor, which may have been given the ended one's id.
    on_reactor(move || async move {
        while let Ok(waker) = taken.try_recv() {
            waker.wake_by_ref();
            reactor::yield_now().await;
            waker.wake();
        }
        reactor::sleep(Duration::from_millis(1)).await;
    });
}

#[test]
fn reactors_come_and_go_while_others_wake_them() {
    let (out, tickets) = async_channel::bounded::<async_channel::Sender<u32>>(1);
    let waker = Builder::new("waker")
        .spawn(move || async move {
            while let Ok(ticket) = tickets.recv().await {
                // The receiver may end between any two of these.
                for number in 0..10 {
                    let _ = ticket.send(number).await;
                }
            }
        })
        .unwrap();
    for round in 0..100 {
        let out = out.clone();
        let reactor = Builder::new("short").spawn(move || async move {
            let (ticket, numbers) = async_channel::bounded(3);
            out.send(ticket).await.unwrap();
            for number in 0..round % 10 {
                assert_eq!(numbers.recv().await.unwrap(), number);
            }
        });
        reactor.unwrap().join().unwrap();
    }
    drop(out);
    waker.join().unwrap();
}

#[test]
fn a_panic_on_a_reactor_is_reported_by_join() {
    let reactor = Builder::new("doomed").spawn(|| async {
        reactor::sleep(Duration::from_millis(1)).await;
        panic!("as planned");
    });
    let error = reactor.unwrap().join().unwrap_err();
    assert!(error.to_string().contains("as planned"), "{error}");
    // Its id and its ring are free again.
    on_reactor(|| async { reactor::sleep(Duration::from_millis(1)).await });
}

#[test]
fn a_core_that_does_not_exist_is_refused() {
    let error = Builder::new("nowhere").cpu(Some(1023)).spawn(|| async {}).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn the_peers_end_and_reset_are_told_apart() {
    on_reactor(|| async {
        let (near, far) = pair().await;
        far.send(vec![Bytes::from_static(b"last words")]).await.unwrap();
        drop(far);
        assert_eq!(&*near.recv().await.unwrap(), b"last words");
        assert!(near.recv().await.unwrap().is_empty());
        assert!(near.recv().await.unwrap().is_empty());

        let listener = support::listen();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().await.unwrap();
        far.send(vec![Bytes::from_static(b"unread")]).await.unwrap();
        reactor::sleep(Duration::from_millis(2)).await;
        drop(peer); // with unread bytes: the kernel resets the connection
        let error = far.recv().await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(far.send(vec![Bytes::from_static(b"x")]).await.is_err());
    });
}

#[test]
fn the_peer_sees_the_end_although_a_receive_is_under_way() {
    on_reactor(|| async {
        let (near, far) = pair().await;
        let mut waiting = Box::pin(near.recv());
        assert!(poll_once(&mut waiting).await.is_pending());
        reactor::yield_now().await;
        drop(waiting);
        drop(near);
        assert!(reactor::timeout(Duration::from_secs(5), far.recv()).await.unwrap().unwrap().is_empty());
    });
}

#[test]
fn slow_readers_get_everything() {
    on_reactor(|| async {
        let (near, far) = pair().await;
        near.set_nodelay(true).unwrap();
        near.set_send_buffer(32 << 10).unwrap();
        far.set_recv_buffer(64 << 10).unwrap();
        let data = Bytes::from(pattern(2 << 20));
        let parts: Vec<Bytes> = (0..1500).map(|i| data.slice(i * 1000..(i + 1) * 1000)).collect();
        let rest = data.slice(1_500_000..);
        let sender = reactor::spawn(Priority::Latency, "sender", async move {
            near.send(parts).await.unwrap();
            near.send(vec![rest]).await.unwrap();
        });
        let mut back = BytesMut::new();
        while back.len() < data.len() {
            let received = far.recv().await.unwrap();
            assert!(!received.is_empty());
            back.extend_from_slice(&received);
            if back.len().is_multiple_of(7) {
                reactor::sleep(Duration::from_micros(300)).await;
            }
        }
        assert!(back == data);
        sender.await;
    });
}

#[test]
fn a_file_goes_whole_to_a_slow_reader() {
    on_reactor(|| async {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        let content = pattern(1 << 20);
        // Past the page cache, so that it is not resident and goes through a pipe at first.
        let options = OpenOptions::new().write(true).create(true).direct(true);
        if let Ok(file) = File::open(&path, &options).await {
            let mut bytes = reactor::aligned(1 << 20);
            bytes.extend_from_slice(&content);
            file.write_and_sync(bytes.freeze(), 0, SyncMethod::LinkedFdatasync).await.unwrap();
        } else {
            std::fs::write(&path, &content).unwrap();
        }
        for _ in 0..2 {
            let file = File::open(&path, &OpenOptions::new().read(true)).await.unwrap().share();
            let (near, far) = pair().await;
            near.set_nodelay(true).unwrap();
            near.set_send_buffer(32 << 10).unwrap();
            far.set_recv_buffer(64 << 10).unwrap();
            let sender = reactor::spawn(Priority::Latency, "sender", async move {
                near.send_file(&file, 999, (1 << 20) - 999).await.unwrap();
            });
            let mut back = BytesMut::new();
            while back.len() < (1 << 20) - 999 {
                back.extend_from_slice(&far.recv().await.unwrap());
                if back.len().is_multiple_of(11) {
                    reactor::sleep(Duration::from_micros(300)).await;
                }
            }
            assert!(back == content[999..]);
            sender.await;
        }
    });
}

#[test]
fn receivers_wait_their_turn_when_all_buffers_are_taken() {
    on_reactor(|| async {
        let buffers = usize::from(reactor::limits::RECV_BUFFERS);
        let mut held = Vec::new();
        let mut streams = Vec::new();
        for _ in 0..buffers {
            let (near, far) = pair().await;
            far.send(vec![Bytes::from_static(b"x")]).await.unwrap();
            held.push(near.recv().await.unwrap());
            streams.push((near, far));
        }
        let (near, far) = pair().await;
        far.send(vec![Bytes::from_static(b"y")]).await.unwrap();
        let starved = reactor::timeout(Duration::from_millis(20), near.recv()).await;
        assert!(starved.is_err());
        assert!(reactor::stats().receive_buffer_waits > 0);
        let release = reactor::spawn(Priority::Latency, "release", async move {
            reactor::sleep(Duration::from_millis(5)).await;
            drop(held);
        });
        let received = reactor::timeout(Duration::from_secs(5), near.recv()).await.unwrap().unwrap();
        assert_eq!(&*received, b"y");
        release.await;
    });
}

#[test]
fn a_receiver_that_gives_up_its_turn_passes_it_on() {
    on_reactor(|| async {
        let mut held = Vec::new();
        let mut streams = Vec::new();
        for _ in 0..reactor::limits::RECV_BUFFERS {
            let (near, far) = pair().await;
            far.send(vec![Bytes::from_static(b"x")]).await.unwrap();
            held.push(near.recv().await.unwrap());
            streams.push((near, far));
        }
        let (first, to_first) = pair().await;
        let (second, to_second) = pair().await;
        to_first.send(vec![Bytes::from_static(b"1")]).await.unwrap();
        to_second.send(vec![Bytes::from_static(b"2")]).await.unwrap();
        let mut at_first = Box::pin(first.recv());
        let mut at_second = Box::pin(second.recv());
        for _ in 0..5 {
            assert!(poll_once(&mut at_first).await.is_pending());
            assert!(poll_once(&mut at_second).await.is_pending());
            reactor::sleep(Duration::from_millis(1)).await;
        }
        held.pop(); // it is the first one's turn
        drop(at_first);
        let received = reactor::timeout(Duration::from_secs(5), at_second).await.unwrap().unwrap();
        assert_eq!(&*received, b"2");
    });
}

#[test]
fn a_stream_nobody_receives_from_accumulates_little() {
    on_reactor(|| async {
        let (near, far) = pair().await;
        let mut given_up = Box::pin(near.recv());
        assert!(poll_once(&mut given_up).await.is_pending());
        reactor::yield_now().await;
        drop(given_up);
        let data = Bytes::from(pattern(64 << 20));
        let sent = far.send(vec![data]);
        // The kernel's socket buffers fill; we hold at most one buffer.
        assert!(reactor::timeout(Duration::from_millis(100), sent).await.is_err());
        let first = near.recv().await.unwrap();
        assert!(first.len() <= reactor::limits::RECV_BUFFER_BYTES && first[..] == pattern(first.len())[..]);
    });
}

#[test]
fn a_hundred_thousand_tasks_sleep_and_wake() {
    on_reactor(|| async {
        let woken = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..100_000u64)
            .map(|i| {
                let woken = woken.clone();
                reactor::spawn(Priority::Background, "sleeper", async move {
                    reactor::sleep(Duration::from_millis(20 + i % 50)).await;
                    woken.set(woken.get() + 1);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(woken.get(), 100_000);
    });
}

#[test]
fn a_reactor_with_very_many_tasks_ends_promptly() {
    let start = std::time::Instant::now();
    on_reactor(|| async {
        for _ in 0..100_000 {
            let sleeper = reactor::sleep(Duration::from_secs(3600));
            reactor::spawn(Priority::Background, "sleeper", sleeper).detach();
        }
        reactor::sleep(Duration::from_millis(1)).await;
    });
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_task_that_holds_the_core_is_named() {
    on_reactor(|| async {
        let busy = reactor::spawn(Priority::Background, "hog", async {
            let start = reactor::now();
            while start.elapsed() < Duration::from_millis(5) {}
        });
        busy.await;
        let polls = reactor::stats().long_polls;
        let hog = polls.iter().find(|polls| polls.name == "hog").unwrap();
        assert_eq!(hog.count + hog.preempted, 1);
        assert_eq!(hog.count == 1, reactor::take_longest_poll().is_some_and(|(name, _)| name == "hog"));
    });
}

#[test]
fn a_spinning_reactor_serves_and_sleeps_too() {
    let main = || async {
        let (near, far) = pair().await;
        for _ in 0..100 {
            near.send(vec![Bytes::from_static(b"x")]).await.unwrap();
            assert_eq!(&*far.recv().await.unwrap(), b"x");
        }
        reactor::sleep(Duration::from_millis(3)).await;
    };
    Builder::new("spin").spin(Duration::from_micros(100)).run(main).unwrap();
}

#[test]
fn a_kernel_that_forbids_io_uring_is_named() {
    let refused = std::thread::spawn(|| {
        forbid_io_uring();
        Builder::new("forbidden").run(|| async {}).unwrap_err()
    });
    let error = refused.join().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(error.to_string().starts_with("io_uring is forbidden here: allow io_uring_setup"), "{error}");
}

/// What a container's seccomp profile does, for the calling thread.
#[allow(clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]
fn forbid_io_uring() {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, 0), // the number of the system call
        step(JUMP_IF_EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}

#[test]
fn a_spinning_reactor_does_not_sleep_over_background_work() {
    let main = || async {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, pattern(4096)).unwrap();
        let reading = reactor::spawn(Priority::Background, "read", async move {
            let file = File::open(&path, &OpenOptions::new().read(true)).await.unwrap();
            for _ in 0..1000 {
                assert_eq!(file.read_at(BytesMut::with_capacity(4096), 4096, 0).await.0.unwrap(), 4096);
            }
        });
        reading.await;
    };
    let spinning = Builder::new("spin").spin(Duration::from_micros(200)).spawn(main).unwrap();
    for _ in 0..1000 {
        if spinning.is_finished() {
            return spinning.join().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("asleep with a task queued");
}

#[test]
fn the_smallest_ring_takes_a_linked_pair() {
    let main = || async {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let options = OpenOptions::new().write(true).create(true);
        let file = File::open(&dir.path().join("file"), &options).await.unwrap();
        file.write_and_sync(Bytes::from_static(b"x"), 0, SyncMethod::LinkedFdatasync).await.unwrap();
    };
    Builder::new("small").ring_entries(1).run(main).unwrap();
}

#[test]
fn after_a_panic_every_destructor_finds_its_reactor() {
    struct Probe(std::sync::mpsc::Sender<bool>);
    impl Drop for Probe {
        fn drop(&mut self) {
            let _ = self.0.send(std::panic::catch_unwind(reactor::random_u64).is_ok());
        }
    }
    let (report, found) = std::sync::mpsc::channel();
    let doomed = Builder::new("doomed").spawn(move || async move {
        let bad = reactor::spawn(Priority::Latency, "bad", async {
            reactor::yield_now().await;
            panic!("as planned");
        });
        for _ in 0..3 {
            let probe = Probe(report.clone());
            let sleeper = async move {
                let _probe = probe;
                reactor::sleep(Duration::from_secs(3600)).await;
            };
            reactor::spawn(Priority::Latency, "sleeper", sleeper).detach();
        }
        drop(report);
        bad.await;
    });
    assert!(doomed.unwrap().join().is_err());
    assert_eq!(found.iter().collect::<Vec<_>>(), [true; 3]);
}

#[test]
fn a_link_to_a_folder_is_removed_without_what_it_points_to() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::fs::write(real.join("kept"), "x").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    on_reactor(move || async move {
        reactor::fs::remove_dir_all(&link).await.unwrap();
        assert!(!link.exists() && real.join("kept").exists());
    });
}
