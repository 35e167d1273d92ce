use super::*;
use crate::seeded::{Random, SEEDS};

const NOW: Timestamp = Timestamp(1_000_000);

fn state() -> ProducerState {
    ProducerState::new(Rc::new(ProducerBudget::default()))
}

/// A batch of producer 7 with the sequences `first..=last`.
fn batch(epoch: i16, first: i32, last: i32) -> ProducerBatch {
    ProducerBatch {
        id: ProducerId(7),
        epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(first),
        last_offset_delta: (i64::from(last) - i64::from(first)).rem_euclid(1 << 31) as i32,
        max_timestamp: Timestamp(i64::from(first) + 50),
    }
}

fn of(id: i64, base_sequence: i32) -> ProducerBatch {
    ProducerBatch { id: ProducerId(id), ..batch(0, base_sequence, base_sequence) }
}

fn out_of_order(expected: i32) -> ProducerCheck {
    ProducerCheck::OutOfOrderSequence { expected: Sequence(expected) }
}

#[test]
fn a_partition_without_producers_owns_no_memory() {
    let mut state = state();
    assert_eq!(state.heap_bytes(), 0);
    assert_eq!(state.snapshot(Offset(5)), None);
    state.record(&batch(0, 0, 0), Offset(0), NOW);
    assert!(state.heap_bytes() > 0);
    state.clear();
    assert_eq!((state.heap_bytes(), state.is_empty()), (0, true));
    assert!(size_of::<ProducerState>() <= 16);
}

#[test]
fn a_producer_without_state_may_begin_at_any_sequence() {
    assert_eq!(state().check(&batch(0, 0, 9)), ProducerCheck::Ok);
    assert_eq!(state().check(&batch(3, 41, 50)), ProducerCheck::Ok);
}

#[test]
fn a_batch_continues_right_after_the_one_before() {
    let mut state = state();
    state.record(&batch(0, 0, 9), Offset(100), NOW);
    assert_eq!(state.check(&batch(0, 10, 12)), ProducerCheck::Ok);
    assert_eq!(state.check(&batch(0, 11, 12)), out_of_order(10));
    assert_eq!(state.check(&batch(0, 5, 12)), out_of_order(10), "an overlap is not a duplicate");
    assert_eq!(state.check(&batch(0, 0, 8)), out_of_order(10), "nor is a part");
}

#[test]
fn the_last_five_batches_are_recognised_and_the_sixth_is_not() {
    let mut state = state();
    for number in 0..6 {
        state.record(&batch(0, number * 10, number * 10 + 9), Offset(1000 + i64::from(number) * 10), NOW);
    }
    assert_eq!(state.check(&batch(0, 0, 9)), out_of_order(60));
    for number in 1..6 {
        let duplicate = DuplicateBatch {
            base_offset: Offset(1000 + i64::from(number) * 10),
            last_offset: Offset(1009 + i64::from(number) * 10),
            timestamp: Timestamp(i64::from(number) * 10 + 50),
        };
        assert_eq!(
            state.check(&batch(0, number * 10, number * 10 + 9)),
            ProducerCheck::Duplicate(duplicate),
            "batch {number}"
        );
    }
}

#[test]
fn a_newer_epoch_begins_at_zero_and_fences_the_older() {
    let mut state = state();
    state.record(&batch(4, 0, 9), Offset(0), NOW);
    assert_eq!(state.check(&batch(5, 10, 10)), out_of_order(0));
    assert_eq!(state.check(&batch(5, 0, 0)), ProducerCheck::Ok);
    state.record(&batch(5, 0, 0), Offset(10), NOW);
    let fenced = ProducerCheck::InvalidProducerEpoch { current: ProducerEpoch(5) };
    assert_eq!(state.check(&batch(4, 10, 10)), fenced);
    assert_eq!(state.check(&batch(4, 0, 9)), fenced, "also the retry of a batch that is in the log");
    assert_eq!(state.check(&batch(5, 1, 1)), ProducerCheck::Ok);
}

