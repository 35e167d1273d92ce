//! A question of capacity and its answer; every figure says whether it was measured, extrapolated, given or reckoned.

use super::curve::Shape;
use super::model::{Model, shape};
use super::profile::{Network, Point, Profile, Role};
use super::sizing::{Demand, Loaded, NODES_MAX, Node, Resource, Sizing};
use super::validate::{self, Validation};
use crate::number::{brief, short};

/// What is asked. Bytes are those of batches as they lie in the log: compressed, if producers compress.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) ingress_bytes_per_s: f64,
    pub(crate) fan_out: f64,
    /// Share of what is read that is no longer in memory.
    pub(crate) cold_share: f64,
    pub(crate) record_bytes: f64,
    /// As the profile's nearest point, if not given.
    pub(crate) batch_bytes: Option<f64>,
    pub(crate) partitions: f64,
    pub(crate) retention_s: f64,
    pub(crate) replication: u32,
    pub(crate) p99_ms: f64,
    /// Growth of the ingress a year: 0.4 for 40 %.
    pub(crate) growth: f64,
    pub(crate) years: f64,
    pub(crate) node_cores: Option<f64>,
    pub(crate) disk_bytes: Option<f64>,
    pub(crate) disks_max: u32,
    pub(crate) nic_bytes_per_s: Option<f64>,
    pub(crate) round_trip_ms: f64,
    pub(crate) load_max: f64,
    /// Nodes that may be gone; one if there are copies, else none.
    pub(crate) spare_nodes: Option<u32>,
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// By the model, inside what was measured.
    Measured,
    /// By the model, outside of it: the reasons stand beside the plan.
    Extrapolated,
    Given,
    /// From given figures alone.
    Reckoned,
}

impl Source {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Extrapolated => "extrapolated",
            Self::Given => "given",
            Self::Reckoned => "reckoned",
        }
    }
}

/// One figure of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// For programs; `what` is for people.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) source: Source,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) profile: String,
    pub(crate) asked: String,
    pub(crate) figures: Vec<Figure>,
    /// Why figures are extrapolated.
    pub(crate) reasons: Vec<String>,
    pub(crate) bottleneck: Resource,
    /// The ingress may grow by this factor.
    pub(crate) headroom: f64,
    pub(crate) load_max: f64,
    pub(crate) validation: Validation,
    /// Percent of saturation and p99 in milliseconds, of work like what is asked.
    pub(crate) curve: Vec<(f64, f64)>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// The profile cannot answer it.
    Profile(String),
    /// No cluster of such nodes meets it.
    Plan(String),
}

/// The answer of `profile` to `question`.
pub(crate) fn answer(profile: &Profile, question: &Question) -> Result<Plan, Unmet> {
    let (model, validation) = validate::model(profile).map_err(Unmet::Profile)?;
    let demand = demand(profile, question).map_err(Unmet::Profile)?;
    if let Some(sync) = profile.limits.sync_p50_ms.filter(|sync| *sync > question.p99_ms) {
        return Err(Unmet::Plan(format!(
            "a p99 of {} ms cannot be met: half of the syncs of the profile's disk take longer than {} ms",
            short(question.p99_ms),
            short(sync)
        )));
    }
    let node = node(profile, question, &model);
    let sizing = Sizing { model: &model, limits: &profile.limits, node: &node };
    let enough = sizing.nodes(&demand).map_err(|resource| unmet(&sizing, &demand, resource))?;
    let spare = question.spare_nodes.unwrap_or(u32::from(question.replication > 1));
    let nodes = (enough + spare).max(question.replication);
    let left = f64::from(nodes - spare.min(nodes - 1));
    let loaded = sizing.load(&demand, left);
    let (headroom, bottleneck) = sizing.headroom(&demand, left, loaded.disks);
    let reasons = reasons(profile, question, &demand, &sizing, (nodes, &loaded));
    let source = if reasons.is_empty() { Source::Measured } else { Source::Extrapolated };
    let figures = figures(question, &sizing, (nodes, &loaded), source);
    Ok(Plan {
        profile: format!(
            "{} on {} ({} cores of {}), profiled {} by loadgen {}",
            profile.broker.name,
            profile.host.name,
            profile.broker.cores,
            profile.host.cpu_model,
            profile.started_at,
            profile.tool.version
        ),
        asked: asked(question, &demand, spare),
        figures,
        reasons,
        bottleneck,
        headroom,
        load_max: node.load_max,
        validation,
        curve: sizing.curve(&demand, left),
    })
}

