//! Seeds that found bugs, with what they found. What a seed does changes with the plan and the workload; these did it when
//! they were kept, and [`scenarios`](crate::scenarios) has on purpose what they met by chance.

pub(crate) const SEEDS: [(u64, &str); 3] = [
    (
        6,
        "a start with other shards, cut short before the hand-over, left partitions where their logs are not",
    ),
    (
        12,
        "an append of several commits that became whole during a checkpoint was carried whole: an assertion",
    ),
    (102, "commits whose sync had failed were believed after a restart, and lost with those behind them"),
];
