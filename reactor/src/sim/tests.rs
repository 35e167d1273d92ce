use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{File, OpenOptions, SyncMethod, TcpListener, TcpStream, fs, now, sleep};

fn soon() -> Instant {
    now() + Duration::from_secs(60)
}

#[test]
fn virtual_time_leaps_and_tasks_run() {
    let simulation = Simulation::new(Options::new(1));
    let machine = simulation.machine(1 << 30, None);
    let slept = Rc::new(Cell::new(0));
    let done = slept.clone();
    let start = now();
    let reactor = simulation.start(machine, move || async move {
        for _ in 0..100 {
            sleep(Duration::from_millis(100)).await;
            done.set(done.get() + 1);
        }
    });
    assert!(simulation.run_until(soon(), || simulation.has_ended(reactor)));
    assert_eq!(slept.get(), 100);
    assert!(start.elapsed() >= Duration::from_secs(10));
}

/// A server that echoes, a client that sends, and a file written meanwhile. Returns the trace's hash.
fn busy_run(seed: u64) -> u64 {
    let simulation = Simulation::new(Options::new(seed));
    let (server, client) = (simulation.machine(1 << 30, None), simulation.machine(1 << 30, None));
    simulation.start(server, || async {
        let listener =
            TcpListener::bind("127.0.0.1:9092".parse().unwrap(), &crate::ListenOptions::default()).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            crate::spawn(Priority::Latency, "echo", async move {
                while let Ok(bytes) = stream.recv().await {
                    if bytes.is_empty() {
                        break;
                    }
                    let copy = Bytes::copy_from_slice(&bytes);
                    if stream.send(vec![copy.slice(..1), copy.slice(1..)]).await.is_err() {
                        break;
                    }
                }
            })
            .detach();
        }
    });
    let reactor = simulation.start(client, || async {
        sleep(Duration::from_millis(1)).await;
        let stream = TcpStream::connect("127.0.0.1:9092".parse().unwrap()).await.unwrap();
        let file =
            File::open(Path::new("/data"), &OpenOptions::new().write(true).create(true)).await.unwrap();
        for round in 0..50u8 {
            let sent = Bytes::from(vec![round; 5_000]);
            stream.send(vec![sent.clone()]).await.unwrap();
            let (count, back) = stream.recv_into(BytesMut::with_capacity(5_000), 5_000).await;
            assert_eq!(count.unwrap(), 5_000);
            assert_eq!(back, sent);
            file.write_at(back.freeze(), u64::from(round) * 5_000).await.unwrap();
        }
        file.sync_data().await.unwrap();
    });
    assert!(simulation.run_until(soon(), || simulation.has_ended(reactor)), "{}", simulation.last_events());
    simulation.trace_hash()
}

#[test]
fn one_seed_gives_one_trace_and_another_gives_another() {
    assert_eq!(busy_run(7), busy_run(7));
    assert_ne!(busy_run(7), busy_run(8));
}

async fn commit(path: &str, byte: u8, how: SyncMethod) -> io::Result<()> {
    let options = OpenOptions::new().read(true).write(true).create(true).direct(true);
    let file = File::open(Path::new(path), &options).await?;
    let mut block = crate::aligned(4096);
    block.resize(4096, byte);
    file.write_and_sync(block.freeze(), 0, how).await?;
    fs::sync_dir(Path::new("/")).await
}

