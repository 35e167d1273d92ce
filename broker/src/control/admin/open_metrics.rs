//! The page of metrics, in the text format of `OpenMetrics`.
//!
//! Names are `corelane_` and the thing, with its unit last; counters end in `_total`. docs/operations.md says of each what
//! it means and what to do, and a test compares the two. Counters are summed over shards where one shard's share tells
//! nothing.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use wire::kafka::{ApiKey, ErrorCode};

use super::Look;
use super::observer::ShardView;
use super::process;
use crate::metrics::{Closed, CountersSnapshot, HISTOGRAM_BUCKETS, HistogramSnapshot};

/// The page for what was seen.
pub(super) fn page(look: Look) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(look));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

impl Collector for Look {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        node(&mut page, self)?;
        requests(&mut page, &self.shards)?;
        connections(&mut page, &self.shards)?;
        traffic(&mut page, &self.shards)?;
        commits(&mut page, &self.shards)?;
        storage(&mut page, &self.shards)?;
        reactors(&mut page, &self.shards)?;
        process_of(&mut page)
    }
}

type Labels = Vec<(&'static str, String)>;

/// One name, its unit and its meaning.
struct Name(&'static str, Option<Unit>, &'static str);

/// A page in the making.
struct Page<'e>(DescriptorEncoder<'e>);

impl Page<'_> {
    fn family<V>(
        &mut self,
        Name(name, unit, help): Name,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels, V)>,
        mut write: impl FnMut(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                write(&mut family, &value)?;
            } else {
                write(&mut family.encode_family(&labels)?, &value)?;
            }
        }
        Ok(())
    }

    fn counter<V: EncodeCounterValue>(
        &mut self,
        name: Name,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        self.family(name, MetricType::Counter, samples, |encoder, value| {
            encoder.encode_counter::<NoLabelSet, V, u64>(value, None)
        })
    }

    fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: Name,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        #[allow(clippy::redundant_closure_for_method_calls, reason = "the method fits one lifetime only")]
        self.family(name, MetricType::Gauge, samples, |encoder, value| encoder.encode_gauge(value))
    }

    /// Values counted by powers of two of `step`, which is in the name's unit.
    fn histogram(
        &mut self,
        name: Name,
        step: f64,
        samples: impl IntoIterator<Item = (Labels, HistogramSnapshot)>,
    ) -> fmt::Result {
        self.family(name, MetricType::Histogram, samples, |encoder, value| {
            let bound = |at: usize| {
                if at + 1 == HISTOGRAM_BUCKETS { f64::MAX } else { step * (1_u64 << at) as f64 }
            };
            let buckets: Vec<(f64, u64)> =
                value.buckets.iter().enumerate().map(|(at, count)| (bound(at), *count)).collect();
            let count = value.buckets.iter().sum();
            encoder.encode_histogram::<NoLabelSet>(value.sum as f64 * step, count, &buckets, None)
        })
    }
}

/// The one sample of a name without labels.
fn one<V>(value: V) -> [(Labels, V); 1] {
    [(Labels::new(), value)]
}

/// A sample for each shard.
fn each<'a, V>(
    shards: &'a [ShardView],
    value: impl Fn(&ShardView) -> V + 'a,
) -> impl Iterator<Item = (Labels, V)> + 'a {
    shards.iter().map(move |shard| (vec![("shard", shard.index.to_string())], value(shard)))
}

