//! The real `corelane` binary as a black box: started on a free port with its own data directory, stopped or
//! killed, started again on the same directory. Its output is kept and shown when a test fails.
//!
//! `BOOTSTRAP=host:port` points the tests that do not kill the broker at a running one instead, for instance at an
//! Apache Kafka, against which the same expectations must hold. `CORELANE_BIN` names another binary to start.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

pub mod admin;
pub mod faults;
pub mod figures;
pub mod programs;
pub mod records;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a broker may take to answer on its port, recovery included.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long a broker may take to leave after SIGTERM.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
/// Lines of the broker's output shown when a test fails.
const LOG_LINES_SHOWN: usize = 200;

/// A broker to test: a process of ours, or one that runs already.
pub struct Broker {
    bootstrap: String,
    process: Option<Process>,
}

struct Process {
    dir: TempDir,
    /// The data folder, if not in `dir`.
    data: Option<PathBuf>,
    env: Vec<(&'static str, PathBuf)>,
    port: u16,
    settings: Vec<String>,
    cores: u32,
    /// How long the log was when the process began.
    log_bytes_before: usize,
    child: Option<Child>,
}

impl Broker {
    /// The broker at `BOOTSTRAP`, or else a new one with an empty data directory.
    pub fn start() -> Self {
        match std::env::var("BOOTSTRAP") {
            Ok(bootstrap) => Self { bootstrap, process: None },
            Err(_) => Self::spawn(&[]),
        }
    }

    /// A new process with an empty data directory and these further `key=value` settings.
    pub fn spawn(settings: &[&str]) -> Self {
        Self::spawn_in(None, &[], settings)
    }

    /// A new process on this data folder and with these variables; two cores, if `cores` is not among the settings.
    pub fn spawn_in(data: Option<&Path>, env: &[(&'static str, &Path)], settings: &[&str]) -> Self {
        let port = free_port();
        let mut process = Process {
            dir: tempfile::Builder::new().prefix("corelane-test-").tempdir().unwrap(),
            data: data.map(Path::to_path_buf),
            env: env.iter().map(|(name, path)| (*name, path.to_path_buf())).collect(),
            port,
            settings: settings.iter().filter(|s| cores_of(s).is_none()).map(|s| (*s).to_owned()).collect(),
            cores: settings.iter().find_map(|s| cores_of(s)).unwrap_or(2),
            log_bytes_before: 0,
            child: None,
        };
        process.launch();
        let broker = Self { bootstrap: format!("127.0.0.1:{port}"), process: Some(process) };
        broker.wait_ready();
        broker
    }

    /// `host:port` for clients.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The directory that holds the process's data; survives restarts.
    pub fn data_dir(&self) -> PathBuf {
        self.process.as_ref().expect("a process of ours").data_dir()
    }

    /// The process's id, for signals and for reading /proc.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().and_then(|p| p.child.as_ref()).expect("a running process of ours").id()
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        let process = self.process.as_mut().expect("a process of ours");
        let mut child = process.child.take().expect("running");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and waits for the process to leave with success.
    pub fn stop(&mut self) {
        let process = self.process.as_mut().expect("a process of ours");
        let mut child = process.child.take().expect("running");
        signal("TERM", child.id());
        let deadline = Instant::now() + STOPPED_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "the broker left SIGTERM with {status}\n{}", self.log_tail());
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the broker did not stop within {STOPPED_WITHIN:?}\n{}", self.log_tail());
    }

    /// The same data directory and port again, after [`Self::kill`] or [`Self::stop`].
    pub fn restart(&mut self) {
        self.process.as_mut().expect("a process of ours").launch();
        self.wait_ready();
    }

    /// As [`Self::restart`], of a broker that may refuse to start: then what it said.
    pub fn try_restart(&mut self) -> Result<(), String> {
        let process = self.process.as_mut().expect("a process of ours");
        process.launch();
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            let said = process.said();
            if said.contains("is ready on") && TcpStream::connect(&self.bootstrap).is_ok() {
                return Ok(());
            }
            if let Some(child) = &mut process.child
                && let Some(status) = child.try_wait().unwrap()
            {
                process.child = None;
                assert!(!status.success(), "left without an error: {status}");
                return Err(process.said());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("neither ready nor gone within {READY_WITHIN:?}\n{}", self.log_tail());
    }

    /// What the process has written in its present life.
    pub fn said(&self) -> String {
        self.process.as_ref().expect("a process of ours").said()
    }

    /// Waits until the process has written this in its present life.
    pub fn await_said(&self, text: &str) {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.said().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} was not said\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Another value of a setting from the next start on.
    pub fn set(&mut self, setting: &str) {
        self.process.as_mut().expect("a process of ours").settings.push(setting.to_owned());
    }

    /// The same again, killed after so long, wherever its recovery is then.
    pub fn relaunch_and_kill(&mut self, after: Duration) {
        self.process.as_mut().expect("a process of ours").launch();
        std::thread::sleep(after);
        self.kill();
    }

    /// The same data directory with another number of cores.
    pub fn restart_with_cores(&mut self, cores: u32) {
        self.set_cores(cores);
        self.restart();
    }

    /// Another number of cores from the next start on.
    pub fn set_cores(&mut self, cores: u32) {
        self.process.as_mut().expect("a process of ours").cores = cores;
    }

    /// The line of the start is waited for, not only the port: the socket of a killed broker may outlive it a little.
    fn wait_ready(&self) {
        let process = self.process.as_ref().expect("a process of ours");
        let line = format!("is ready on {}", self.bootstrap);
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            let log = fs::read(process.log_path()).unwrap_or_default();
            if String::from_utf8_lossy(&log[process.log_bytes_before..]).contains(&line)
                && TcpStream::connect(&self.bootstrap).is_ok()
            {
                return;
            }
            let pid = self.pid();
            assert!(is_running(pid), "the broker left before it listened\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no answer on {} within {READY_WITHIN:?}\n{}", self.bootstrap, self.log_tail());
    }

    /// `host:port` of the admin port, from the line of the start.
    pub fn admin(&self) -> String {
        let text = self.said();
        let found = text.lines().rev().find_map(|line| line.split_once("| admin on "));
        found.and_then(|(_, rest)| rest.split(' ').next()).expect("an admin address").to_owned()
    }

    /// The last lines that the process wrote, of all its lives.
    pub fn log_tail(&self) -> String {
        let Some(process) = &self.process else { return String::new() };
        let text = fs::read(process.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let shown = std::thread::panicking().then(|| self.log_tail());
        let Some(process) = &mut self.process else { return };
        if let Some(child) = &mut process.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(log) = shown {
            eprintln!("--- broker's last lines ---\n{log}\n--- end ---");
            if std::env::var_os("KEEP_DATA").is_some() {
                process.dir.disable_cleanup(true);
                eprintln!("data kept in {}", process.dir.path().display());
            }
        }
    }
}

impl Process {
    fn data_dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.dir.path().join("data"))
    }

    fn said(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log[self.log_bytes_before.min(log.len())..]).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("broker.log")
    }

