//! Timers: a heap of deadlines over slots with generations. A dropped timer leaves a stale entry in the heap, which is
//! skipped when it comes up, and all stale ones are swept out when they outnumber the live.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;

use crate::time::Instant;

/// A timer's slot and which of its successive tenants it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TimerId {
    slot: u32,
    generation: u32,
}

struct Slot {
    generation: u32,
    live: bool,
    waker: Option<Waker>,
}

/// The timers of one reactor. Fire in order of deadline, then of creation.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64, TimerId)>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
    created: u64,
}

impl Timers {
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn insert(&mut self, deadline: Instant, waker: Waker) -> TimerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, live: false, waker: None });
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        place.live = true;
        place.waker = Some(waker);
        let id = TimerId { slot, generation: place.generation };
        self.live += 1;
        self.created += 1;
        self.heap.push(Reverse((deadline, self.created, id)));
        id
    }

    fn is_live(&self, id: TimerId) -> bool {
        let slot = &self.slots[id.slot as usize];
        slot.live && slot.generation == id.generation
    }

    /// True when the timer has fired (its slot is then no longer its own).
    pub(crate) fn has_fired(&self, id: TimerId) -> bool {
        !self.is_live(id)
    }

    /// Replaces the waker of a timer that has not fired.
    pub(crate) fn set_waker(&mut self, id: TimerId, waker: &Waker) {
        if self.is_live(id) {
            let place = &mut self.slots[id.slot as usize].waker;
            if !place.as_ref().is_some_and(|old| old.will_wake(waker)) {
                *place = Some(waker.clone());
            }
        }
    }

    /// Removes a timer. Does nothing if it has fired.
    pub(crate) fn remove(&mut self, id: TimerId) -> Option<Waker> {
        if !self.is_live(id) {
            return None;
        }
        let waker = self.release(id);
        if self.heap.len() > 64 && self.heap.len() > 2 * self.live {
            let slots = &self.slots;
            self.heap.retain(|Reverse((_, _, id))| {
                let slot = &slots[id.slot as usize];
                slot.live && slot.generation == id.generation
            });
        }
        waker
    }

    fn release(&mut self, id: TimerId) -> Option<Waker> {
        let slot = &mut self.slots[id.slot as usize];
        slot.live = false;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        self.live -= 1;
        slot.waker.take()
    }

    /// The nearest deadline.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some(Reverse((deadline, _, id))) = self.heap.peek() {
            if self.is_live(*id) {
                return Some(*deadline);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes the waker of the first timer that is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Waker> {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            let Some(Reverse((_, _, id))) = self.heap.pop() else { break };
            if let Some(waker) = self.release(id) {
                return Some(waker);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Instant {
        Instant::from_ns(ns)
    }

    #[test]
    fn timers_are_due_in_order_of_deadline() {
        let mut timers = Timers::default();
        for ns in [30, 10, 20] {
            timers.insert(at(ns), Waker::noop().clone());
        }
        assert_eq!(timers.next_deadline(), Some(at(10)));
        assert!(timers.take_due(at(5)).is_none());
        assert!(timers.take_due(at(25)).is_some());
        assert_eq!(timers.next_deadline(), Some(at(20)));
        assert!(timers.take_due(at(25)).is_some());
        assert!(timers.take_due(at(25)).is_none());
        assert_eq!(timers.next_deadline(), Some(at(30)));
    }

    #[test]
    fn removed_timers_leave_no_growing_heap_behind() {
        let mut timers = Timers::default();
        let kept = timers.insert(at(1), Waker::noop().clone());
        for ns in 0..10_000 {
            let id = timers.insert(at(1_000_000 + ns), Waker::noop().clone());
            timers.remove(id);
        }
        assert!(timers.heap.len() <= 66);
        assert_eq!(timers.live(), 1);
        assert!(!timers.has_fired(kept));
    }
}
