//! `corelane status`: what the cluster is made of and how much it holds.

use std::io::Write as _;

use wire::kafka::Str;
use wire::kafka::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::kafka::describe_log_dirs::DescribeLogDirsRequest;

use super::cluster::{Cluster, Missing};
use super::error::CliError;
use super::topic::counted;
use crate::args::ServerArgs;

const RESOURCE_BROKER: i8 = 4;

/// Runs the command.
pub(super) fn run(args: &ServerArgs) -> Result<(), CliError> {
    let mut cluster = Cluster::connect(&args.server)?;
    let metadata = cluster.metadata(None, Missing::Refuse)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "cluster {}", metadata.cluster_id.as_deref().unwrap_or("without an id"))?;
    for broker in &metadata.brokers {
        let rack = broker.rack.as_deref().map_or_else(String::new, |rack| format!(", rack {rack}"));
        let controller = if broker.node_id == metadata.controller_id { ", controller" } else { "" };
        let shards = shards(&mut cluster, broker.node_id)?
            .map_or_else(String::new, |count| format!(", {}", counted(count, "shard")));
        let (id, host, port) = (broker.node_id, &*broker.host, broker.port);
        writeln!(out, "  broker {id} at {host}:{port}{rack}{shards}{controller}")?;
        print_folders(&mut cluster, broker.node_id, &mut out)?;
    }
    let own: Vec<_> = metadata.topics.iter().filter(|topic| !topic.is_internal).collect();
    let partitions: usize = own.iter().map(|topic| topic.partitions.len()).sum();
    writeln!(out, "{}, {}", counted(own.len(), "topic"), counted(partitions, "partition"))?;
    let without = own.iter().flat_map(|topic| &topic.partitions).filter(|each| each.leader_id < 0).count();
    if without > 0 {
        writeln!(out, "{} without a leader", counted(without, "partition"))?;
    }
    Ok(())
}

/// How many shards a broker has; none if it is Kafka's, or a shard itself.
fn shards(cluster: &mut Cluster, node: i32) -> Result<Option<usize>, CliError> {
    let resource = DescribeConfigsResource {
        resource_type: RESOURCE_BROKER,
        resource_name: Str::from(node.to_string()),
        configuration_keys: Some(vec![Str::from("cores"), Str::from("listen")]),
    };
    let connection = cluster.node(node)?;
    if !connection.knows::<DescribeConfigsRequest>() {
        return Ok(None);
    }
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let results = connection.call(&request)?.results;
    let value = |name: &str| {
        let config = results.iter().flat_map(|result| &result.configs).find(|config| &*config.name == name);
        config.and_then(|config| config.value.as_deref())
    };
    let is_shard = value("listen") == Some("direct");
    Ok(value("cores").filter(|_| !is_shard).and_then(|cores| cores.parse().ok()))
}

fn print_folders(cluster: &mut Cluster, node: i32, out: &mut impl std::io::Write) -> Result<(), CliError> {
    let connection = cluster.node(node)?;
    if !connection.knows::<DescribeLogDirsRequest>() {
        return Ok(());
    }
    for folder in connection.call(&DescribeLogDirsRequest { topics: None })?.results {
        let sizes = folder.topics.iter().flat_map(|topic| &topic.partitions).map(|each| each.partition_size);
        let (count, bytes) =
            sizes.fold((0, 0_i64), |(count, bytes), size| (count + 1, bytes.saturating_add(size)));
        let free = if folder.usable_bytes < 0 {
            String::new()
        } else {
            format!(", {} free", size(folder.usable_bytes))
        };
        let failed = if folder.error_code == 0 { "" } else { ", FAILED" };
        writeln!(
            out,
            "    {}: {} in {}{free}{failed}",
            &*folder.log_dir,
            size(bytes),
            counted(count, "partition")
        )?;
    }
    Ok(())
}

/// Bytes in the unit that leaves one to four digits.
fn size(bytes: i64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = bytes.max(0) as f64;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{scaled:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_readable() {
        assert_eq!(super::size(1), "1 bytes");
        assert_eq!(super::size(1536), "1.5 KiB");
        assert_eq!(super::size(3 << 40), "3.0 TiB");
    }
}
