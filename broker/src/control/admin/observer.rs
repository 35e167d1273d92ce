//! Asks every shard for what it counts, and does not wait for one that is stuck.

use std::time::{Duration, Instant};

use async_channel::Sender;
use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::metrics::{Ask, ShardSnapshot};

/// What is known of one shard.
#[derive(Debug, Clone)]
pub(super) struct ShardView {
    pub(super) index: usize,
    /// It answered this time; otherwise `last` is older.
    pub(super) answered: bool,
    /// Questions that it did not answer in time.
    pub(super) unanswered: u64,
    /// Since it answered last, or since it was first asked.
    pub(super) silent_for: Duration,
    /// What it said last.
    pub(super) last: ShardSnapshot,
}

/// Remembers what shards said.
#[derive(Debug)]
pub(super) struct Observer {
    asks: Vec<Sender<Ask>>,
    within: Duration,
    /// Locked while shards are asked: questions wait for one another instead of piling up at a shard.
    known: Mutex<Vec<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    last: ShardSnapshot,
    heard: Option<Instant>,
    unanswered: u64,
}

impl Observer {
    pub(super) fn new(asks: Vec<Sender<Ask>>, within: Duration) -> Self {
        let known = asks.iter().map(|_| Known::default()).collect();
        Self { asks, within, known: Mutex::new(known) }
    }

    /// Asks all shards at once and waits for their answers, for a bounded time.
    pub(super) async fn observe(&self) -> Vec<ShardView> {
        let mut known = self.known.lock().await;
        let answers = join_all(self.asks.iter().map(|shard| self.ask(shard))).await;
        let now = Instant::now();
        let views = known.iter_mut().zip(answers).enumerate().map(|(index, (known, answer))| {
            let answered = answer.is_some();
            match answer {
                Some(snapshot) => {
                    known.last = *snapshot;
                    known.heard = Some(now);
                }
                None => known.unanswered += 1,
            }
            ShardView {
                index,
                answered,
                unanswered: known.unanswered,
                silent_for: now.duration_since(*known.heard.get_or_insert(now)),
                last: known.last.clone(),
            }
        });
        views.collect()
    }

    async fn ask(&self, shard: &Sender<Ask>) -> Option<Box<ShardSnapshot>> {
        let (answer, answered) = async_channel::bounded(1);
        // A queue that is full holds a question that the shard has not looked at yet.
        shard.try_send(answer).ok()?;
        timeout(self.within, answered.recv()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_shard_that_is_stuck_is_shown_and_not_waited_for() {
        let (lively, asked) = async_channel::bounded::<Ask>(1);
        let (stuck, unread) = async_channel::bounded::<Ask>(1);
        run(async {
            tokio::spawn(async move {
                while let Ok(ask) = asked.recv().await {
                    let snapshot = ShardSnapshot { partitions: 7, ..ShardSnapshot::default() };
                    let _ = ask.try_send(Box::new(snapshot));
                }
            });
            let observer = Observer::new(vec![lively, stuck], Duration::from_millis(20));
            for round in 1..=3 {
                let views = observer.observe().await;
                assert!(views[0].answered && views[0].last.partitions == 7);
                assert!(!views[1].answered && views[1].unanswered == round);
            }
            assert_eq!(unread.len(), 1, "questions do not pile up");
            // It wakes up: the question that waited is answered to nobody, the next one counts.
            let late = unread.recv().await.unwrap();
            assert!(late.try_send(Box::default()).is_err());
            tokio::spawn(async move {
                while let Ok(ask) = unread.recv().await {
                    let _ = ask.try_send(Box::default());
                }
            });
            assert!(observer.observe().await[1].answered);
        });
    }
}
