//! What the broker and the system say of the process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use crate::support::Broker;
use crate::{Scale, judge};

/// Memory and time of the process.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    resident_kb: f64,
    peak_kb: f64,
    pub(crate) cpu_seconds: f64,
}

impl Process {
    pub(crate) fn resident_mb(&self) -> f64 {
        self.resident_kb / 1e3
    }

    pub(crate) fn peak_mb(&self) -> f64 {
        self.peak_kb / 1e3
    }
}

pub(crate) fn process(broker: &Broker) -> Process {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let field = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let stat = fs::read_to_string(format!("/proc/{}/stat", broker.pid())).unwrap();
    let ticks: f64 = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .skip(11)
        .take(2)
        .map(|n| n.parse::<f64>().unwrap())
        .sum();
    Process { resident_kb: field("VmRSS:"), peak_kb: field("VmHWM:"), cpu_seconds: ticks / 100.0 }
}

/// The kernel's own memory.
pub(crate) fn slab_mb() -> f64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("Slab:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e3
}

/// The page of metrics at one moment.
pub(crate) struct Look {
    at: Instant,
    cpu_seconds: f64,
    samples: BTreeMap<String, f64>,
}

/// What the reactors say of tasks that held a core, since the start.
pub(crate) struct Stalls {
    longest: BTreeMap<String, f64>,
    over_1ms: BTreeMap<String, f64>,
}

impl Look {
    pub(crate) fn at(broker: &Broker) -> Look {
        let mut stream = TcpStream::connect(broker.admin()).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Look { at: Instant::now(), cpu_seconds: process(broker).cpu_seconds, samples: samples.collect() }
    }

    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.samples
            .iter()
            .filter(|(key, _)| key.split('{').next() == Some(name))
            .map(|(_, value)| value)
            .sum()
    }

    /// By name of the task, over shards: the largest, or the sum.
    fn by_task(&self, name: &str, join: fn(f64, f64) -> f64) -> BTreeMap<String, f64> {
        let mut all = BTreeMap::new();
        for (key, value) in self.samples.iter().filter(|(key, _)| key.starts_with(name)) {
            let task = key.split("task=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            let entry = all.entry(task.to_owned()).or_insert(0.0);
            *entry = join(*entry, *value);
        }
        all
    }

    /// Prints what was held since the last look; the new look.
    pub(crate) fn tell(&self, broker: &Broker, what: &str) -> Look {
        let now = Look::at(broker);
        let name = "corelane_reactor_long_polls_total";
        let (before, after) = (self.by_task(name, |a, b| a + b), now.by_task(name, |a, b| a + b));
        let held: Vec<String> = after
            .iter()
            .map(|(task, count)| (task, count - before.get(task).copied().unwrap_or(0.0)))
            .filter(|(_, count)| *count > 0.0)
            .map(|(task, count)| format!("{task} {count}"))
            .collect();
        println!(
            "{what}: {:.2} s, {:.2} CPU s, over 1 ms: [{}]",
            now.at.duration_since(self.at).as_secs_f64(),
            now.cpu_seconds - self.cpu_seconds,
            held.join(", "),
        );
        now
    }

    /// Since the start.
    pub(crate) fn stalls(&self) -> Stalls {
        let now = self;
        Stalls {
            longest: now.by_task("corelane_reactor_longest_poll_seconds", f64::max),
            over_1ms: now.by_task("corelane_reactor_long_polls_total", |a, b| a + b),
        }
    }
}

impl Stalls {
    pub(crate) fn tell_only(&self, when: &str) {
        for (task, count) in &self.over_1ms {
            println!("{when}: {task} over 1 ms {count} times, longest {:.2} ms", self.longest[task] * 1e3);
        }
    }

    pub(crate) fn judge(&self, scale: Scale, when: &str) {
        self.tell_only(when);
        for (task, longest) in &self.longest {
            judge(scale, &format!("{when}: longest of {task}, ms"), longest * 1e3, 5.0);
        }
    }
}
