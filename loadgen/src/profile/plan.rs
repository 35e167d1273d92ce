//! What a profile is made of: workloads, loads, and the order in which they are measured.
//!
//! Every round has every case once, in an order of its own. Held-out cases stand between calibration cases, and a round
//! begins and ends with one to calibrate: what the machine does over minutes meets both alike.

use crate::random::Random;

/// Bytes and numbers of what is done, whatever the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Workload {
    pub(crate) record_bytes: usize,
    /// As the producer is told; of the size of a record: each record is a batch.
    pub(crate) batch_bytes: usize,
    pub(crate) partitions: u32,
    pub(crate) flow: Flow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flow {
    /// Written, and each record read by so many consumers at the tail.
    Write { readers: u32 },
    /// Read from its start, by consumers alone.
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Load {
    /// As fast as it goes.
    FlatOut,
    /// An open loop at so many percent of the most that an open loop gets through.
    Percent(u32),
}

/// What a point is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Calibration,
    HeldOut,
}

/// A workload at a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    pub(crate) load: Load,
    pub(crate) role: Role,
}

/// A case, for the so-manieth time (from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) case: Case,
    pub(crate) round: u32,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Quick,
    Full,
}

impl Size {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }

    pub(crate) fn rounds(self) -> u32 {
        match self {
            Self::Quick => 2,
            Self::Full => 3,
        }
    }

    /// Seconds for which a point is measured.
    pub(crate) fn seconds(self) -> f64 {
        match self {
            Self::Quick => 2.0,
            Self::Full => 5.0,
        }
    }
}

impl Workload {
    const fn writing(record_bytes: usize, batch_bytes: usize, partitions: u32, readers: u32) -> Self {
        Self { record_bytes, batch_bytes, partitions, flow: Flow::Write { readers } }
    }

    const fn reading(record_bytes: usize, batch_bytes: usize, partitions: u32) -> Self {
        Self { record_bytes, batch_bytes, partitions, flow: Flow::Read }
    }

    /// The series that its points are of.
    pub(crate) fn name(&self) -> String {
        let record = bytes(self.record_bytes);
        let batch = if self.batch_bytes > self.record_bytes {
            format!("in {}", bytes(self.batch_bytes))
        } else {
            "one by one".to_owned()
        };
        let (before, after) = match self.flow {
            Flow::Write { readers: 0 } => ("", String::new()),
            Flow::Write { readers: 1 } => ("", ", 1 reader".to_owned()),
            Flow::Write { readers } => ("", format!(", {readers} readers")),
            Flow::Read => ("reading ", String::new()),
        };
        let plural = if self.partitions == 1 { "" } else { "s" };
        format!("{before}{record} {batch}, {} partition{plural}{after}", self.partitions)
    }
}

impl Case {
    pub(crate) fn name(&self) -> String {
        let series = self.workload.name();
        match self.load {
            Load::FlatOut => format!("{series}, flat out"),
            Load::Percent(percent) => format!("{series}, {percent} %"),
        }
    }
}

impl Step {
    /// The point that it makes.
    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.case.name(), self.round)
    }
}

fn bytes(count: usize) -> String {
    if count >= 1024 && count.is_multiple_of(1024) {
        format!("{} KiB", count / 1024)
    } else {
        format!("{count} B")
    }
}

const KIB: usize = 1024;

/// The workloads whose latency is measured too: full batches, middling ones, and a request for each few records.
const CURVES: [Workload; 3] = [
    Workload::writing(KIB, 128 * KIB, 6, 0),
    Workload::writing(KIB, KIB, 6, 0),
    Workload::writing(100, 16 * KIB, 24, 1),
];

/// Loads of the curves, in percent.
const LOADS: [u32; 6] = [10, 30, 50, 60, 70, 80];
const LOADS_QUICK: [u32; 3] = [20, 40, 60];

/// Loads of the curves that the model is judged by.
const LOADS_HELD_OUT: [u32; 3] = [20, 40, 65];
const LOADS_HELD_OUT_QUICK: [u32; 1] = [50];