    fn launch(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        self.log_bytes_before = log.metadata().unwrap().len() as usize;
        let built = || env!("CARGO_BIN_EXE_corelane").into();
        // A binary from elsewhere has no disks that fail on demand.
        let named = std::env::var_os("CORELANE_BIN").filter(|_| self.env.is_empty());
        let mut command = Command::new(named.unwrap_or_else(built));
        command.envs(self.env.iter().map(|(name, path)| (*name, path)));
        command.args(["--cores", &self.cores.to_string()]);
        let mut set = |setting: String| {
            command.arg("--set").arg(setting);
        };
        set(format!("listeners=PLAINTEXT://127.0.0.1:{}", self.port));
        set(format!("log.dirs={}", self.data_dir().display()));
        set("group.initial.rebalance.delay.ms=0".to_owned());
        // Any port: many brokers run beside each other.
        set("admin.listener=127.0.0.1:0".to_owned());
        self.settings.iter().cloned().for_each(set);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect("the binary starts"));
    }
}

/// The one setting that is a flag.
fn cores_of(setting: &str) -> Option<u32> {
    setting.strip_prefix("cores=")?.parse().ok()
}

/// A port that nobody listened on a moment ago, below those that the system gives to outgoing connections: one of
/// these could take it while a killed broker is away, and a client that connects to it could even meet itself.
///
/// With `listen=direct` the shards have the ports that follow, so these are kept free too.
fn free_port() -> u16 {
    let start = u16::try_from(std::process::id() % 1000).unwrap() * PORTS_EACH;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (0..1000)
        .map(|step| 20_000 + (start + step * PORTS_EACH) % 10_000)
        .find(|port| TAKEN.lock().unwrap().insert(*port) && (*port..port + PORTS_EACH).all(is_free))
        .expect("a free port")
}

/// One for the node, and one for each shard of the most that a test uses.
const PORTS_EACH: u16 = 10;

/// Ports given out by this process.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Not a zombie and not gone.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")) else {
        return false;
    };
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status().unwrap();
    assert!(status.success(), "kill -{name} {pid}: {status}");
}
