//! What the machine can do without any broker: its disk past the page cache, and its loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reactor::{File, Instant, ListenOptions, OpenOptions, Priority, SyncMethod, TcpListener, TcpStream};
use serde::{Deserialize, Serialize};

use crate::client::ClientError;
use crate::histogram::Histogram;
use crate::limits::{PROFILE_BLOCK_BYTES, PROFILE_LOOPBACK_SEND_BYTES};
use crate::tally::StopFlag;

/// Smallest write that a log makes durable.
const SYNCED_BYTES: usize = 4096;

/// Blocks on their way to or from the disk at a time.
const DEPTH: usize = 16;

/// Times that the file is written and read: the best counts.
const PASSES: usize = 3;

/// Writers with a sync each, at the same time.
const SYNCERS: [usize; 4] = [1, 4, 16, 64];

/// Connections at the same time.
const CONNECTIONS: [usize; 3] = [1, 2, 4];

/// A member of the profile.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) sync_p50_ms: f64,
    pub(crate) sync_p99_ms: f64,
    pub(crate) syncs_per_s: f64,
    pub(crate) append_bytes_per_s: f64,
    pub(crate) read_bytes_per_s: f64,
    pub(crate) network_bytes_per_s: f64,
    pub(crate) network: String,
    pub(crate) disk_bytes: u64,
}

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Of the file that is written and read.
    pub(crate) file_bytes: u64,
    /// For each thing that is counted in a time.
    pub(crate) each: Duration,
}

/// Measures in a folder of the disk that the broker writes to. `None` when it was asked to stop.
pub(crate) fn measure(dir: &Path, effort: Effort, stop: &StopFlag) -> Result<Option<Limits>, ClientError> {
    let cannot =
        |cause| ClientError::Local { what: format!("cannot measure the disk in {}", dir.display()), cause };
    let disk_bytes = reactor::fs::space(dir).map_err(cannot)?.total_bytes;
    let (folder, stopped) = (dir.to_path_buf(), stop.clone());
    let work = move || async move { disk(&folder, effort, &stopped).await };
    let Some(disk) =
        reactor::Builder::new("profile-disk").run(work).map_err(ClientError::no_reactor)?.map_err(cannot)?
    else {
        return Ok(None);
    };
    let mut network_bytes_per_s: f64 = 0.0;
    for connections in CONNECTIONS {
        if stop.is_set() {
            return Ok(None);
        }
        let rate = loopback(connections, effort.each)
            .map_err(|cause| ClientError::Local { what: "cannot measure the loopback".to_owned(), cause })?;
        network_bytes_per_s = network_bytes_per_s.max(rate);
    }
    Ok(Some(Limits {
        sync_p50_ms: disk.syncs.percentile_ms(50.0),
        sync_p99_ms: disk.syncs.percentile_ms(99.0),
        syncs_per_s: disk.syncs_per_s,
        append_bytes_per_s: disk.append_bytes_per_s,
        read_bytes_per_s: disk.read_bytes_per_s,
        network_bytes_per_s,
        network: "loopback".to_owned(),
        disk_bytes,
    }))
}

struct Disk {
    syncs: Histogram,
    syncs_per_s: f64,
    append_bytes_per_s: f64,
    read_bytes_per_s: f64,
}

async fn disk(dir: &Path, effort: Effort, stop: &StopFlag) -> io::Result<Option<Disk>> {
    let path = dir.join(format!("loadgen-profile-{:016x}.tmp", reactor::random_u64()));
    let options = OpenOptions::new().read(true).write(true).create_new(true).direct(true);
    let file = File::open(&path, &options).await?;
    // Without a name it is gone when this program is, however it ends.
    reactor::fs::remove_file(&path).await?;
    let blocks = (effort.file_bytes / PROFILE_BLOCK_BYTES as u64).max(1);
    // A log has its files before it writes to them.
    file.allocate(0, blocks * PROFILE_BLOCK_BYTES as u64).await?;
    let mut found =
        Disk { syncs: Histogram::new(), syncs_per_s: 0.0, append_bytes_per_s: 0.0, read_bytes_per_s: 0.0 };
    for _ in 0..PASSES {
        found.append_bytes_per_s = found.append_bytes_per_s.max(append(&file, blocks).await?);
        if stop.is_set() {
            return Ok(None);
        }
        found.read_bytes_per_s = found.read_bytes_per_s.max(read(&file, blocks).await?);
    }
    for syncers in SYNCERS {
        if stop.is_set() {
            return Ok(None);
        }
        let (latencies, rate) = sync(&file, syncers, blocks, effort.each).await?;
        if syncers == 1 {
            found.syncs = latencies;
        }
        found.syncs_per_s = found.syncs_per_s.max(rate);
    }
    Ok(Some(found))
}

