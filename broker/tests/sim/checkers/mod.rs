//! The rules, one file each. Each takes facts and says what is wrong with them.

pub(crate) mod acknowledged;
pub(crate) mod bounds;
pub(crate) mod budgets;
pub(crate) mod bytes;
pub(crate) mod duplicates;
pub(crate) mod groups;
pub(crate) mod order;
pub(crate) mod recovery;
pub(crate) mod starts;
pub(crate) mod topics;
pub(crate) mod visible;

use std::collections::BTreeMap;

use bytes::Stamp;

/// What a verdict is: nothing, or a sentence.
pub(crate) type Verdict = Result<(), String>;

/// A partition as read from its first offset to its last.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) records: BTreeMap<i64, Stamp>,
}