#[test]
fn what_is_synced_survives_every_power_cut_and_the_rest_at_times_does_not() {
    let mut lost = 0;
    for seed in 0..60 {
        let simulation = Simulation::new(Options::new(seed));
        let machine = simulation.machine(1 << 30, None);
        let how = if seed % 2 == 0 { SyncMethod::LinkedFdatasync } else { SyncMethod::WriteDsync };
        let reactor = simulation.start(machine, move || async move {
            commit("/kept", 1, how).await.unwrap();
            let options = OpenOptions::new().write(true).create(true);
            let unsynced = File::open(Path::new("/lost"), &options).await.unwrap();
            unsynced.write_at(Bytes::from(vec![2; 4096]), 0).await.unwrap();
        });
        assert!(simulation.run_until(soon(), || simulation.has_ended(reactor)));
        simulation.power_cut(machine);
        let files = simulation.files(machine);
        assert!(files.contains(&("/kept".to_owned(), 4096)), "{files:?}");
        lost += u32::from(!files.contains(&("/lost".to_owned(), 4096)));
        let reactor = simulation.start(machine, || async {
            let file = File::open(Path::new("/kept"), &OpenOptions::new().read(true)).await.unwrap();
            let (count, bytes) = file.read_at(BytesMut::with_capacity(8192), 8192, 0).await;
            assert_eq!((count.unwrap(), &bytes[..]), (4096, &[1; 4096][..]));
        });
        assert!(simulation.run_until(soon(), || simulation.has_ended(reactor)));
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn a_power_cut_resets_connections_and_frees_the_machine() {
    let simulation = Simulation::new(Options::new(3));
    let (server, client) = (simulation.machine(1 << 30, None), simulation.machine(1 << 30, None));
    simulation.start(server, || async {
        let listener =
            TcpListener::bind("127.0.0.1:1".parse().unwrap(), &crate::ListenOptions::default()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let _ = stream.recv().await;
        std::future::pending::<()>().await;
    });
    let failed = Rc::new(Cell::new(false));
    let seen = failed.clone();
    let reactor = simulation.start(client, move || async move {
        sleep(Duration::from_millis(5)).await;
        let stream = TcpStream::connect("127.0.0.1:1".parse().unwrap()).await.unwrap();
        seen.set(stream.recv().await.is_err());
    });
    simulation.run_until(now() + Duration::from_millis(200), || false);
    simulation.power_cut(server);
    assert!(simulation.run_until(soon(), || simulation.has_ended(reactor)));
    assert!(failed.get());
}

#[test]
fn a_full_disk_and_a_planned_fault_give_their_errors() {
    let simulation = Simulation::new(Options::new(4));
    let machine = simulation.machine(64 << 10, None);
    simulation
        .fail(machine, Fault { on: On::Sync, path: "/bad".into(), errno: libc::EIO, after: 1, times: 1 });
    let reactor = simulation.start(machine, || async {
        let file = File::open(Path::new("/big"), &OpenOptions::new().write(true).create(true)).await.unwrap();
        let error = file.write_at(Bytes::from(vec![1; 128 << 10]), 0).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        for expected in [true, false, true] {
            let synced = commit("/bad", 1, SyncMethod::LinkedFdatasync).await;
            assert_eq!(synced.is_ok(), expected, "{synced:?}");
        }
    });
    assert!(simulation.run_until(soon(), || simulation.has_ended(reactor)));
    assert_eq!(simulation.disk_stats(machine).failed, 1);
}

/// Writes some files and syncs none of them; then their file system, and perhaps one file.
async fn write_together(flush: bool) -> io::Result<()> {
    let root = File::open(Path::new("/"), &OpenOptions::new().read(true)).await?;
    let options = OpenOptions::new().write(true).create(true).direct(true);
    let mut last = None;
    for number in 0..5 {
        let file = File::open(Path::new(&format!("/{number}")), &options).await?;
        let mut block = crate::aligned(4096);
        block.resize(4096, 7);
        file.write_at(block.freeze(), 0).await?;
        last = Some(file);
    }
    fs::sync_dir(Path::new("/")).await?;
    fs::sync_file_system(&root).await?;
    match last {
        Some(file) if flush => file.sync_data().await,
        _ => Ok(()),
    }
}

#[test]
fn a_synced_file_system_survives_every_power_cut_when_the_device_was_flushed() {
    let mut lost = 0;
    for seed in 0..60 {
        let flush = seed % 2 == 0;
        let simulation = Simulation::new(Options::new(seed));
        let machine = simulation.machine(1 << 30, None);
        let reactor = simulation.start(machine, move || async move { write_together(flush).await.unwrap() });
        assert!(simulation.run_until(soon(), || simulation.has_ended(reactor)));
        assert_eq!(simulation.disk_stats(machine).syncs_of_all, 1);
        simulation.power_cut(machine);
        let whole = simulation.files(machine).iter().filter(|(_, length)| *length == 4096).count();
        assert!(whole == 5 || !flush, "seed {seed}: {whole}");
        lost += 5 - whole;
    }
    assert!(lost > 20, "{lost}");
}

#[test]
fn a_flush_covers_a_sync_of_everything_only_when_it_began_after_it() {
    let mut lost = 0;
    for seed in 0..40 {
        let simulation = Simulation::new(Options::new(seed));
        let machine = simulation.machine(1 << 30, None);
        let reactor = simulation.start(machine, || async {
            commit("/other", 1, SyncMethod::LinkedFdatasync).await.unwrap();
            let other = File::open(Path::new("/other"), &OpenOptions::new().write(true)).await.unwrap();
            let together = crate::spawn(Priority::Latency, "together", write_together(false));
            while !together.is_finished() {
                other.sync_data().await.unwrap();
            }
        });
        assert!(simulation.run_until(soon(), || simulation.has_ended(reactor)));
        simulation.power_cut(machine);
        lost += simulation.files(machine).iter().filter(|(_, length)| *length != 4096).count();
    }
    assert!(lost > 0, "{lost}");
}

#[test]
fn one_file_that_fails_fails_the_sync_of_its_file_system() {
    let simulation = Simulation::new(Options::new(5));
    let machine = simulation.machine(1 << 30, None);
    simulation.fail(machine, Fault { on: On::Sync, path: "/3".into(), errno: libc::EIO, after: 0, times: 1 });
    let reactor = simulation.start(machine, || async {
        let error = write_together(true).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        write_together(true).await.unwrap();
    });
    assert!(simulation.run_until(soon(), || simulation.has_ended(reactor)));
    assert_eq!(simulation.disk_stats(machine).failed, 1);
}
