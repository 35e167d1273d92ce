//! How many nodes it takes: the least number on which nothing is over its limit, with the spare ones gone.

use super::curve::Shape;
use super::model::{Model, Traffic, Work};
use super::profile::{Limits, Percentiles};

/// A plan with more nodes is no plan.
pub(crate) const NODES_MAX: u32 = 1000;

/// A disk is full at this share of its size: retention deletes whole segments, and late.
pub(crate) const DISK_FILL_MAX: f64 = 0.85;

/// What the whole cluster has to do, every second.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// Bytes of batches from producers.
    pub(crate) ingress: f64,
    /// Times that each byte is read.
    pub(crate) fan_out: f64,
    /// Share of what is read that is no longer in memory.
    pub(crate) cold_share: f64,
    pub(crate) record_bytes: f64,
    pub(crate) batch_bytes: f64,
    pub(crate) batches_per_request: f64,
    pub(crate) fetch_bytes: f64,
    pub(crate) partitions: f64,
    pub(crate) replication: f64,
    pub(crate) retention_s: f64,
    pub(crate) p99_ms: f64,
    /// Round trip between nodes.
    pub(crate) round_trip_ms: f64,
}

impl Demand {
    /// Partitions with their copies.
    fn copies(&self) -> f64 {
        self.partitions * self.replication
    }

    /// What the busiest of `nodes` has of all copies: no copy is on two of them.
    fn share(&self, nodes: f64) -> f64 {
        (self.copies() / nodes).ceil() / self.copies()
    }

    /// What the busiest of `nodes` does in a second.
    fn work(&self, nodes: f64, cores: f64) -> Work {
        let copies = self.replication - 1.0;
        let share = self.share(nodes);
        let written = self.ingress * self.replication * share;
        let batches = written / self.batch_bytes;
        let read = self.ingress * (self.fan_out + copies) * share;
        let (fetched_batches, fetches) = (read / self.batch_bytes, read / self.fetch_bytes);
        Work {
            written: Traffic {
                bytes: written,
                records: written / self.record_bytes,
                batches,
                requests: batches / self.batches_per_request,
            },
            read: Traffic {
                bytes: read,
                records: read / self.record_bytes,
                batches: fetched_batches,
                requests: fetches,
            },
            seconds: 1.0,
            partitions: self.copies() * share,
            cores,
        }
    }

    fn shape(&self, work: &Work) -> Shape {
        Shape {
            record_bytes: self.record_bytes,
            batch_bytes: self.batch_bytes,
            partitions: work.partitions,
            fan_out: work.read.bytes / work.written.bytes,
        }
    }
}

/// What one node has, and how much of it may be used.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) cores: f64,
    /// Share of a core that is the broker's at saturation.
    pub(crate) usable: f64,
    pub(crate) network_bytes_per_s: f64,
    pub(crate) disk_bytes: Option<f64>,
    pub(crate) disks_max: f64,
    /// Share of saturation that is planned with.
    pub(crate) load_max: f64,
}

/// What can be too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Cpu,
    /// Too few partitions to keep the cores busy that the load needs.
    Partitions,
    Latency,
    Network,
    DiskBandwidth,
    DiskSpace,
}

impl Resource {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Partitions => "the number of partitions",
            Self::Latency => "latency",
            Self::Network => "the network",
            Self::DiskBandwidth => "disk bandwidth",
            Self::DiskSpace => "disk space",
        }
    }
}

/// One node of several, under its share of the demand.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) cpu_cores: f64,
    /// Of saturation.
    pub(crate) utilisation: f64,
    pub(crate) partitions: f64,
    pub(crate) network_in: f64,
    pub(crate) network_out: f64,
    pub(crate) disk_written: f64,
    pub(crate) disk_read: f64,
    pub(crate) disk_space: f64,
    /// Disks that it needs, and what asks for the most of them.
    pub(crate) disks: f64,
    disks_for: Resource,
    pub(crate) p99_ms: Option<f64>,
}

