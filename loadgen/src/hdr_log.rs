//! The standard `HdrHistogram` interval log: what its own tools, and any other that reads it, can plot.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::client::ClientError;
use crate::histogram::Histogram;

/// A log being written.
pub(crate) struct HdrLog {
    path: PathBuf,
    file: BufWriter<File>,
    serializer: V2DeflateSerializer,
}

impl HdrLog {
    /// Begins a log of a run that started at `started`. An existing file is replaced.
    pub(crate) fn create(path: &Path, started: SystemTime) -> Result<Self, ClientError> {
        let cannot = |cause| ClientError::Local { what: format!("cannot write {}", path.display()), cause };
        let mut file = BufWriter::new(File::create(path).map_err(cannot)?);
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("values in microseconds, a tag for each latency of each part")
            .with_start_time(started)
            .begin_log_with(&mut file, &mut serializer)
            .map_err(cannot)?;
        Ok(Self { path: path.to_owned(), file, serializer })
    }

    /// Adds the latencies of an interval, if there are any.
    pub(crate) fn write(
        &mut self,
        tag: &str,
        interval: (Duration, Duration),
        latencies: &Histogram,
    ) -> Result<(), ClientError> {
        if latencies.count() == 0 {
            return Ok(());
        }
        let tag: String = tag.chars().map(|char| if " ,\r\n".contains(char) { '_' } else { char }).collect();
        let written = IntervalLogWriterBuilder::new()
            .begin_log_with(&mut self.file, &mut self.serializer)
            .map_err(|cause| cause.to_string())
            .and_then(|mut log| {
                log.write_histogram(latencies.as_micros(), interval.0, interval.1, Tag::new(&tag))
                    .map_err(|cause| cause.to_string())
            });
        written.map_err(|why| self.cannot(why))
    }

    /// Brings everything to the file.
    pub(crate) fn finish(mut self) -> Result<(), ClientError> {
        self.file.flush().map_err(|cause| self.cannot(cause.to_string()))
    }

    fn cannot(&self, why: String) -> ClientError {
        let what = format!("cannot write {}", self.path.display());
        ClientError::Local { what, cause: std::io::Error::other(why) }
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    #[test]
    fn the_log_is_read_by_the_standard_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.hlog");
        let mut log = HdrLog::create(&path, SystemTime::now()).unwrap();
        let mut latencies = Histogram::new();
        latencies.record(Duration::from_millis(7), 3);
        let second = |number| (Duration::from_secs(number), Duration::from_secs(1));
        log.write("a part.latency", second(0), &latencies).unwrap();
        log.write("empty", second(1), &Histogram::new()).unwrap();
        latencies.record(Duration::from_millis(9), 1);
        log.write("a part.latency", second(2), &latencies).unwrap();
        log.finish().unwrap();

        let text = std::fs::read(&path).unwrap();
        let mut counts = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            assert_eq!(interval.tag().map(|tag| tag.as_str().to_owned()).as_deref(), Some("a_part.latency"));
            let packed = base64(interval.encoded_histogram());
            let read: hdrhistogram::Histogram<u64> =
                Deserializer::new().deserialize(&mut packed.as_slice()).unwrap();
            counts.push((interval.start_timestamp().as_secs(), read.len(), read.value_at_quantile(0.5)));
        }
        assert_eq!(counts.len(), 2);
        assert_eq!((counts[0].0, counts[0].1, counts[1].0, counts[1].1), (0, 3, 2, 4));
        assert!(counts.iter().all(|(.., median)| (6_990..=7_010).contains(median)), "{counts:?}");
    }

    /// The bytes of a text in base64.
    fn base64(text: &str) -> Vec<u8> {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
        for digit in text.bytes().filter(|byte| *byte != b'=') {
            let value = DIGITS.iter().position(|known| *known == digit).unwrap() as u32;
            (bits, count) = (bits << 6 | value, count + 6);
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
                bits &= (1 << count) - 1;
            }
        }
        bytes
    }
}
