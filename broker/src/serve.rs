//! `corelane serve`: reads the configuration, starts the broker, waits for a signal, stops.

use std::process::ExitCode;
use std::time::Instant;

use reactor::{Builder, SyncMethod, signal};
use storage::SyncProbe;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::args::ServeArgs;
use crate::config::operation::{LogFormat, OperationSettings};
use crate::config::{BrokerConfig, Loaded};
use crate::limits;
use crate::start::Broker;

/// As a shell has it for a process that an interrupt ended.
const SECOND_SIGNAL_EXIT_CODE: i32 = 130;

/// Serves until SIGTERM or SIGINT. A second one leaves at once, as a crash would: the next start recovers.
pub fn run(args: &ServeArgs) -> ExitCode {
    let started = Instant::now();
    abort_on_panic();
    let loaded = args.sources().load();
    let logging = log_to_stderr(loaded.as_ref().ok().map(|loaded| &loaded.config.operation));
    let loaded = loaded.map_err(|error| error.to_string());
    match loaded.and_then(|loaded| logging.map(|()| loaded)).and_then(start) {
        Ok((broker, config)) => {
            println!("{}", start_line(&broker, &config, started));
            wait_for_signal();
            info!("stopping: answering what is in flight, writing back");
            leave_on_second_signal();
            broker.stop();
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            error!(%reason, "not started");
            ExitCode::FAILURE
        }
    }
}

/// As configured; a configuration that cannot be read is complained about as text.
fn log_to_stderr(operation: Option<&OperationSettings>) -> Result<(), String> {
    let level = operation.map_or("info", |operation| operation.log_level.as_str());
    let (configured, wrong) = match EnvFilter::try_new(level) {
        Ok(filter) => (filter, Ok(())),
        Err(error) => (EnvFilter::new("info"), Err(format!("log.level={level}: {error}"))),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or(configured);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a second start in one process, as in a test, finds a subscriber in place.
    let _ = match operation.map_or(LogFormat::Text, |operation| operation.log_format) {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    wrong
}

/// A thread that ends by a bug would leave half a broker behind; the whole process ends instead, and the next start
/// recovers what was acknowledged.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

fn start(loaded: Loaded) -> Result<(Broker, BrokerConfig), String> {
    for what in &loaded.warnings {
        warn!(%what, "configuration");
    }
    // Before any thread: a thread without the mask would take the signal and end the process.
    signal::block().map_err(|error| format!("cannot mask signals: {error}"))?;
    // What there is not enough of is said when it is missed, by the accept or the partition that misses it.
    if let Err(error) = reactor::process::raise_descriptor_limit() {
        warn!(%error, "the limit of open files stays as it is");
    }
    let broker = Broker::start(loaded.config.clone()).map_err(|error| error.to_string())?;
    let folder = loaded.config.data_dir();
    if let Some(bytes) = reactor::blocking::read_ahead_bytes(folder)
        && bytes > limits::READ_AHEAD_TOLD_FROM_BYTES
    {
        let (folder, kib) = (folder.display(), bytes >> 10);
        warn!(%folder, kib, "the disk reads far ahead of readers of old data, and producers wait behind that");
    }
    Ok((broker, loaded.config))
}

fn start_line(broker: &Broker, config: &BrokerConfig, started: Instant) -> String {
    let sync: Vec<String> = broker.recovered().iter().map(|shard| sync_text(&shard.sync)).collect();
    let ring: u64 = broker.recovered().iter().map(|shard| shard.commit_log_bytes).max().unwrap_or(0);
    let replayed: u64 = broker.recovered().iter().map(|shard| shard.report.commits).sum();
    let direct = if config.store.o_direct { "" } else { " (storage.o_direct=false: for trying out only)" };
    let admin = broker.admin_address.map_or_else(|| "none".to_owned(), |address| address.to_string());
    let shard_ports: Vec<String> =
        broker.addresses.of_shards.iter().map(|address| address.port().to_string()).collect();
    let shard_ports = if shard_ports.is_empty() {
        String::new()
    } else {
        format!(" | shards on ports {}", shard_ports.join(", "))
    };
    format!(
        "corelane {} is ready on {}{shard_ports} | admin on {admin} | data in {}{direct} | {} shards | commit log {} MiB a shard, growing to {} | \
         sync by {} | durability=fsync | {replayed} commits recovered | started in {:.3} s",
        env!("CARGO_PKG_VERSION"),
        broker.addresses.shared,
        config.data_dir().display(),
        broker.recovered().len(),
        ring >> 20,
        config.store.commit_log_bytes >> 20,
        sync.join(", "),
        started.elapsed().as_secs_f64(),
    )
}

fn sync_text(probe: &SyncProbe) -> String {
    let method = match probe.method {
        SyncMethod::LinkedFdatasync => "fdatasync",
        SyncMethod::WriteDsync => "dsync",
    };
    format!("{method} in {} us", probe.latency.as_micros())
}

fn wait_for_signal() {
    match Builder::new("signals").ring_entries(8).run(signal::termination) {
        Ok(Ok(signal)) => info!(?signal, "signal received"),
        Ok(Err(error)) | Err(error) => error!(%error, "cannot wait for signals"),
    }
}

fn leave_on_second_signal() {
    std::thread::spawn(|| {
        wait_for_signal();
        warn!(code = SECOND_SIGNAL_EXIT_CODE, "second signal, leaving at once");
        std::process::exit(SECOND_SIGNAL_EXIT_CODE);
    });
}