/// Flat out, beside the curves' workloads.
const FLAT_OUT: [Workload; 20] = [
    // Those of a quick profile first.
    Workload::writing(KIB, 16 * KIB, 6, 0),
    Workload::writing(100, 16 * KIB, 6, 0),
    Workload::writing(10 * KIB, 128 * KIB, 6, 0),
    Workload::writing(KIB, 16 * KIB, 1000, 0),
    Workload::writing(KIB, 128 * KIB, 6, 1),
    Workload::reading(KIB, 128 * KIB, 6),
    Workload::writing(KIB, 128 * KIB, 1, 0),
    Workload::writing(KIB, 128 * KIB, 100, 0),
    Workload::writing(KIB, 16 * KIB, 100, 0),
    Workload::writing(KIB, KIB, 1, 0),
    Workload::writing(KIB, KIB, 100, 0),
    Workload::writing(KIB, KIB, 1000, 0),
    Workload::writing(100, 128 * KIB, 100, 0),
    Workload::writing(100, 100, 6, 0),
    Workload::writing(10 * KIB, 10 * KIB, 6, 0),
    Workload::writing(KIB, 128 * KIB, 6, 3),
    Workload::writing(KIB, KIB, 6, 1),
    Workload::writing(10 * KIB, 128 * KIB, 100, 1),
    Workload::reading(KIB, KIB, 6),
    Workload::reading(100, 16 * KIB, 100),
];
const FLAT_OUT_QUICK: usize = 6;

/// Flat out, to judge the model by: sizes and numbers that lie between those above.
const FLAT_OUT_HELD_OUT: [Workload; 7] = [
    Workload::writing(512, 32 * KIB, 12, 0),
    Workload::writing(2 * KIB, 2 * KIB, 12, 0),
    Workload::writing(4 * KIB, 64 * KIB, 50, 0),
    Workload::writing(300, 8 * KIB, 24, 1),
    Workload::writing(KIB, 64 * KIB, 300, 0),
    Workload::writing(512, 512, 50, 0),
    Workload::reading(2 * KIB, 32 * KIB, 12),
];
const FLAT_OUT_HELD_OUT_QUICK: usize = 2;

/// Many partitions with little to do: what they cost by being there. At [`LIGHT_PERCENT`].
const LIGHT: [Workload; 2] =
    [Workload::writing(KIB, 16 * KIB, 1000, 0), Workload::writing(KIB, 16 * KIB, 100, 0)];
const LIGHT_QUICK: usize = 1;
const LIGHT_PERCENT: u32 = 10;

/// A workload that has no curve of its own: its latency comes from those of others.
const BETWEEN_CURVES: Workload = Workload::writing(512, 32 * KIB, 12, 0);

impl Workload {
    /// Whether points of it are open loops.
    pub(crate) fn is_paced(&self) -> bool {
        CURVES.contains(self) || LIGHT.contains(self) || *self == BETWEEN_CURVES
    }
}

/// All cases of a profile, those to calibrate first.
fn cases(size: Size) -> Vec<Case> {
    let (loads, judged): (&[u32], &[u32]) = match size {
        Size::Quick => (&LOADS_QUICK, &LOADS_HELD_OUT_QUICK),
        Size::Full => (&LOADS, &LOADS_HELD_OUT),
    };
    let (flat, flat_judged, light) = match size {
        Size::Quick => (FLAT_OUT_QUICK, FLAT_OUT_HELD_OUT_QUICK, LIGHT_QUICK),
        Size::Full => (FLAT_OUT.len(), FLAT_OUT_HELD_OUT.len(), LIGHT.len()),
    };
    let mut cases = Vec::new();
    let mut put = |workload: &Workload, load, role| cases.push(Case { workload: *workload, load, role });
    for workload in CURVES.iter().chain(&FLAT_OUT[..flat]) {
        put(workload, Load::FlatOut, Role::Calibration);
    }
    for workload in &CURVES {
        for percent in loads {
            put(workload, Load::Percent(*percent), Role::Calibration);
        }
    }
    for workload in &LIGHT[..light] {
        put(workload, Load::Percent(LIGHT_PERCENT), Role::Calibration);
    }
    for workload in &FLAT_OUT_HELD_OUT[..flat_judged] {
        put(workload, Load::FlatOut, Role::HeldOut);
    }
    for workload in CURVES.iter().chain([&BETWEEN_CURVES]) {
        for percent in judged {
            put(workload, Load::Percent(*percent), Role::HeldOut);
        }
    }
    cases
}