/// The question with what it leaves to the profile.
fn demand(profile: &Profile, question: &Question) -> Result<Demand, String> {
    let calibration = profile.points(Role::Calibration);
    let writing = nearest(calibration.iter().filter(|point| point.written.bytes > 0.0), question)
        .ok_or("no calibration point writes")?;
    let is_read = question.fan_out > 0.0 || question.replication > 1;
    let reading = nearest(calibration.iter().filter(|point| point.read.bytes > 0.0), question);
    if is_read && reading.is_none() {
        return Err("no calibration point reads, so readers and copies cannot be planned for".to_owned());
    }
    if !calibration.iter().any(|point| point.latency_ms.is_some()) {
        return Err("no calibration point has a latency, so no p99 can be planned for".to_owned());
    }
    Ok(Demand {
        ingress: question.ingress_bytes_per_s * (1.0 + question.growth).powf(question.years),
        fan_out: question.fan_out,
        cold_share: question.cold_share,
        record_bytes: question.record_bytes,
        batch_bytes: question.batch_bytes.unwrap_or(writing.batch_bytes()).max(question.record_bytes),
        batches_per_request: writing.written.batches / writing.written.requests,
        fetch_bytes: reading.map_or(f64::INFINITY, |point| point.read.bytes / point.read.requests),
        partitions: question.partitions,
        replication: f64::from(question.replication),
        retention_s: question.retention_s,
        p99_ms: question.p99_ms,
        round_trip_ms: question.round_trip_ms,
    })
}

/// The point whose records, and batches if they are given, are most like those that are asked for.
fn nearest<'a>(points: impl Iterator<Item = &'a &'a Point>, question: &Question) -> Option<&'a Point> {
    let far = |point: &Point| {
        let record = (point.record_bytes / question.record_bytes).ln().abs();
        let batch = question.batch_bytes.map_or(0.0, |batch| (point.batch_bytes() / batch).ln().abs());
        record + batch
    };
    points.copied().min_by(|one, other| far(one).total_cmp(&far(other)))
}

fn node(profile: &Profile, question: &Question, model: &Model) -> Node {
    let alone = model.busy.filter(|_| profile.clients_on_host);
    Node {
        cores: question.node_cores.unwrap_or(profile.broker.cores),
        usable: alone.map_or(model.usable, |busy| busy.max(model.usable)),
        network_bytes_per_s: question.nic_bytes_per_s.unwrap_or(profile.limits.network_bytes_per_s),
        disk_bytes: question.disk_bytes.or(profile.limits.disk_bytes),
        disks_max: f64::from(question.disks_max),
        load_max: question.load_max,
    }
}

fn unmet(sizing: &Sizing<'_>, demand: &Demand, short_of: Resource) -> Unmet {
    let said = match (short_of, sizing.least_p99(demand)) {
        (Resource::Latency, Some(least)) => format!(
            "a p99 of {} ms cannot be met: the least that the profile promises such records is {} ms, on any number of nodes",
            short(demand.p99_ms),
            short(least)
        ),
        (Resource::Partitions, _) => match partitions_needed(sizing, demand) {
            Some(least) => format!(
                "it cannot be met with {} partitions: they do not spread over enough cores and nodes, and about {} would",
                brief(demand.partitions),
                brief(least)
            ),
            None => format!("it cannot be met with {} partitions, nor with more", brief(demand.partitions)),
        },
        _ => format!("it cannot be met: {NODES_MAX} nodes would be short of {}", short_of.words()),
    };
    Unmet::Plan(said)
}

