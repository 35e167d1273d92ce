//! The clients of a workload as command lines, and how many of them it takes until more do not give more.

use super::exercise::Exercise;
use super::plan::{Flow, Workload};
use crate::limits::THREADS_MAX;

/// How long an incomplete batch waits in an open loop; records that are sent one by one do not wait.
const LINGER_MS: f64 = 1.0;

/// For ever, for a consumer that is stopped when the writer has ended.
const UNTIL_STOPPED_S: u64 = 100_000_000;

/// Threads, and requests in flight of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clients {
    pub(crate) threads: usize,
    pub(crate) in_flight: usize,
}

/// Of one thread at first, and at most.
const IN_FLIGHT: [usize; 3] = [5, 10, 20];
const IN_FLIGHT_MAX: usize = 60;

/// Threads are tried up to so many for each core of this machine.
const THREADS_PER_CORE: usize = 4;

/// A rate this much above the best so far is more.
const MORE: f64 = 1.1;

/// So many rungs without more end the search.
const PATIENCE: usize = 2;

/// A rate within this share of the best is as good.
const AS_GOOD: f64 = 0.9;

/// Going up a ladder of clients, with the rate that each gave.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    rungs: Vec<Clients>,
    rates: Vec<f64>,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Enough {
    pub(crate) clients: Clients,
    pub(crate) records_per_s: f64,
    /// More clients did not give more; else the ladder was too short.
    pub(crate) saturates: bool,
}

impl Search {
    /// Up a ladder of more threads and more in flight together, since either alone may be what is short.
    pub(crate) fn of(workload: &Workload, cores: usize) -> Self {
        let threads_max = (cores * THREADS_PER_CORE).clamp(1, THREADS_MAX);
        let threads = std::iter::successors(Some(1), |threads| Some(threads * 2));
        let steps = threads.take_while(|threads| *threads <= threads_max).enumerate();
        let mut ladder: Vec<Clients> = steps
            .map(|(step, threads)| Clients { threads, in_flight: IN_FLIGHT[step.min(IN_FLIGHT.len() - 1)] })
            .collect();
        ladder.push(Clients { threads: threads_max, in_flight: IN_FLIGHT_MAX });
        let mut rungs: Vec<Clients> = Vec::new();
        for rung in ladder {
            // A thread without a partition has nothing to do, and a consumer has one request in flight.
            let threads = rung.threads.min(workload.partitions as usize);
            let in_flight = if workload.flow == Flow::Read { 1 } else { rung.in_flight };
            let rung = Clients { threads, in_flight };
            if !rungs.contains(&rung) {
                rungs.push(rung);
            }
        }
        Self { rungs, rates: Vec::new() }
    }

    /// What to try next; nothing when it is known what is enough.
    pub(crate) fn next(&self) -> Option<Clients> {
        if self.since_more() >= PATIENCE { None } else { self.rungs.get(self.rates.len()).copied() }
    }

    /// What the next clients gave.
    pub(crate) fn put(&mut self, records_per_s: f64) {
        self.rates.push(records_per_s);
    }

    /// The most clients that give as much as any; nothing if nothing was tried. Fewer would do as long as the machine is
    /// as it was, and would be what is short as soon as it answers a little later.
    pub(crate) fn enough(&self) -> Option<Enough> {
        let best = self.rates.iter().copied().fold(0.0, f64::max);
        let place = self.rates.iter().rposition(|rate| *rate > 0.0 && *rate >= best * AS_GOOD)?;
        // With a single rung there are no more clients to be had: one partition, one consumer.
        let saturates = self.rungs.len() == 1 || self.since_more() > 0;
        Some(Enough { clients: self.rungs[place], records_per_s: best, saturates })
    }

    /// Rungs since the last that gave more.
    fn since_more(&self) -> usize {
        let mut best = 0.0;
        let mut since = 0;
        for rate in &self.rates {
            since = if *rate > best * MORE { 0 } else { since + 1 };
            best = f64::max(best, *rate);
        }
        since
    }
}

/// Which broker, and which of its topics.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) bootstrap: String,
    pub(crate) timeout_ms: u128,
    pub(crate) topic: String,
}

/// How much of a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    pub(crate) clients: Clients,
    /// Records a second of an open loop; nothing: flat out.
    pub(crate) rate: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) records_max: u64,
}

impl Workload {
    /// As long as an open loop's batches wait.
    pub(crate) fn linger_ms(&self) -> f64 {
        if self.batch_bytes > self.record_bytes { LINGER_MS } else { 0.0 }
    }

    pub(crate) fn readers(&self) -> u32 {
        match self.flow {
            Flow::Write { readers } => readers,
            Flow::Read => 0,
        }
    }