/// Writes so many blocks in order, and makes them durable.
async fn append(file: &File, blocks: u64) -> io::Result<f64> {
    // Of chance: some disks do not write zeros, nor what repeats.
    let block = noise(PROFILE_BLOCK_BYTES);
    let began = reactor::now();
    each_block(
        blocks,
        move |file, position| {
            let block = block.clone();
            async move { file.write_at(block, position).await }
        },
        file,
    )
    .await?;
    file.sync_data().await?;
    Ok((blocks * PROFILE_BLOCK_BYTES as u64) as f64 / began.elapsed().as_secs_f64())
}

async fn read(file: &File, blocks: u64) -> io::Result<f64> {
    let began = reactor::now();
    each_block(
        blocks,
        |file, position| async move {
            let buffer = reactor::aligned(PROFILE_BLOCK_BYTES);
            let (read, _) = file.read_at(buffer, PROFILE_BLOCK_BYTES, position).await;
            match read? {
                PROFILE_BLOCK_BYTES => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        },
        file,
    )
    .await?;
    Ok((blocks * PROFILE_BLOCK_BYTES as u64) as f64 / began.elapsed().as_secs_f64())
}

/// Does something to all blocks, [`DEPTH`] at a time, in order.
async fn each_block<Doing>(
    blocks: u64,
    work: impl Fn(File, u64) -> Doing + Clone + 'static,
    file: &File,
) -> io::Result<()>
where
    Doing: Future<Output = io::Result<()>> + 'static,
{
    let next = std::rc::Rc::new(std::cell::Cell::new(0));
    let tasks: Vec<_> = (0..DEPTH)
        .map(|_| {
            let (next, work, file) = (next.clone(), work.clone(), file.clone());
            reactor::spawn(Priority::Latency, "block", async move {
                while next.get() < blocks {
                    let block: u64 = next.replace(next.get() + 1);
                    work(file.clone(), block * PROFILE_BLOCK_BYTES as u64).await?;
                }
                Ok(())
            })
        })
        .collect();
    let mut done = Ok(());
    for task in tasks {
        let each: io::Result<()> = task.await;
        done = done.and(each);
    }
    done
}

/// Small writes, each made durable, so many at a time, for a time: how long each took, and how many there were a second.
async fn sync(file: &File, syncers: usize, blocks: u64, time: Duration) -> io::Result<(Histogram, f64)> {
    let began = reactor::now();
    let places = blocks * (PROFILE_BLOCK_BYTES / SYNCED_BYTES) as u64;
    let tasks: Vec<_> = (0..syncers)
        .map(|syncer| {
            let file = file.clone();
            reactor::spawn(Priority::Latency, "sync", async move {
                let data = noise(SYNCED_BYTES);
                let (mut place, mut latencies) = (syncer as u64, Histogram::new());
                while began.elapsed() < time {
                    let position = place % places * SYNCED_BYTES as u64;
                    let start = reactor::now();
                    file.write_and_sync(data.clone(), position, SyncMethod::LinkedFdatasync).await?;
                    latencies.record(start.elapsed(), 1);
                    place += syncers as u64;
                }
                Ok(latencies)
            })
        })
        .collect();
    let mut all = Histogram::new();
    let mut failed = None;
    for task in tasks {
        let each: io::Result<Histogram> = task.await;
        match each {
            Ok(latencies) => all.add(&latencies),
            Err(error) => failed = Some(error),
        }
    }
    let rate = all.count() as f64 / began.elapsed().as_secs_f64();
    failed.map_or(Ok((all, rate)), Err)
}

/// Aligned bytes of chance.
fn noise(length: usize) -> Bytes {
    let mut bytes = reactor::aligned(length);
    while bytes.len() < length {
        let word = reactor::random_u64().to_le_bytes();
        bytes.extend_from_slice(&word[..word.len().min(length - bytes.len())]);
    }
    bytes.freeze()
}

/// Bytes a second from one reactor to another, over so many connections.
fn loopback(connections: usize, time: Duration) -> io::Result<f64> {
    let (tell, address) = std::sync::mpsc::sync_channel(1);
    let receiver = reactor::Builder::new("profile-receiver").spawn(move || async move {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any, &ListenOptions { reuse_port: false, backlog: 16 })?;
        let _ = tell.send(listener.local_addr()?);
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let (stream, _) = listener.accept().await?;
            tasks.push(reactor::spawn(Priority::Latency, "receive", receive(stream)));
        }
        let (mut bytes, mut first, mut last) = (0, None::<Instant>, None::<Instant>);
        for task in tasks {
            let (count, began, ended): (u64, Instant, Instant) = task.await?;
            bytes += count;
            first = Some(first.map_or(began, |first| first.min(began)));
            last = Some(last.map_or(ended, |last| last.max(ended)));
        }
        let seconds = first.zip(last).map_or(0.0, |(first, last)| last.since(first).as_secs_f64());
        Ok::<f64, io::Error>(if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 })
    })?;
    if let Ok(address) = address.recv() {
        let send = move || async move {
            let data = Bytes::from(vec![b'x'; PROFILE_LOOPBACK_SEND_BYTES]);
            let began = reactor::now();
            let mut tasks = Vec::new();
            for _ in 0..connections {
                let stream = TcpStream::connect(address).await?;
                let data = data.clone();
                tasks.push(reactor::spawn(Priority::Latency, "send", async move {
                    while began.elapsed() < time {
                        stream.send(vec![data.clone()]).await?;
                    }
                    stream.shutdown(reactor::Shutdown::Write)
                }));
            }
            for task in tasks {
                task.await?;
            }
            Ok::<(), io::Error>(())
        };
        reactor::Builder::new("profile-sender").run(send)??;
    }
    receiver.join()?
}

