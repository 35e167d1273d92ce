//! The shell that `coordinator::mod` describes, as small as it can be, over a log of batches: it loads, answers, keeps time
//! and cuts the log behind snapshots.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wire::kafka::record_batch::{Batch, single_batch};
use wire::kafka::{ErrorCode, Str};

use super::world::World;
use crate::coordinator::records::{batches, decode_batch};
use crate::coordinator::{AppendId, Caller, GroupCoordinator, GroupPolicy, Now, Outputs, Reply};

/// A log of batches by base offset: what is staged is durable when the shell flushes.
#[derive(Default)]
struct FakeLog {
    batches: BTreeMap<i64, Bytes>,
    staged: VecDeque<(i64, Bytes)>,
    end: i64,
}

impl FakeLog {
    fn stage(&mut self, batch: Bytes) -> i64 {
        let base = self.end;
        self.end += i64::from(single_batch(&batch).unwrap().header.last_offset_delta) + 1;
        self.staged.push_back((base, batch));
        self.end
    }

    fn flush(&mut self) {
        self.batches.extend(self.staged.drain(..));
    }

    fn delete_before(&mut self, offset: i64) {
        self.batches = self.batches.split_off(&offset);
    }

    fn read(&self) -> Vec<Batch> {
        self.batches.values().map(|batch| single_batch(batch).unwrap()).collect()
    }
}

struct Shell {
    coordinator: GroupCoordinator<u64>,
    log: FakeLog,
    /// Appends by the log end they wait for.
    waiting: VecDeque<(i64, AppendId)>,
    replies: BTreeMap<u64, Reply>,
    now: Now,
}

impl Shell {
    fn load(log: FakeLog) -> Self {
        let mut coordinator = GroupCoordinator::new(GroupPolicy::default(), [3, 4]);
        for batch in log.read() {
            for record in decode_batch(&batch).unwrap() {
                coordinator.replay(record);
            }
        }
        let now = Now { monotonic_ms: 0, wall_ms: 1_000_000 };
        let outputs = coordinator.loaded(now);
        let mut shell = Self { coordinator, log, waiting: VecDeque::new(), replies: BTreeMap::new(), now };
        shell.carry_out(outputs);
        shell
    }

    fn carry_out(&mut self, outputs: Outputs<u64>) {
        self.replies.extend(outputs.replies);
        for append in outputs.appends {
            let mut end = 0;
            for batch in batches(&append.records, self.now.wall_ms).unwrap() {
                end = self.log.stage(batch);
            }
            self.waiting.push_back((end, append.id));
        }
    }

    /// The commit log has synced.
    fn flush(&mut self) {
        self.log.flush();
        while let Some((_, id)) = self.waiting.pop_front() {
            let outputs = self.coordinator.append_finished(id, Ok(()), self.now);
            self.carry_out(outputs);
        }
        while self.coordinator.next_deadline().is_some_and(|at| at <= self.now.monotonic_ms) {
            let outputs = self.coordinator.tick(self.now);
            self.carry_out(outputs);
        }
        if self.coordinator.wants_snapshot() {
            self.snapshot();
        }
    }

    fn snapshot(&mut self) {
        let start = self.log.end;
        self.coordinator.snapshot_begins();
        let mut after: Option<Str> = None;
        loop {
            let part = self.coordinator.snapshot(after.as_ref(), 100, None);
            for batch in batches(&part.records, self.now.wall_ms).unwrap() {
                self.log.stage(batch);
            }
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        self.log.flush();
        self.log.delete_before(start);
        self.coordinator.snapshot_ends();
    }
}

#[test]
fn the_log_stays_bounded_and_says_what_was_acknowledged() {
    let mut shell = Shell::load(FakeLog::default());
    let caller = Caller { api_version: 9, ..Caller::default() };
    let mut longest = 0;
    for token in 0..50_000_u64 {
        let mut request = World::commit_request(-1, "", token as i64);
        request.group_id = format!("group-{}", token % 10).into();
        let outputs = shell.coordinator.commit(&caller, &request, token, shell.now);
        shell.carry_out(outputs);
        if token % 7 == 0 {
            shell.flush();
        }
        longest = longest.max(shell.log.batches.len());
    }
    shell.flush();
    assert_eq!(shell.replies.len(), 50_000);
    let accepted = |reply: &Reply| {
        matches!(reply, Reply::OffsetCommit(response)
            if response.topics[0].partitions[0].error_code == ErrorCode::None.code())
    };
    assert!(shell.replies.values().all(accepted));
    assert!(longest < 20_100, "the log has {longest} batches");

    let shell = Shell::load(shell.log);
    for group in 0..10_u64 {
        let request = wire::kafka::offset_fetch::OffsetFetchRequestGroup {
            group_id: format!("group-{group}").into(),
            ..Default::default()
        };
        let response = shell.coordinator.fetch(&request);
        assert_eq!(response.topics[0].partitions[0].committed_offset, 49_990 + group as i64);
    }
}
