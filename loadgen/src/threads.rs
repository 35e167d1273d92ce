//! A reactor per thread, each with its share of the partitions.

use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use reactor::Builder;

use crate::args::TargetArgs;
use crate::client::{ClientError, Cluster, PartitionLeader, Topic};
use crate::tally::{Link, Tally, Window};

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
    /// Number of the thread, and of threads.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.thread, self.threads)
    }

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
    let access = target.cluster.access()?;
    let spec = target.topic_spec();
    let find = || async move { Cluster::connect(&access).await?.ensure_topic(&spec).await };
    let topic = Builder::new("loadgen-setup").run(find).map_err(ClientError::no_reactor)??;
    let threads = target.cluster.threads.min(topic.partitions.len());
    let share = |thread| Share {
        thread,
        threads,
        topic: topic.clone(),
        partitions: topic.partitions.iter().skip(thread).step_by(threads).copied().collect(),
    };
    Ok((0..threads).map(share).collect())
}

/// Runs `work` on a reactor per share, the threads going round `cores` if there are any, and gathers the results, and
/// what all threads counted; the first error counts.
pub(crate) fn run<Given, T, Work, Doing>(
    shares: Vec<Given>,
    cores: &[usize],
    link: &Link,
    work: Work,
) -> Result<(Vec<T>, Window), ClientError>
where
    Given: Send + 'static,
    T: Send + 'static,
    Work: FnOnce(Given, Rc<Tally>) -> Doing + Clone + Send + 'static,
    Doing: Future<Output = Result<T, ClientError>> + 'static,
{
    let spawn = |(index, share): (usize, Given)| {
        let (work, link) = (work.clone(), link.clone());
        let counted = move || async move {
            let tally = Tally::start(link);
            let result = work(share, tally.clone()).await;
            let window = tally.finish();
            result.map(|result| (result, window))
        };
        let core = cores.get(index % cores.len().max(1)).copied();
        Builder::new(format!("loadgen-{index}")).cpu(core).spawn(counted).map_err(ClientError::no_reactor)
    };
    let handles = shares.into_iter().enumerate().map(spawn).collect::<Result<Vec<_>, _>>()?;
    // All are waited for, also when one has failed.
    let joined: Vec<_> = handles.into_iter().map(reactor::JoinHandle::join).collect();
    let (mut results, mut total) = (Vec::new(), Window::default());
    for joined in joined {
        let (result, window) = joined.map_err(ClientError::no_reactor)??;
        total.add(&window);
        results.push(result);
    }
    Ok((results, total))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::tally::StopFlag;

    #[test]
    fn pinned_threads_go_round_the_cores_that_were_named() {
        let (recorder, _kept) = mpsc::sync_channel(100);
        let link = Link {
            part: 0,
            started: reactor::now(),
            interval: Duration::from_secs(1),
            stop: StopFlag::default(),
            recorder,
        };
        let allowed = reactor::allowed_cpus();
        let named: Vec<usize> = allowed.iter().copied().rev().take(2).collect();
        let cores_of = |cores: &[usize]| {
            let seen = |(), _| async { Ok(reactor::allowed_cpus()) };
            run(vec![(); 3], cores, &link, seen).unwrap().0
        };
        let wanted: Vec<Vec<usize>> = (0..3).map(|thread| vec![named[thread % named.len()]]).collect();
        assert_eq!(cores_of(&named), wanted);
        assert_eq!(cores_of(&[]), vec![allowed; 3], "not asked for, not pinned");
    }

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