/// What came, when it began and when it ended.
async fn receive(stream: TcpStream) -> io::Result<(u64, Instant, Instant)> {
    let began = reactor::now();
    let mut bytes = 0;
    let mut buffer = BytesMut::with_capacity(PROFILE_LOOPBACK_SEND_BYTES);
    loop {
        let (received, back) = stream.recv_into(buffer, 1).await;
        buffer = back;
        match received? {
            0 => return Ok((bytes, began, reactor::now())),
            count => bytes += count as u64,
        }
        buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFORT: Effort = Effort { file_bytes: 16 << 20, each: Duration::from_millis(100) };

    #[test]
    fn every_limit_is_a_number_above_zero_and_nothing_stays_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let limits = measure(folder.path(), EFFORT, &StopFlag::default()).unwrap().unwrap();
        assert!(limits.sync_p50_ms > 0.0 && limits.sync_p99_ms >= limits.sync_p50_ms, "{limits:?}");
        assert!(limits.syncs_per_s > 1.0 && limits.disk_bytes > 1 << 20, "{limits:?}");
        for rate in [limits.append_bytes_per_s, limits.read_bytes_per_s, limits.network_bytes_per_s] {
            assert!(rate > 1e6, "{limits:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn it_stops_when_it_is_asked_to_and_names_a_folder_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let stop = StopFlag::default();
        stop.set();
        assert!(measure(folder.path(), EFFORT, &stop).unwrap().is_none());
        let error = measure(&folder.path().join("none"), EFFORT, &stop).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
