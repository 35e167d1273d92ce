//! Deadlines in virtual time: one per key, the earliest first, ties in the order they were set.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Deadlines by key. Times are monotonic milliseconds.
#[derive(Debug)]
pub(super) struct Timers<K> {
    due: BTreeMap<(i64, u64), K>,
    by_key: HashMap<K, (i64, u64)>,
    set: u64,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { due: BTreeMap::new(), by_key: HashMap::new(), set: 0 }
    }
}

impl<K: Clone + Eq + Hash> Timers<K> {
    /// Sets the key's deadline, in place of an earlier one.
    pub(super) fn set(&mut self, key: K, at_ms: i64) {
        self.cancel(&key);
        self.set += 1;
        let place = (at_ms, self.set);
        self.due.insert(place, key.clone());
        self.by_key.insert(key, place);
    }

    /// Forgets the key's deadline, if it has one.
    pub(super) fn cancel(&mut self, key: &K) {
        if let Some(place) = self.by_key.remove(key) {
            self.due.remove(&place);
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<i64> {
        self.due.keys().next().map(|(at_ms, _)| *at_ms)
    }

    /// Takes the earliest key whose deadline has come.
    pub(super) fn take_due(&mut self, now_ms: i64) -> Option<K> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now_ms {
            return None;
        }
        let key = entry.remove();
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_only_when_due() {
        let mut timers = Timers::default();
        timers.set("late", 30);
        timers.set("early", 10);
        timers.set("also early", 10);
        assert_eq!(timers.next(), Some(10));
        assert_eq!(timers.take_due(9), None);
        assert_eq!(timers.take_due(10), Some("early"));
        assert_eq!(timers.take_due(10), Some("also early"));
        assert_eq!(timers.take_due(10), None);
        assert_eq!(timers.take_due(31), Some("late"));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_key_has_one_deadline_the_last_one_set() {
        let mut timers = Timers::default();
        timers.set("member", 10);
        timers.set("member", 20);
        assert_eq!(timers.take_due(15), None);
        timers.cancel(&"member");
        assert_eq!(timers.next(), None);
        assert_eq!(timers.take_due(100), None);
    }
}
