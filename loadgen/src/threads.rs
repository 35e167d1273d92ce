//! A reactor per thread, each with its share of the partitions.

use std::collections::BTreeMap;
use std::future::Future;

use reactor::Builder;

use crate::args::TargetArgs;
use crate::client::{ClientError, Cluster, PartitionLeader, Topic};

/// What one thread works on.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// Number of the thread, from 0.
    pub(crate) thread: usize,
    /// Number of threads that have a share.
    pub(crate) threads: usize,
    pub(crate) topic: Topic,
    pub(crate) partitions: Vec<PartitionLeader>,
}

impl Share {
    /// This thread's part of `total` things, the remainder going to the first threads.
    pub(crate) fn part_of(&self, total: u64) -> u64 {
        let (threads, thread) = (self.threads as u64, self.thread as u64);
        total / threads + u64::from(thread < total % threads)
    }

    /// The partitions by leader.
    pub(crate) fn by_leader(&self) -> BTreeMap<i32, Vec<PartitionLeader>> {
        let mut groups: BTreeMap<i32, Vec<PartitionLeader>> = BTreeMap::new();
        for partition in &self.partitions {
            groups.entry(partition.leader).or_default().push(*partition);
        }
        groups
    }
}

/// Finds the topic, or makes it, and shares its partitions out. Not more threads than partitions.
pub(crate) fn share_out(target: &TargetArgs) -> Result<Vec<Share>, ClientError> {
    let (bootstrap, timeout, spec) = (target.bootstrap.clone(), target.timeout(), target.topic_spec());
    let find = || async move { Cluster::connect(&bootstrap, timeout).await?.ensure_topic(&spec).await };
    let topic = Builder::new("loadgen-setup").run(find).map_err(no_reactor)??;
    let threads = target.threads.min(topic.partitions.len());
    let share = |thread| Share {
        thread,
        threads,
        topic: topic.clone(),
        partitions: topic.partitions.iter().skip(thread).step_by(threads).copied().collect(),
    };
    Ok((0..threads).map(share).collect())
}

/// Runs `work` on a reactor per share and gathers the results; the first error counts.
pub(crate) fn run<T, Work, Doing>(shares: Vec<Share>, work: Work) -> Result<Vec<T>, ClientError>
where
    T: Send + 'static,
    Work: FnOnce(Share) -> Doing + Clone + Send + 'static,
    Doing: Future<Output = Result<T, ClientError>> + 'static,
{
    let spawn = |share: Share| {
        let work = work.clone();
        Builder::new(format!("loadgen-{}", share.thread)).spawn(move || work(share)).map_err(no_reactor)
    };
    let handles = shares.into_iter().map(spawn).collect::<Result<Vec<_>, _>>()?;
    let joined: Vec<_> = handles.into_iter().map(reactor::JoinHandle::join).collect();
    joined.into_iter().map(|result| result.map_err(no_reactor)?).collect()
}

fn no_reactor(cause: std::io::Error) -> ClientError {
    ClientError::Local { what: "cannot run a reactor (is io_uring allowed here?)".to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        let topic = Topic { name: "t".into(), id: wire::kafka::Uuid::ZERO, partitions: Vec::new() };
        for (threads, total) in [(1, 10), (3, 10), (4, 3), (7, 0)] {
            let share = |thread| Share { thread, threads, topic: topic.clone(), partitions: Vec::new() };
            let parts: Vec<u64> = (0..threads).map(|thread| share(thread).part_of(total)).collect();
            assert_eq!(parts.iter().sum::<u64>(), total);
            assert!(parts.iter().max().unwrap_or(&0) - parts.iter().min().unwrap_or(&0) <= 1);
        }
    }
}