/// The number of partitions, about, from which on there is an answer.
fn partitions_needed(sizing: &Sizing<'_>, demand: &Demand) -> Option<f64> {
    let more = std::iter::successors(Some(demand.partitions), |partitions| Some((partitions * 1.1).ceil()));
    more.take_while(|partitions| *partitions < 1e6)
        .find(|partitions| sizing.nodes(&Demand { partitions: *partitions, ..demand.clone() }).is_ok())
}

/// Each way in which the plan leaves what was measured.
fn reasons(
    profile: &Profile,
    question: &Question,
    demand: &Demand,
    sizing: &Sizing<'_>,
    planned: (u32, &Loaded),
) -> Vec<String> {
    let (nodes, loaded) = planned;
    let mut reasons = Vec::new();
    if nodes > 1 {
        reasons.push(format!("{nodes} nodes: one was measured, and the busiest of them is planned for"));
    }
    if question.replication > 1 {
        reasons.push(
            "copies were not measured: each is taken to cost a read at its leader and a write".to_owned(),
        );
    }
    if sizing.node.cores.total_cmp(&profile.broker.cores).is_ne() {
        reasons.push(format!("{} cores a node: {} were measured", sizing.node.cores, profile.broker.cores));
    }
    if profile.clients_on_host {
        reasons.push(match sizing.model.busy {
            Some(_) => "clients shared the measured host; a node without them is taken to use what they took"
                .to_owned(),
            None => "clients shared the measured host, and what they took is not known: nodes may do better"
                .to_owned(),
        });
    }
    outside(profile, demand, sizing.model, loaded, &mut reasons);
    if profile.limits.network == Network::Loopback && question.nic_bytes_per_s.is_none() {
        reasons.push("the network was measured on loopback: give --nic for a real one".to_owned());
    }
    if loaded.disks > 1.0 {
        reasons.push("several disks a node: one was measured".to_owned());
    }
    reasons
}

/// One size of a shape.
type Size = fn(&Shape) -> f64;

/// Sizes and loads that no point has.
fn outside(profile: &Profile, demand: &Demand, model: &Model, loaded: &Loaded, reasons: &mut Vec<String>) {
    let shapes: Vec<Shape> = profile
        .points(Role::Calibration)
        .into_iter()
        .filter(|point| point.written.bytes > 0.0)
        .map(shape)
        .collect();
    let asked: [(&str, &str, f64, Size); 4] = [
        ("records", "bytes", demand.record_bytes, |shape| shape.record_bytes),
        ("batches", "bytes", demand.batch_bytes, |shape| shape.batch_bytes),
        ("partitions", "a node", loaded.partitions, |shape| shape.partitions),
        ("reads", "per write", demand.fan_out, |shape| shape.fan_out),
    ];
    for (what, unit, value, of) in asked {
        let least = shapes.iter().map(of).fold(f64::INFINITY, f64::min);
        let most = shapes.iter().map(of).fold(0.0, f64::max);
        // A mean of sizes is not exact.
        if value < least * 0.99 || value > most * 1.01 {
            let (value, least, most) = (brief(value), brief(least), brief(most));
            reasons.push(format!("{what}: {value} {unit}, and {least} to {most} were measured"));
        }
    }
    let work_shape = Shape {
        record_bytes: demand.record_bytes,
        batch_bytes: demand.batch_bytes,
        partitions: loaded.partitions,
        fan_out: demand.fan_out,
    };
    if let Some((least, _)) = model.measured_loads(&work_shape).filter(|range| loaded.utilisation < range.0) {
        let (load, least) = (short(loaded.utilisation * 100.0), short(least * 100.0));
        reasons.push(format!("latency at {load} % load: {least} % is the least that was measured"));
    }
}