    /// The commands of it.
    pub(crate) fn exercise(&self, target: &Target, amount: &Amount) -> Exercise {
        match self.flow {
            Flow::Write { readers } => {
                let reader = || {
                    format!(
                        "consume {} --from latest --seconds {UNTIL_STOPPED_S}",
                        target.line(amount.clients.threads)
                    )
                };
                Exercise::Write {
                    writer: self.writer(target, amount),
                    readers: (0..readers).map(|_| reader()).collect(),
                }
            }
            Flow::Read => {
                let reader = format!("consume {} --from earliest", target.line(amount.clients.threads));
                Exercise::Read { reader, seconds: amount.seconds }
            }
        }
    }

    /// The commands that write what it reads.
    pub(crate) fn filling(&self, target: &Target, amount: &Amount) -> Exercise {
        Exercise::Write { writer: self.writer(target, amount), readers: Vec::new() }
    }

    fn writer(&self, target: &Target, amount: &Amount) -> String {
        let Amount { clients, rate, seconds, records_max } = amount;
        let arrivals = match rate {
            Some(rate) => format!("--arrivals poisson --rate {rate:.3} --linger-ms {}", self.linger_ms()),
            None => String::new(),
        };
        format!(
            "produce {} --size fixed:{} --batch-bytes {} --in-flight {} --seconds {seconds} --records {records_max} {arrivals}",
            target.line(clients.threads),
            self.record_bytes,
            self.batch_bytes,
            clients.in_flight,
        )
    }
}

impl Target {
    fn line(&self, threads: usize) -> String {
        let Self { bootstrap, timeout_ms, topic } = self;
        format!("--bootstrap {bootstrap} --timeout-ms {timeout_ms} --topic {topic} --threads {threads}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::plan::{Size, steps};

    fn workload(partitions: u32) -> Workload {
        let six = steps(Size::Full, 1).into_iter().map(|step| step.case.workload);
        let mut found = six.into_iter().find(|workload| workload.flow == Flow::Write { readers: 0 }).unwrap();
        found.partitions = partitions;
        found
    }

    fn clients(threads: usize, in_flight: usize) -> Clients {
        Clients { threads, in_flight }
    }

    /// Goes up the ladder of two cores with these rates; how many were asked for, and what was enough.
    fn search(partitions: u32, rates: &[f64]) -> (usize, Enough) {
        let mut search = Search::of(&workload(partitions), 2);
        for rate in rates {
            if search.next().is_none() {
                break;
            }
            search.put(*rate);
        }
        (search.rates.len(), search.enough().unwrap())
    }

    #[test]
    fn the_search_ends_when_more_clients_twice_give_no_more_and_takes_the_most_that_did() {
        let (tried, enough) = search(100, &[100.0, 150.0, 155.0, 100.0, 400.0]);
        assert_eq!(tried, 4);
        assert_eq!((enough.clients, enough.saturates), (clients(4, 20), true));
        assert!((enough.records_per_s - 155.0).abs() < 1e-9);
    }

    #[test]
    fn one_weak_rung_does_not_end_it() {
        let (tried, enough) = search(100, &[100.0, 90.0, 150.0, 150.0, 150.0]);
        assert_eq!((tried, enough.clients), (5, clients(8, 60)));
    }

    #[test]
    fn what_still_grows_at_the_top_is_not_saturated() {
        let (tried, enough) = search(100, &[100.0, 200.0, 300.0, 400.0, 500.0, 600.0]);
        assert_eq!((tried, enough.clients, enough.saturates), (5, clients(8, 60), false));
    }

    #[test]
    fn threads_are_no_more_than_partitions_and_no_rung_is_tried_twice() {
        let rungs = Search::of(&workload(1), 2).rungs;
        assert_eq!(rungs, [clients(1, 5), clients(1, 10), clients(1, 20), clients(1, 60)]);
        let reading = |partitions| Workload { flow: Flow::Read, ..workload(partitions) };
        assert_eq!(Search::of(&reading(1), 2).rungs.len(), 1);
        assert_eq!(Search::of(&reading(6), 2).rungs.len(), 4);
    }

    #[test]
    fn readers_follow_the_tail_and_only_open_loops_have_a_rate() {
        let target = Target { bootstrap: "b:1".into(), timeout_ms: 5, topic: "t".into() };
        let amount = Amount { clients: clients(2, 10), rate: None, seconds: 2.0, records_max: 9 };
        let two = Workload { flow: Flow::Write { readers: 2 }, ..workload(6) };
        let Exercise::Write { writer, readers } = two.exercise(&target, &amount) else { panic!("it writes") };
        assert!(!writer.contains("--rate") && writer.contains("--records 9"), "{writer}");
        assert!(readers.len() == 2 && readers.iter().all(|reader| reader.contains("--from latest")));
        let open = Amount { rate: Some(1234.5), ..amount };
        let Exercise::Write { writer, .. } = two.exercise(&target, &open) else { panic!("it writes") };
        assert!(writer.contains("--arrivals poisson --rate 1234.500"), "{writer}");
        let reading = Workload { flow: Flow::Read, ..two };
        assert!(matches!(reading.exercise(&target, &amount), Exercise::Read { .. }));
    }
}