#[test]
fn sequences_wrap_from_the_largest_to_zero() {
    let mut state = state();
    state.record(&batch(0, i32::MAX - 1, i32::MAX), Offset(0), NOW);
    assert_eq!(state.check(&batch(0, 0, 3)), ProducerCheck::Ok);
    assert_eq!(state.check(&batch(0, 1, 3)), out_of_order(0));
    let wrapping = batch(0, i32::MAX - 1, 2);
    assert_eq!((wrapping.last_offset_delta, wrapping.last_sequence()), (4, Sequence(2)));
    let mut state = self::state();
    state.record(&wrapping, Offset(50), NOW);
    assert!(
        matches!(state.check(&wrapping), ProducerCheck::Duplicate(found) if found.last_offset == Offset(54))
    );
    assert_eq!(state.check(&batch(0, 3, 3)), ProducerCheck::Ok);
}

#[test]
fn producers_do_not_disturb_each_other() {
    let mut state = state();
    state.record(&of(1, 0), Offset(0), NOW);
    state.record(&of(2, 0), Offset(1), NOW);
    state.record(&of(2, 1), Offset(2), NOW);
    assert_eq!(state.check(&of(1, 1)), ProducerCheck::Ok);
    assert_eq!(state.check(&of(2, 2)), ProducerCheck::Ok);
    assert_eq!(state.check(&of(2, 3)), out_of_order(2));
}

#[test]
fn an_idle_producer_expires_by_the_brokers_clock() {
    let mut state = state();
    state.record(&of(1, 0), Offset(0), Timestamp(100));
    state.record(&of(2, 0), Offset(1), Timestamp(150));
    assert_eq!(state.expire(Timestamp(199), 100), 0);
    assert_eq!(state.expire(Timestamp(200), 100), 1);
    assert_eq!(state.check(&of(1, 500)), ProducerCheck::Ok, "forgotten");
    assert_eq!(state.check(&of(2, 500)), out_of_order(1), "still known");
    assert_eq!(state.expire(Timestamp(0), 100), 0, "a clock that went back expires nobody");
}

#[test]
fn a_crowd_evicts_those_idle_longest() {
    let budget = Rc::new(ProducerBudget::default());
    let mut state = ProducerState::new(budget.clone());
    let crowd = PRODUCERS_PER_PARTITION_MAX as i64 + 1;
    for id in 0..crowd {
        state.record(&of(id, 0), Offset(id), Timestamp(id));
    }
    let evicted = PRODUCERS_PER_PARTITION_MAX / EVICT_ONE_IN;
    assert_eq!(state.len(), PRODUCERS_PER_PARTITION_MAX + 1 - evicted);
    assert_eq!((budget.count(), budget.evictions()), (state.len(), evicted as u64));
    assert_eq!(state.check(&of(evicted as i64 - 1, 9)), ProducerCheck::Ok);
    assert_eq!(state.check(&of(evicted as i64, 9)), out_of_order(1));
    drop(state);
    assert_eq!(budget.count(), 0);
}

#[test]
fn a_full_shard_leaves_every_partition_its_minimum() {
    let budget = Rc::new(ProducerBudget::new(20));
    let (mut crowded, mut other) = (ProducerState::new(budget.clone()), ProducerState::new(budget.clone()));
    for id in 0..100 {
        crowded.record(&of(id, 0), Offset(id), Timestamp(id));
    }
    assert_eq!(crowded.len(), 20);
    for id in 0..100 {
        other.record(&of(id, 0), Offset(id), Timestamp(id));
    }
    assert_eq!((crowded.len(), other.len()), (20, PRODUCERS_PER_PARTITION_MIN));
    assert_eq!(budget.count(), 20 + PRODUCERS_PER_PARTITION_MIN);
}

#[test]
fn a_batch_with_a_producer_but_without_sequence_is_invalid() {
    let good = BatchHeader {
        base_offset: 0,
        size: 61,
        partition_leader_epoch: 0,
        crc: 0,
        attributes: wire::kafka::record_batch::Attributes(0),
        last_offset_delta: 2,
        base_timestamp: 10,
        max_timestamp: 12,
        producer_id: 7,
        producer_epoch: 1,
        base_sequence: 5,
        record_count: 3,
    };
    let found = ProducerBatch::of(&good).expect("valid").expect("idempotent");
    assert_eq!((found.base_sequence, found.last_sequence()), (Sequence(5), Sequence(7)));
    assert_eq!(ProducerBatch::of(&BatchHeader { producer_id: -1, base_sequence: -1, ..good }), Ok(None));
    for bad in [
        BatchHeader { base_sequence: -1, ..good },
        BatchHeader { producer_epoch: -1, ..good },
        BatchHeader { last_offset_delta: -1, ..good },
    ] {
        assert_eq!(ProducerBatch::of(&bad), Err(InvalidProducerBatch));
    }
}