/// The figures, for the state in which the spare nodes are gone.
fn figures(question: &Question, sizing: &Sizing<'_>, planned: (u32, &Loaded), source: Source) -> Vec<Figure> {
    let (nodes, loaded) = planned;
    let all = f64::from(nodes);
    let mut figures = Vec::new();
    let mut put = |name, what, value, unit, source| figures.push(Figure { name, what, value, unit, source });
    put("nodes", "nodes", all, "", source);
    put("cores", "cores, all nodes", all * sizing.node.cores, "", source);
    put(
        "cores_per_node",
        "cores a node",
        sizing.node.cores,
        "",
        if question.node_cores.is_some() { Source::Given } else { Source::Measured },
    );
    put("cpu_cores_busy", "cores busy on a node", loaded.cpu_cores, "", source);
    put("utilisation", "CPU of a node, of saturation", loaded.utilisation * 100.0, "%", source);
    if let Some(p99) = loaded.p99_ms {
        put("p99_ms", "p99 of produce", p99, "ms", source);
    }
    put("disks", "disks, all nodes", all * loaded.disks, "", source);
    put("disks_per_node", "disks a node", loaded.disks, "", source);
    put("disk_space_gb", "kept on a node", loaded.disk_space / 1e9, "GB", Source::Reckoned);
    let disk = if sizing.model.written_per_byte.is_some() { source } else { Source::Extrapolated };
    put("disk_written_mb_per_s", "written to the disks of a node", loaded.disk_written / 1e6, "MB/s", disk);
    put(
        "disk_read_mb_per_s",
        "read from the disks of a node",
        loaded.disk_read / 1e6,
        "MB/s",
        Source::Reckoned,
    );
    put("network_in_mb_per_s", "network into a node", loaded.network_in / 1e6, "MB/s", Source::Reckoned);
    put("network_out_mb_per_s", "network out of a node", loaded.network_out / 1e6, "MB/s", Source::Reckoned);
    put("partitions_per_node", "partitions a node, with copies", loaded.partitions, "", Source::Reckoned);
    let bytes_per_s = loaded.network_in + loaded.network_out;
    if let Some(memory) = sizing.model.memory_bytes(loaded.partitions, bytes_per_s) {
        put("memory_gb_per_node", "memory of the broker on a node", memory / 1e9, "GB", source);
    }
    figures
}

