//! How commits are synced best here: measured on the ring itself.

use std::time::Duration;

use reactor::{File, SyncMethod};

use crate::commit_log::ring::Ring;
use crate::error::StorageError;
use crate::limits::{BLOCK, PROBE_COMMITS};
use crate::options::{StoreOptions, SyncChoice};
use crate::store::SyncProbe;

/// Times a few commits of one block of zeros where no commit is, and chooses. `RWF_DSYNC` is tried only where the
/// device says that it can make one write durable by itself; elsewhere it is many times slower beside a busy core.
pub(crate) async fn probe(options: &StoreOptions, ring: &Ring) -> Result<SyncProbe, StorageError> {
    let dir = options.ring_dir();
    let fua = reactor::fs::device_has_fua(&dir).ok().flatten().unwrap_or(false);
    let methods: &[SyncMethod] = match options.sync {
        SyncChoice::Dsync => &[SyncMethod::WriteDsync],
        SyncChoice::Auto if fua => &[SyncMethod::LinkedFdatasync, SyncMethod::WriteDsync],
        SyncChoice::Auto | SyncChoice::Fdatasync => &[SyncMethod::LinkedFdatasync],
    };
    let mut best = SyncProbe { method: methods[0], latency: Duration::ZERO };
    let Some((file, position)) = ring.unused_block() else { return Ok(best) };
    for (index, method) in methods.iter().enumerate() {
        let latency =
            median(&file, position, *method).await.map_err(StorageError::io("time a commit in", &dir))?;
        if index == 0 || latency < best.latency {
            best = SyncProbe { method: *method, latency };
        }
    }
    Ok(best)
}

async fn median(file: &File, position: u64, method: SyncMethod) -> std::io::Result<Duration> {
    let mut zeros = reactor::aligned(BLOCK as usize);
    zeros.resize(BLOCK as usize, 0);
    let zeros = zeros.freeze();
    let mut times = Vec::with_capacity(PROBE_COMMITS);
    for _ in 0..PROBE_COMMITS {
        let started = reactor::now();
        file.write_and_sync(zeros.clone(), position, method).await?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times[PROBE_COMMITS / 2])
}