/// What all figures come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizing<'a> {
    pub(crate) model: &'a Model,
    pub(crate) limits: &'a Limits,
    pub(crate) node: &'a Node,
}

impl Sizing<'_> {
    /// The busiest of `nodes` that share `demand`.
    pub(crate) fn load(&self, demand: &Demand, nodes: f64) -> Loaded {
        let work = demand.work(nodes, self.node.cores);
        let cpu_cores = self.model.cpu_s(&work);
        let utilisation = 1.0 / self.model.saturation_within(&work, self.node.usable);
        let copies = demand.replication - 1.0;
        let ingress = demand.ingress * demand.share(nodes);
        let disk_written = ingress * demand.replication * self.model.written_per_byte.unwrap_or(1.0);
        let disk_read = ingress * demand.fan_out * demand.cold_share;
        let disk_space = ingress * demand.replication * demand.retention_s;
        let by_bandwidth = (disk_written / self.model.disk_bytes_per_s
            + disk_read / self.limits.read_bytes_per_s)
            / self.node.load_max;
        let by_space = self.node.disk_bytes.map_or(0.0, |size| disk_space / (size * DISK_FILL_MAX));
        let latency = self.model.latency(&demand.shape(&work), utilisation);
        Loaded {
            cpu_cores,
            utilisation,
            partitions: work.partitions,
            network_in: ingress * (1.0 + copies),
            network_out: ingress * (demand.fan_out + copies),
            disk_written,
            disk_read,
            disk_space,
            disks: by_bandwidth.max(by_space).ceil().max(1.0),
            disks_for: if by_space > by_bandwidth { Resource::DiskSpace } else { Resource::DiskBandwidth },
            p99_ms: latency.map(|latency| slowest_of(latency, demand)),
        }
    }

    /// p99 in milliseconds over percent of saturation, as far as it was measured, on so many nodes.
    pub(crate) fn curve(&self, demand: &Demand, nodes: f64) -> Vec<(f64, f64)> {
        let shape = demand.shape(&demand.work(nodes, self.node.cores));
        let Some((least, _)) = self.model.measured_loads(&shape) else { return Vec::new() };
        let loads = (1..=100).map(f64::from).filter(|load| *load >= least * 100.0);
        loads
            .filter_map(|load| Some((load, slowest_of(self.model.latency(&shape, load / 100.0)?, demand))))
            .collect()
    }

    /// The first thing that a node has too little of; nothing if it has enough of all.
    pub(crate) fn short_of(&self, demand: &Demand, loaded: &Loaded, disks: f64) -> Option<Resource> {
        let network = loaded.network_in.max(loaded.network_out);
        if loaded.utilisation > self.node.load_max {
            let few = loaded.partitions < self.node.cores;
            Some(if few { Resource::Partitions } else { Resource::Cpu })
        } else if loaded.p99_ms.is_none_or(|p99| p99 > demand.p99_ms) {
            Some(Resource::Latency)
        } else if network > self.node.network_bytes_per_s * self.node.load_max {
            Some(Resource::Network)
        } else if loaded.disks > disks {
            Some(loaded.disks_for)
        } else {
            None
        }
    }

    /// The least number of nodes that is enough; else what is short whatever their number.
    pub(crate) fn nodes(&self, demand: &Demand) -> Result<u32, Resource> {
        let mut short = Resource::Cpu;
        // More nodes than copies have nothing to do.
        let most = demand.copies().min(f64::from(NODES_MAX)) as u32;
        for nodes in 1..=most {
            let loaded = self.load(demand, f64::from(nodes));
            match self.short_of(demand, &loaded, self.node.disks_max) {
                None => return Ok(nodes),
                Some(resource) => short = resource,
            }
        }
        let too_late = self.least_p99(demand).is_none_or(|least| least > demand.p99_ms);
        Err(match short {
            Resource::Latency if too_late => short,
            _ if most < NODES_MAX => Resource::Partitions,
            _ => short,
        })
    }

    /// By which factor the ingress may grow on so many nodes and disks, and what ends it. In steps of one percent.
    pub(crate) fn headroom(&self, demand: &Demand, nodes: f64, disks: f64) -> (f64, Resource) {
        let mut factor = 1.0;
        loop {
            let next = factor * 1.01;
            let grown = Demand { ingress: demand.ingress * next, ..demand.clone() };
            let loaded = self.load(&grown, nodes);
            match self.short_of(&grown, &loaded, disks) {
                Some(resource) => return (factor, resource),
                // Nothing grows for ever.
                None if next > 1e6 => return (factor, Resource::Cpu),
                None => factor = next,
            }
        }
    }

    /// The lowest p99 of any number of nodes.
    pub(crate) fn least_p99(&self, demand: &Demand) -> Option<f64> {
        (1..=NODES_MAX).filter_map(|nodes| self.load(demand, f64::from(nodes)).p99_ms).min_by(f64::total_cmp)
    }
}