fn asked(question: &Question, demand: &Demand, spare: u32) -> String {
    let grown = if question.growth == 0.0 {
        String::new()
    } else {
        let (from, growth) = (brief(question.ingress_bytes_per_s / 1e6), brief(question.growth * 100.0));
        format!(" ({from} MB/s now, growing {growth} % a year for {} years)", question.years)
    };
    let gone = match spare {
        0 => "every node there".to_owned(),
        1 => "one node gone".to_owned(),
        spare => format!("{spare} nodes gone"),
    };
    format!(
        "{} MB/s of records of {} B in batches of {} B{grown}, each read {} times, in {} partitions, copies: {}, kept {} h, \
         p99 {} ms, with {gone}",
        brief(demand.ingress / 1e6),
        brief(demand.record_bytes),
        brief(demand.batch_bytes),
        brief(demand.fan_out),
        brief(demand.partitions),
        question.replication,
        brief(demand.retention_s / 3600.0),
        brief(demand.p99_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::samples::{question, truth};

    fn value(plan: &Plan, name: &str) -> f64 {
        plan.figures.iter().find(|figure| figure.name == name).unwrap().value
    }

    fn plan(question: &Question) -> Plan {
        answer(&truth().profile(), question).unwrap()
    }

    fn refused(question: &Question) -> String {
        match answer(&truth().profile(), question) {
            Err(Unmet::Plan(said)) => said,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_load_inside_what_was_measured_takes_one_node_and_is_measured() {
        let mut profile = truth().profile();
        profile.clients_on_host = false;
        profile.limits.network = Network::Nic;
        let plan = answer(&profile, &question()).unwrap();
        assert_eq!(plan.reasons, Vec::<String>::new());
        assert!((value(&plan, "nodes") - 1.0).abs() < 1e-9);
        let figure = plan.figures.iter().find(|figure| figure.name == "p99_ms").unwrap();
        assert_eq!(figure.source, Source::Measured);
        // 100 MB/s at two bytes to disk for each, 24 h of it.
        assert!((value(&plan, "disk_written_mb_per_s") - 200.0).abs() < 1.0);
        assert!((value(&plan, "disk_space_gb") - 8640.0).abs() < 1.0);
    }

    #[test]
    fn copies_growth_and_other_cores_are_named_as_extrapolated() {
        let asked = Question { replication: 3, node_cores: Some(8.0), growth: 0.5, years: 2.0, ..question() };
        let plan = plan(&asked);
        assert!(value(&plan, "nodes") >= 3.0);
        let reasons = plan.reasons.join("; ");
        for part in
            ["nodes: one was measured", "copies were not measured", "8 cores a node", "loopback", "clients"]
        {
            assert!(reasons.contains(part), "{part} in {reasons}");
        }
        assert!(plan.asked.contains("225 MB/s") && plan.asked.contains("one node gone"), "{}", plan.asked);
        assert!(plan.figures.iter().all(|figure| figure.source != Source::Measured), "{:?}", plan.figures);
    }

    #[test]
    fn sizes_outside_of_what_was_measured_are_named() {
        let plan = plan(&Question { record_bytes: 50_000.0, fan_out: 6.0, ..question() });
        let reasons = plan.reasons.join("; ");
        assert!(
            reasons.contains("records: 50,000 bytes") && reasons.contains("reads: 6 per write"),
            "{reasons}"
        );
    }

    #[test]
    fn spare_nodes_come_on_top() {
        let large = Question { ingress_bytes_per_s: 5e9, ..question() };
        let without = value(&plan(&large), "nodes");
        let with = value(&plan(&Question { spare_nodes: Some(2), ..large }), "nodes");
        assert!((with - without - 2.0).abs() < 1e-9);
    }

    #[test]
    fn plans_that_cannot_be_met_say_why_and_what_could() {
        let said = refused(&Question { p99_ms: 0.5, ..question() });
        assert!(said.contains("a p99 of 0.500 ms cannot be met: the least"), "{said}");
        let said = refused(&Question { p99_ms: 0.01, ..question() });
        assert!(said.contains("half of the syncs"), "{said}");
        let said = refused(&Question { ingress_bytes_per_s: 20e9, partitions: 2.0, ..question() });
        assert!(said.contains("2 partitions: they do not spread over enough"), "{said}");
        let enough: f64 =
            said.split("about ").nth(1).unwrap().split(' ').next().unwrap().replace(',', "").parse().unwrap();
        assert!(
            answer(
                &truth().profile(),
                &Question { ingress_bytes_per_s: 20e9, partitions: enough, ..question() }
            )
            .is_ok()
        );
        let said = refused(&Question { ingress_bytes_per_s: 1e14, partitions: 1e6, ..question() });
        assert!(said.contains("1000 nodes would be short of CPU"), "{said}");
    }

    #[test]
    fn a_profile_that_never_read_plans_no_readers() {
        let mut profile = truth().profile();
        profile.points.retain(|point| point.read.bytes == 0.0);
        assert!(matches!(answer(&profile, &question()), Err(Unmet::Profile(said)) if said.contains("reads")));
        let no_readers = Question { fan_out: 0.0, ..question() };
        assert!(answer(&profile, &no_readers).is_ok());
    }

    #[test]
    fn headroom_is_until_the_bottleneck() {
        let plan = plan(&question());
        assert!(plan.headroom > 1.0 && plan.headroom < 20.0, "{}", plan.headroom);
        let slow = Question { nic_bytes_per_s: Some(200e6), ..question() };
        let plan = answer(&truth().profile(), &slow).unwrap();
        assert_eq!(plan.bottleneck, Resource::Network);
        // 100 MB/s out of 200 at 70 %.
        assert!((plan.headroom - 1.4).abs() < 0.02, "{}", plan.headroom);
    }
}
