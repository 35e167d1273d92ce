//! The two index files of a finished segment: Kafka's entries, and a trailer by which damage is seen.
//!
//! ```text
//! entries, then the trailer: 12 bytes 0xff | magic "CLix" | length of the entries u32 | crc u32 (of the entries)
//! ```
//!
//! Whatever is wrong with a file, a missing trailer too, is answered by making both again from the segment.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use reactor::{File, OpenOptions};

use crate::cold_segments::{ColdIndexes, segment_path};
use crate::error::StorageError;
use crate::offset_index::{self, IndexBounds, OffsetIndex};
use crate::time_index::{self, TimeIndex};
use crate::types::SegmentBase;

const MAGIC: &[u8; 4] = b"CLix";
const ONES: [u8; 12] = [0xff; 12];
const TRAILER_BYTES: usize = 24;

/// Writes and syncs both files. Their names are the caller's to make durable.
pub(crate) async fn write(
    dir: &Path,
    base: SegmentBase,
    offsets: &OffsetIndex,
    times: &TimeIndex,
) -> Result<(), StorageError> {
    let mut content = [Vec::new(), Vec::new()];
    offsets.encode(&mut content[0]);
    times.encode(&mut content[1]);
    for (extension, mut content) in ["index", "timeindex"].into_iter().zip(content) {
        seal(&mut content);
        let path = segment_path(dir, base, extension);
        let options = OpenOptions::new().write(true).create(true).truncate(true);
        let file = File::open(&path, &options).await.map_err(StorageError::io("open", &path))?;
        file.write_at(content.into(), 0).await.map_err(StorageError::io("write", &path))?;
        file.sync_data().await.map_err(StorageError::io("sync", &path))?;
    }
    Ok(())
}

/// The indexes from their files; `None` when one is missing, damaged or not of this segment.
pub(crate) async fn read(dir: &Path, base: SegmentBase, bounds: IndexBounds) -> Option<ColdIndexes> {
    let entries_max = bounds.segment_bytes as usize / wire::kafka::record_batch::HEADER_LEN + 1;
    let file = |extension| segment_path(dir, base, extension);
    let offsets = read_all(file("index"), entries_max * offset_index::ENTRY_BYTES).await?;
    let times = read_all(file("timeindex"), entries_max * time_index::ENTRY_BYTES).await?;
    let offsets = OffsetIndex::decode(entries(&offsets)?, bounds).ok()?;
    let times = TimeIndex::decode(entries(&times)?, bounds.offset_span).ok()?;
    Some(ColdIndexes { offsets, times })
}

/// A small file's content; `None` when it is missing or its entries are longer than `length_max`.
async fn read_all(path: PathBuf, length_max: usize) -> Option<BytesMut> {
    let file = File::open(&path, &OpenOptions::new().read(true)).await.ok()?;
    let length = usize::try_from(file.size().await.ok()?).ok()?;
    if length > length_max + TRAILER_BYTES {
        return None;
    }
    let (read, bytes) = file.read_at(BytesMut::with_capacity(length), length, 0).await;
    (read.ok()? == length).then_some(bytes)
}

fn seal(content: &mut Vec<u8>) {
    let (length, crc) = (content.len() as u32, crc32c::crc32c(content));
    content.extend_from_slice(&ONES);
    content.extend_from_slice(MAGIC);
    content.extend_from_slice(&length.to_le_bytes());
    content.extend_from_slice(&crc.to_le_bytes());
}

/// The entries of a file; `None` when its trailer is not theirs.
fn entries(content: &[u8]) -> Option<&[u8]> {
    let (entries, _) = content.split_last_chunk::<TRAILER_BYTES>()?;
    let mut sealed = entries.to_vec();
    seal(&mut sealed);
    (sealed == content).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset_index::IndexedBatch;
    use crate::types::{Offset, Position, Timestamp};

    fn sample() -> (OffsetIndex, TimeIndex) {
        let (mut offsets, mut times) = (OffsetIndex::new(), TimeIndex::new());
        for number in 0..20 {
            let position = Position(number as u64 * 5000);
            let batch = IndexedBatch::new(SegmentBase(0), Offset(number * 50), position, 5000).unwrap();
            times.observe(Timestamp(1000 + number * 10), batch.last_relative_offset);
            if offsets.append(batch, 4096) {
                times.append();
            }
        }
        (offsets, times)
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_seen_in_either_file() {
        let (offsets, times) = sample();
        let mut bytes = [Vec::new(), Vec::new()];
        offsets.encode(&mut bytes[0]);
        times.encode(&mut bytes[1]);
        for (which, mut bytes) in bytes.into_iter().enumerate() {
            let plain = bytes.clone();
            seal(&mut bytes);
            assert_eq!(entries(&bytes), Some(&plain[..]));
            for length in 0..bytes.len() {
                assert_eq!(entries(&bytes[..length]), None, "file {which}, cut at {length}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(entries(&bad), None, "file {which}, bit {bit}");
            }
        }
    }
}
