//! A queue of waiting tasks, from the middle of which one can leave in constant time.

use std::task::Waker;

const NONE: u32 = u32::MAX;

/// One waiter's place in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WaiterId(u32);

struct Node<T> {
    previous: u32,
    next: u32,
    /// Chosen: out of the queue, its future has not yet seen it.
    chosen: bool,
    waker: Option<Waker>,
    wish: T,
}

/// Waiters in order of arrival, each with what it wishes for.
pub(crate) struct Waiters<T> {
    nodes: Vec<Option<Node<T>>>,
    free: Vec<u32>,
    first: u32,
    last: u32,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), first: NONE, last: NONE }
    }
}

impl<T> Waiters<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    fn node(&mut self, index: u32) -> &mut Node<T> {
        match self.nodes.get_mut(index as usize) {
            Some(Some(node)) => node,
            _ => panic!("waiter {index} is not in this queue"),
        }
    }

    /// Joins at the end.
    pub(crate) fn push(&mut self, wish: T, waker: Waker) -> WaiterId {
        let node = Node { previous: self.last, next: NONE, chosen: false, waker: Some(waker), wish };
        let index = if let Some(index) = self.free.pop() {
            self.nodes[index as usize] = Some(node);
            index
        } else {
            self.nodes.push(Some(node));
            self.nodes.len() as u32 - 1
        };
        match self.last {
            NONE => self.first = index,
            last => self.node(last).next = index,
        }
        self.last = index;
        WaiterId(index)
    }

    /// What the first in the queue wishes for.
    pub(crate) fn first_wish(&mut self) -> Option<&mut T> {
        match self.first {
            NONE => None,
            first => Some(&mut self.node(first).wish),
        }
    }

    /// Takes the first out of the queue and marks it chosen. Its waker is to be woken by the caller, outside any borrow.
    pub(crate) fn choose_first(&mut self) -> Option<Waker> {
        if self.first == NONE {
            return None;
        }
        let index = self.first;
        self.unlink(index);
        let node = self.node(index);
        node.chosen = true;
        node.waker.take()
    }

    fn unlink(&mut self, index: u32) {
        let (previous, next) = {
            let node = self.node(index);
            (node.previous, node.next)
        };
        match previous {
            NONE => self.first = next,
            previous => self.node(previous).next = next,
        }
        match next {
            NONE => self.last = previous,
            next => self.node(next).previous = previous,
        }
    }

    /// True when the waiter was chosen.
    pub(crate) fn is_chosen(&mut self, id: WaiterId) -> bool {
        self.node(id.0).chosen
    }

    pub(crate) fn set_waker(&mut self, id: WaiterId, waker: &Waker) {
        let place = &mut self.node(id.0).waker;
        if !place.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *place = Some(waker.clone());
        }
    }

    /// Leaves, chosen or not. Whether it had been chosen, and what it wished for.
    pub(crate) fn remove(&mut self, id: WaiterId) -> (bool, T) {
        if !self.node(id.0).chosen {
            self.unlink(id.0);
        }
        let Some(node) = self.nodes[id.0 as usize].take() else { unreachable!("looked at above") };
        self.free.push(id.0);
        (node.chosen, node.wish)
    }
}