/// A random life of a few producers; returns the state and the log's end, and hands each batch with its offset on.
fn live(random: &mut Random, mut each: impl FnMut(&ProducerBatch, Offset)) -> (ProducerState, Offset) {
    let mut state = state();
    let mut log_end = random.below(100) as i64;
    let mut epochs = [0i16; 4];
    let mut next = [0i32, 5, i32::MAX - 20, 0];
    for turn in 0..random.below(120) {
        let id = random.below(4) as usize;
        if random.one_in(15) {
            epochs[id] += 1;
            next[id] = 0;
        }
        let last_offset_delta = random.below(9) as i32;
        let batch = ProducerBatch {
            id: ProducerId(id as i64),
            epoch: ProducerEpoch(epochs[id]),
            base_sequence: Sequence(next[id]),
            last_offset_delta,
            max_timestamp: Timestamp(turn as i64),
        };
        assert_eq!(state.check(&batch), ProducerCheck::Ok);
        state.record(&batch, Offset(log_end), NOW);
        assert!(
            matches!(state.check(&batch), ProducerCheck::Duplicate(found) if found.base_offset.0 == log_end)
        );
        each(&batch, Offset(log_end));
        next[id] = batch.last_sequence().wrapping_add(1).0;
        log_end += i64::from(last_offset_delta) + 1 + random.below(3) as i64;
    }
    (state, Offset(log_end))
}

#[test]
fn a_snapshot_restores_the_same_state_at_the_same_offset_only() {
    for seed in SEEDS {
        let (state, end) = live(&mut Random::new(seed), |_, _| ());
        let Some(bytes) = state.snapshot(end) else { continue };
        let budget = Rc::new(ProducerBudget::default());
        let back = ProducerState::restore(&bytes, end, budget.clone()).expect("our own bytes");
        assert_eq!(budget.count(), state.len());
        assert_eq!(
            back.snapshot(end),
            Some(bytes.clone()),
            "seed {seed}: bytes are the same for the same state"
        );
        let elsewhere = ProducerState::restore(&bytes, Offset(end.0 + 1), budget).map_err(|e| e.why);
        assert_eq!(elsewhere.err(), Some("of another offset"));
    }
}

#[test]
fn a_truncated_log_goes_on_where_its_last_batch_ended() {
    for seed in SEEDS {
        let mut random = Random::new(seed);
        let mut written = Vec::new();
        let (mut state, end) = live(&mut random, |batch, offset| written.push((*batch, offset)));
        let cut = Offset(random.below(end.0 as u64 + 1) as i64);
        state.truncate(cut);
        let mut newest = HashMap::new();
        for (batch, offset) in &written {
            if offset.0 + i64::from(batch.last_offset_delta) < cut.0 {
                newest.insert(batch.id, *batch);
            }
        }
        for (id, last) in newest {
            let next = ProducerBatch { base_sequence: last.last_sequence().wrapping_add(1), ..last };
            assert_eq!(state.check(&next), ProducerCheck::Ok, "seed {seed} producer {id}");
        }
    }
}

#[test]
fn damaged_snapshots_are_refused_or_harmless_and_never_panic() {
    for seed in SEEDS {
        let mut random = Random::new(seed);
        let (state, end) = live(&mut random, |_, _| ());
        let Some(mut bytes) = state.snapshot(end) else { continue };
        match random.below(3) {
            0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
            1 => {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] ^= 1 << random.below(8);
            }
            _ => {
                for _ in 0..8 {
                    let place = random.below(bytes.len() as u64) as usize;
                    bytes[place] = random.next() as u8;
                }
            }
        }
        if let Ok(mut survived) = ProducerState::restore(&bytes, end, Rc::new(ProducerBudget::default())) {
            survived.record(&of(9, 0), end, NOW);
            assert!(survived.snapshot(Offset(end.0 + 1)).is_some());
        }
    }
}

#[test]
fn a_snapshot_of_an_unknown_version_is_refused() {
    let mut state = state();
    state.record(&batch(0, 0, 0), Offset(0), NOW);
    let mut bytes = state.snapshot(Offset(1)).expect("one producer");
    bytes[7] = 2;
    let refused = ProducerState::restore(&bytes, Offset(1), Rc::new(ProducerBudget::default()));
    assert_eq!(refused.err().map(|e| e.why), Some("unknown magic or version"));
}