/// The sum of what all shards counted.
fn sum(shards: &[ShardView], value: impl Fn(&CountersSnapshot) -> u64) -> u64 {
    shards.iter().map(|shard| value(&shard.last.counters)).fold(0, u64::wrapping_add)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn node(page: &mut Page<'_>, look: &Look) -> fmt::Result {
    let published = &look.published;
    let image = &published.image;
    let build = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    page.family(
        Name("corelane_build", None, "Version of the broker"),
        MetricType::Info,
        one(()),
        |encoder, ()| encoder.encode_info(&build),
    )?;
    page.gauge(
        Name("corelane_ready", None, "1 while clients are served, as /health/ready says"),
        one(u32::from(look.complaints.is_empty())),
    )?;
    page.gauge(
        Name("corelane_uptime", Some(Unit::Seconds), "Since the control thread started"),
        one(look.uptime.as_secs_f64()),
    )?;
    page.gauge(Name("corelane_topics", None, "Topics"), one(image.topic_count() as u64))?;
    page.gauge(Name("corelane_partitions", None, "Partitions"), one(image.partition_count() as u64))?;
    page.gauge(
        Name("corelane_groups", None, "Consumer groups"),
        one(look.shards.iter().map(|shard| shard.last.groups).sum::<u64>()),
    )?;
    page.gauge(
        Name("corelane_metadata_version", None, "Version of the last published metadata image"),
        one(image.version()),
    )?;
    page.gauge(
        Name(
            "corelane_metadata_log_failed",
            None,
            "1 when the last change of metadata could not be made durable",
        ),
        one(u32::from(published.log_failed)),
    )?;
    page.gauge(
        Name("corelane_shard_up", None, "1 if the shard answered this scrape; else its figures are old"),
        each(&look.shards, |shard| u32::from(shard.answered)),
    )?;
    page.counter(
        Name("corelane_shard_unanswered", None, "Scrapes and health checks that the shard did not answer"),
        each(&look.shards, |shard| shard.unanswered),
    )
}

fn requests(page: &mut Page<'_>, shards: &[ShardView]) -> fmt::Result {
    let mut latencies: BTreeMap<ApiKey, HistogramSnapshot> = BTreeMap::new();
    let mut errors: BTreeMap<(ApiKey, i16), u64> = BTreeMap::new();
    for shard in shards {
        for (key, latency) in &shard.last.counters.latencies {
            latencies.entry(*key).or_default().add(latency);
        }
        for (key, code, count) in &shard.last.counters.errors {
            *errors.entry((*key, *code)).or_default() += count;
        }
    }
    let label = |key: ApiKey| ("api", key.name().to_owned());
    page.histogram(
        Name(
            "corelane_request_latency",
            Some(Unit::Seconds),
            "From a request's last byte to its answer, waiting for records included",
        ),
        1e-6,
        latencies.into_iter().map(|(key, latency)| (vec![label(key)], latency)),
    )?;
    page.counter(
        Name("corelane_request_errors", None, "Error codes in answers; one answer may hold several"),
        errors.into_iter().map(|((key, code), count)| (vec![label(key), ("error", error_name(code))], count)),
    )?;
    page.counter(
        Name("corelane_mesh_calls", None, "Calls that the shard sent to others for requests of its clients"),
        each(shards, |shard| shard.last.counters.hops),
    )?;
    page.gauge(
        Name("corelane_mesh_queued", None, "Calls of other shards that wait at this one"),
        each(shards, |shard| shard.last.mesh_queued),
    )?;
    page.gauge(
        Name("corelane_fetches_parked", None, "Fetch requests that wait for records"),
        one(sum(shards, |counters| counters.fetches_parked)),
    )
}

/// A code as Kafka writes it: `NOT_LEADER_OR_FOLLOWER`.
fn error_name(code: i16) -> String {
    let Some(known) = ErrorCode::from_code(code) else { return code.to_string() };
    let mut name = String::new();
    for char in format!("{known:?}").chars() {
        if char.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(char.to_ascii_uppercase());
    }
    name
}

fn connections(page: &mut Page<'_>, shards: &[ShardView]) -> fmt::Result {
    page.gauge(
        Name("corelane_connections", None, "Open connections"),
        each(shards, |shard| shard.last.connections),
    )?;
    page.counter(
        Name("corelane_connections_accepted", None, "Connections that listeners took"),
        one(sum(shards, |counters| counters.connections_accepted)),
    )?;
    let closed = Closed::ALL.into_iter().map(|reason| {
        let count = sum(shards, |counters| counters.closed[reason as usize]);
        (vec![("reason", reason.name().to_owned())], count)
    });
    page.counter(Name("corelane_connections_closed", None, "Connections refused or closed by us"), closed)?;
    page.counter(
        Name(
            "corelane_accept_throttle",
            Some(Unit::Seconds),
            "For how long accepting was held back by max.connections and max.connection.creation.rate",
        ),
        one(seconds(sum(shards, |counters| counters.accept_throttle_us))),
    )?;
    page.counter(
        Name(
            "corelane_client_throttle",
            Some(Unit::Seconds),
            "For how long clients were told to wait, and were not read, because of their quotas",
        ),
        one(seconds(sum(shards, |counters| counters.client_throttle_us))),
    )?;
    page.gauge(
        Name("corelane_request_memory_limit", Some(Unit::Bytes), "Memory that requests in flight may hold"),
        each(shards, |shard| shard.last.requests.limit_bytes),
    )?;
    page.gauge(
        Name("corelane_request_memory_used", Some(Unit::Bytes), "Memory that requests in flight hold"),
        each(shards, |shard| shard.last.requests.used_bytes),
    )?;
    page.counter(
        Name(
            "corelane_request_memory_evictions",
            None,
            "Connections closed whose requests stood still meanwhile",
        ),
        each(shards, |shard| shard.last.requests.evicted),
    )?;
    page.gauge(
        Name("corelane_request_memory_waiters", None, "Connections that are not read until memory is free"),
        each(shards, |shard| shard.last.requests.waiters),
    )
}

fn traffic(page: &mut Page<'_>, shards: &[ShardView]) -> fmt::Result {
    page.counter(
        Name("corelane_received", Some(Unit::Bytes), "Bytes of requests"),
        one(sum(shards, |counters| counters.received_bytes)),
    )?;
    page.counter(
        Name("corelane_sent", Some(Unit::Bytes), "Bytes of answers"),
        one(sum(shards, |counters| counters.sent_bytes)),
    )?;
    page.counter(
        Name("corelane_appended_batches", None, "Batches that clients appended"),
        one(sum(shards, |counters| counters.appended_batches)),
    )?;
    page.counter(
        Name("corelane_appended_records", None, "Records that clients appended"),
        one(sum(shards, |counters| counters.appended_records)),
    )?;
    page.counter(
        Name("corelane_appended", Some(Unit::Bytes), "Bytes that clients appended"),
        one(sum(shards, |counters| counters.appended_bytes)),
    )?;
    let sources = |memory: u64, file: u64| {
        [("memory", memory), ("file", file)]
            .map(|(source, count)| (vec![("source", source.to_owned())], count))
    };
    page.counter(
        Name("corelane_fetch_reads", None, "Reads of a partition by where its bytes were"),
        sources(sum(shards, |counters| counters.reads_memory), sum(shards, |counters| counters.reads_file)),
    )?;
    page.counter(
        Name("corelane_fetch_read", Some(Unit::Bytes), "Bytes given to fetches by where they were"),
        sources(
            sum(shards, |counters| counters.read_memory_bytes),
            sum(shards, |counters| counters.read_file_bytes),
        ),
    )
}

fn commits(page: &mut Page<'_>, shards: &[ShardView]) -> fmt::Result {
    let latencies = each(shards, |shard| {
        let commits = &shard.last.store.commits;
        HistogramSnapshot { sum: commits.latency_us_sum, buckets: commits.latency_us_log2 }
    });
    page.histogram(
        Name(
            "corelane_commit_latency",
            Some(Unit::Seconds),
            "From the write of a commit until it is durable",
        ),
        1e-6,
        latencies,
    )?;
    page.histogram(
        Name("corelane_commit_size", Some(Unit::Bytes), "Bytes of a commit, padding included"),
        1.0,
        each(shards, |shard| {
            let commits = &shard.last.store.commits;
            HistogramSnapshot { sum: commits.bytes, buckets: commits.bytes_log2 }
        }),
    )?;
    page.counter(
        Name("corelane_commit_entries", None, "Appends and other entries in commits"),
        each(shards, |shard| shard.last.store.commits.entries),
    )?;
    page.gauge(
        Name("corelane_commit_log_size", Some(Unit::Bytes), "Bytes of the commit log's files"),
        each(shards, |shard| shard.last.store.ring_bytes),
    )?;
    page.gauge(
        Name(
            "corelane_commit_log_free",
            Some(Unit::Bytes),
            "Bytes that commits may take before any is freed",
        ),
        each(shards, |shard| shard.last.store.ring_free_bytes),
    )?;
    page.gauge(
        Name("corelane_commit_log_poisoned", None, "1 when a write or sync of the commit log has failed"),
        each(shards, |shard| u32::from(shard.last.store.poisoned)),
    )?;
    page.gauge(
        Name(
            "corelane_appends_waiting",
            None,
            "Appends that wait for room in the commit log or for writeback",
        ),
        each(shards, |shard| shard.last.store.appends_waiting as u64),
    )
}

fn storage(page: &mut Page<'_>, shards: &[ShardView]) -> fmt::Result {
    page.gauge(
        Name("corelane_dirty", Some(Unit::Bytes), "Appended bytes that writeback has not gone through"),
        each(shards, |shard| shard.last.store.dirty_bytes),
    )?;
    page.gauge(
        Name("corelane_tail", Some(Unit::Bytes), "Newest records kept in memory for readers"),
        each(shards, |shard| shard.last.store.tail_bytes as u64),
    )?;
    page.counter(
        Name("corelane_writeback", Some(Unit::Bytes), "Bytes written to segment files"),
        each(shards, |shard| shard.last.store.writeback_bytes),
    )?;
    page.counter(
        Name("corelane_writeback_copied", Some(Unit::Bytes), "Of these, bytes that were copied for it"),
        each(shards, |shard| shard.last.store.writeback_copied_bytes),
    )?;
    page.counter(
        Name("corelane_checkpoints", None, "Checkpoints written"),
        each(shards, |shard| shard.last.store.checkpoints),
    )?;
    page.counter(
        Name("corelane_carried_blocks", None, "Partial blocks carried forward in the commit log"),
        each(shards, |shard| shard.last.store.carried),
    )?;
    page.gauge(
        Name("corelane_logs", None, "Partitions whose log the shard keeps"),
        each(shards, |shard| shard.last.store.logs as u64),
    )?;
    page.gauge(
        Name("corelane_logs_offline", None, "Partitions whose files have failed: nothing is read or written"),
        each(shards, |shard| shard.last.store.offline_logs as u64),
    )?;
    page.counter(
        Name(
            "corelane_salvaged",
            Some(Unit::Bytes),
            "Bytes of such partitions brought to files of their own",
        ),
        each(shards, |shard| shard.last.store.salvaged_bytes),
    )?;
    page.gauge(
        Name("corelane_no_space", None, "1 while free space is below the reserve and produce is refused"),
        each(shards, |shard| u32::from(shard.last.store.no_space)),
    )
}

fn reactors(page: &mut Page<'_>, shards: &[ShardView]) -> fmt::Result {
    page.counter(
        Name("corelane_reactor_turns", None, "Turns of the loop"),
        each(shards, |shard| shard.last.reactor.turns),
    )?;
    page.counter(
        Name("corelane_reactor_sleeps", None, "Times the thread slept in the kernel"),
        each(shards, |shard| shard.last.reactor.sleeps),
    )?;
    page.counter(
        Name("corelane_reactor_polls", None, "Polls of tasks"),
        each(shards, |shard| shard.last.reactor.polls),
    )?;
    long_polls(page, shards)?;
    page.gauge(
        Name("corelane_reactor_tasks", None, "Tasks alive"),
        each(shards, |shard| shard.last.reactor.tasks as u64),
    )?;
    page.gauge(
        Name("corelane_reactor_operations", None, "Operations that the kernel has"),
        each(shards, |shard| shard.last.reactor.operations_in_flight as u64),
    )?;
    page.counter(
        Name("corelane_reactor_wakes_sent", None, "Wake-ups of tasks on other shards"),
        each(shards, |shard| shard.last.reactor.remote_wakes_sent),
    )?;
    page.counter(
        Name("corelane_reactor_queue_overflows", None, "Times a queue of the ring was full"),
        each(shards, |shard| {
            shard.last.reactor.submit_queue_full + shard.last.reactor.completion_queue_overflows
        }),
    )?;
    page.counter(
        Name("corelane_reactor_receive_buffer_waits", None, "Receives that found no buffer and waited"),
        each(shards, |shard| shard.last.reactor.receive_buffer_waits),
    )
}

/// Polls over a millisecond, by name of the task.
fn long_polls(page: &mut Page<'_>, shards: &[ShardView]) -> fmt::Result {
    let polls = || {
        shards.iter().flat_map(|shard| {
            shard.last.reactor.long_polls.iter().map(move |polls| {
                (vec![("shard", shard.index.to_string()), ("task", polls.name.to_owned())], polls)
            })
        })
    };
    page.counter(
        Name("corelane_reactor_long_polls", None, "Polls that used the core for over 1 ms"),
        polls().map(|(labels, polls)| (labels, polls.count)),
    )?;
    page.counter(
        Name(
            "corelane_reactor_preempted_polls",
            None,
            "Polls that took over 1 ms and used the core for less",
        ),
        polls().map(|(labels, polls)| (labels, polls.preempted)),
    )?;
    page.gauge(
        Name("corelane_reactor_longest_poll", Some(Unit::Seconds), "CPU time of the longest poll"),
        polls().map(|(labels, polls)| (labels, polls.longest.as_secs_f64())),
    )
}

fn process_of(page: &mut Page<'_>) -> fmt::Result {
    let process = process::read();
    page.counter(
        Name("process_cpu", Some(Unit::Seconds), "CPU time of all threads"),
        one(process.cpu_seconds),
    )?;
    page.gauge(Name("process_threads", None, "Threads"), one(process.threads))?;
    page.gauge(
        Name("process_resident_memory", Some(Unit::Bytes), "Memory in use"),
        one(process.resident_bytes),
    )?;
    page.gauge(
        Name("process_virtual_memory", Some(Unit::Bytes), "Address space in use"),
        one(process.virtual_bytes),
    )?;
    page.gauge(Name("process_open_fds", None, "Open file descriptors"), one(process.open_files))?;
    page.gauge(
        Name("process_max_fds", None, "File descriptors that may be open"),
        one(process.open_files_max),
    )?;
    page.gauge(
        Name("process_start_time", Some(Unit::Seconds), "When the process started, since 1970"),
        one(process.started_at),
    )
}