/// The 99th percentile of the slowest copy: of R that are independent each has to be in time with 0.99^(1/R).
fn slowest_of(latency: Percentiles, demand: &Demand) -> f64 {
    if demand.replication <= 1.0 {
        return latency.p99;
    }
    let each = 0.99_f64.powf(1.0 / demand.replication);
    // Between two nines, where the 99th percentile is, and three.
    let nines = -(1.0 - each).log10();
    let (low, high) = (latency.p99.ln(), latency.p999.ln());
    (low + (high - low) * (nines - 2.0)).exp() + demand.round_trip_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::profile::Profile;
    use crate::plan::samples::{Truth, truth};
    use crate::plan::validate;

    fn demand() -> Demand {
        Demand {
            ingress: 100e6,
            fan_out: 1.0,
            cold_share: 0.0,
            record_bytes: 1024.0,
            batch_bytes: 131_072.0,
            batches_per_request: 1.0,
            fetch_bytes: 131_072.0,
            partitions: 600.0,
            replication: 1.0,
            retention_s: 0.0,
            p99_ms: 1000.0,
            round_trip_ms: 0.5,
        }
    }

    fn node() -> Node {
        Node {
            cores: 2.0,
            usable: 0.5,
            network_bytes_per_s: 1e12,
            disk_bytes: Some(1e12),
            disks_max: 8.0,
            load_max: 0.7,
        }
    }

    fn sizing<T>(node: &Node, answer: impl FnOnce(Sizing<'_>, &Truth) -> T) -> T {
        let truth = truth();
        let profile: Profile = truth.profile();
        let (model, _) = validate::model(&profile).unwrap();
        answer(Sizing { model: &model, limits: &profile.limits, node }, &truth)
    }

    #[test]
    fn nodes_are_those_that_the_true_costs_ask_for() {
        sizing(&node(), |sizing, truth| {
            let demand = Demand { ingress: 5e9, ..demand() };
            let nodes = sizing.nodes(&demand).unwrap();
            // By hand from the costs that made the profile: 1 / 0.7 times the load fits into what a node has.
            let cost = &truth.costs;
            let millions = |bytes: f64| 5.0 * 1e3 / bytes;
            let all = 5.0 * (cost[0] + cost[4])
                + millions(1024.0) * cost[1]
                + millions(131_072.0) * (cost[2] + cost[3] + cost[5]);
            let is_enough = |nodes: f64| {
                let partitions = (600.0 / nodes).ceil();
                let more = partitions / 600.0 / 0.7;
                let each = 5e9 / 131_072.0 * more / 2.0;
                let commits = 2.0 / (truth.commit_s + (-each * truth.commit_s).exp() / each);
                let idle = cost[6] + partitions / 1e3 * cost[7];
                all * more + commits / 1e6 * cost[8] + idle <= 2.0 * 0.5
            };
            let expected = (1..1000).find(|nodes| is_enough(f64::from(*nodes))).unwrap();
            assert_eq!(nodes, expected);
            assert!(nodes > 2);
        });
    }

    #[test]
    fn a_partition_is_on_one_node_so_few_do_not_spread() {
        let three = Demand { partitions: 3.0, ..demand() };
        assert!((three.share(2.0) - 2.0 / 3.0).abs() < 1e-12, "one of two nodes has two of three");
        assert!((three.share(50.0) - 1.0 / 3.0).abs() < 1e-12, "the fourth node has nothing to do");
        // A week of a third of it is 20 TB on one node, and it can have 8 disks of 1 TB.
        let kept = Demand { retention_s: 7.0 * 86_400.0, ..three };
        sizing(&node(), |sizing, _| {
            assert_eq!(sizing.nodes(&kept), Err(Resource::Partitions));
            assert!(sizing.nodes(&Demand { partitions: 60.0, ..kept.clone() }).is_ok());
        });
    }

    #[test]
    fn copies_cost_cpu_network_and_disk() {
        sizing(&node(), |sizing, _| {
            let one = sizing.load(&demand(), 3.0);
            let three = sizing.load(&Demand { replication: 3.0, ..demand() }, 3.0);
            assert!(three.cpu_cores > 2.5 * one.cpu_cores);
            assert!((three.network_in / one.network_in - 3.0).abs() < 1e-9);
            assert!((three.network_out / one.network_out - 3.0).abs() < 1e-9, "readers and two followers");
            assert!((three.disk_written / one.disk_written - 3.0).abs() < 1e-9);
            assert!((one.disk_written / (100e6 / 3.0) - 2.0).abs() < 1e-9, "as the profile wrote");
        });
    }

    #[test]
    fn what_is_short_is_named() {
        let with = |node: Node, demand: Demand| {
            sizing(&node, |sizing, _| {
                let loaded = sizing.load(&demand, 1.0);
                sizing.short_of(&demand, &loaded, 1.0)
            })
        };
        assert_eq!(with(node(), demand()), None);
        assert_eq!(with(node(), Demand { ingress: 50e9, ..demand() }), Some(Resource::Cpu));
        let one_partition = Demand { ingress: 50e9, partitions: 1.0, ..demand() };
        assert_eq!(with(node(), one_partition), Some(Resource::Partitions));
        assert_eq!(with(node(), Demand { p99_ms: 0.001, ..demand() }), Some(Resource::Latency));
        assert_eq!(with(Node { network_bytes_per_s: 1e8, ..node() }, demand()), Some(Resource::Network));
        let kept = Demand { retention_s: 86_400.0 * 7.0, ..demand() };
        assert_eq!(with(node(), kept), Some(Resource::DiskSpace));
    }

    #[test]
    fn headroom_ends_where_the_bottleneck_says() {
        sizing(&node(), |sizing, _| {
            let demand = demand();
            let nodes = f64::from(sizing.nodes(&demand).unwrap());
            let (factor, resource) = sizing.headroom(&demand, nodes, 8.0);
            assert_eq!(resource, Resource::Cpu);
            let at = |factor: f64| {
                sizing.load(&Demand { ingress: demand.ingress * factor, ..demand.clone() }, nodes)
            };
            assert!(at(factor).utilisation <= 0.7 && at(factor * 1.011).utilisation > 0.7);
        });
    }

    #[test]
    fn of_several_copies_the_slowest_counts() {
        let latency = Percentiles { p99: 1.0, p999: 10.0 };
        let at = |replication: f64| slowest_of(latency, &Demand { replication, ..demand() });
        assert!((at(1.0) - 1.0).abs() < 1e-12);
        // 0.99^(1/2) is 2.30 nines: 10^0.30 and the round trip.
        assert!((at(2.0) - 2.498).abs() < 0.01, "{}", at(2.0));
        assert!(at(3.0) > at(2.0));
    }
}