/// All points of a profile, in the order in which they are measured: the same each time.
pub(crate) fn steps(size: Size, rounds: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    for round in 1..=rounds {
        let mut chance = Random::stream(0, &[u64::from(round)]);
        let (mut calibration, mut held_out): (Vec<Case>, Vec<Case>) =
            cases(size).into_iter().partition(|case| case.role == Role::Calibration);
        shuffle(&mut calibration, &mut chance);
        shuffle(&mut held_out, &mut chance);
        let order = between(&calibration, &held_out);
        steps.extend(order.into_iter().map(|case| Step { case, round }));
    }
    steps
}

fn shuffle<T>(things: &mut [T], chance: &mut Random) {
    for last in (1..things.len()).rev() {
        things.swap(last, chance.below(last as u64 + 1) as usize);
    }
}

/// The second ones evenly between the first ones.
fn between<T: Copy>(first: &[T], second: &[T]) -> Vec<T> {
    let gaps = first.len().saturating_sub(1);
    let mut order = Vec::with_capacity(first.len() + second.len());
    let mut taken = 0;
    for (place, thing) in first.iter().enumerate() {
        order.push(*thing);
        let due = ((place + 1).min(gaps) * second.len()).checked_div(gaps).unwrap_or(0);
        order.extend_from_slice(&second[taken..due.max(taken)]);
        taken = due.max(taken);
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_round_has_every_case_once_in_an_order_of_its_own() {
        for size in [Size::Quick, Size::Full] {
            let steps = steps(size, 3);
            let cases = cases(size);
            assert_eq!(steps.len(), cases.len() * 3);
            let round = |round| {
                let of: Vec<String> =
                    steps.iter().filter(|step| step.round == round).map(|step| step.case.name()).collect();
                of
            };
            let all: HashSet<String> = cases.iter().map(Case::name).collect();
            assert_eq!(all.len(), cases.len(), "no two cases have one name");
            for number in 1..=3 {
                assert_eq!(round(number).into_iter().collect::<HashSet<_>>(), all);
            }
            assert!(round(1) != round(2) && round(2) != round(3));
            let names: HashSet<String> = steps.iter().map(Step::name).collect();
            assert_eq!(names.len(), steps.len(), "no two points have one name");
        }
    }

    #[test]
    fn held_out_points_lie_between_calibration_points() {
        for size in [Size::Quick, Size::Full] {
            let roles: Vec<Role> = steps(size, 1).iter().map(|step| step.case.role).collect();
            assert_eq!((roles[0], roles[roles.len() - 1]), (Role::Calibration, Role::Calibration));
            for pair in roles.windows(2) {
                assert!(pair[0] == Role::Calibration || pair[1] == Role::Calibration, "{pair:?}");
            }
            // And not all at one end: each quarter has its share.
            let all = roles.iter().filter(|role| **role == Role::HeldOut).count();
            for quarter in roles.chunks(roles.len().div_ceil(4)) {
                let held_out = quarter.iter().filter(|role| **role == Role::HeldOut).count();
                assert!(held_out * 6 >= all, "{held_out} of {all}");
            }
        }
    }

    #[test]
    fn a_held_out_case_is_no_calibration_case() {
        for size in [Size::Quick, Size::Full] {
            let cases = cases(size);
            let of = |role| {
                let named = cases.iter().filter(move |case| case.role == role);
                named.map(|case| (case.workload, case.load)).collect::<HashSet<_>>()
            };
            assert!(of(Role::Calibration).is_disjoint(&of(Role::HeldOut)));
        }
    }

    #[test]
    fn the_same_profile_has_the_same_order_each_time() {
        assert_eq!(steps(Size::Full, 3), steps(Size::Full, 3));
        assert_eq!(steps(Size::Full, 1), steps(Size::Full, 3)[..steps(Size::Full, 1).len()]);
    }

    #[test]
    fn workloads_are_named_in_words() {
        assert_eq!(Workload::writing(KIB, 128 * KIB, 6, 0).name(), "1 KiB in 128 KiB, 6 partitions");
        assert_eq!(Workload::writing(100, 100, 1, 2).name(), "100 B one by one, 1 partition, 2 readers");
        assert_eq!(Workload::reading(KIB, KIB, 6).name(), "reading 1 KiB one by one, 6 partitions");
        let step = steps(Size::Full, 1)[0];
        assert!(step.name().ends_with(" (1)") && step.name().starts_with(&step.case.workload.name()));
    }
}
