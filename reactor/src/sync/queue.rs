//! A bounded queue between tasks of one reactor.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::Notify;

/// A queue of at most `capacity` items. Cloning gives another handle of the same queue.
pub struct Queue<T> {
    state: Rc<State<T>>,
}

struct State<T> {
    items: RefCell<VecDeque<T>>,
    capacity: usize,
    closed: Cell<bool>,
    filled: Notify,
    emptied: Notify,
}

/// The queue was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueClosed;

impl std::fmt::Display for QueueClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the queue was closed")
    }
}

impl std::error::Error for QueueClosed {}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<T> Queue<T> {
    /// An empty queue.
    ///
    /// # Panics
    /// If the capacity is zero.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue holds at least one item");
        let state = State {
            items: RefCell::default(),
            capacity,
            closed: Cell::new(false),
            filled: Notify::new(),
            emptied: Notify::new(),
        };
        Self { state: Rc::new(state) }
    }

    /// Adds an item, waiting while the queue is full.
    pub async fn push(&self, item: T) -> Result<(), QueueClosed> {
        let mut item = item;
        loop {
            match self.try_push(item) {
                Ok(()) => return Ok(()),
                Err(_) if self.state.closed.get() => return Err(QueueClosed),
                Err(back) => item = back,
            }
            self.state.emptied.notified().await;
        }
    }

    /// Adds an item, or gives it back if the queue is full or closed.
    pub fn try_push(&self, item: T) -> Result<(), T> {
        let mut items = self.state.items.borrow_mut();
        if self.state.closed.get() || items.len() >= self.state.capacity {
            return Err(item);
        }
        items.push_back(item);
        drop(items);
        self.state.filled.notify_one_waiting();
        Ok(())
    }

    /// Takes the oldest item, waiting while there is none. `None`: closed and empty.
    pub async fn pop(&self) -> Option<T> {
        loop {
            if let Some(item) = self.try_pop() {
                return Some(item);
            }
            if self.state.closed.get() {
                return None;
            }
            self.state.filled.notified().await;
        }
    }

    /// Takes the oldest item, if there is one.
    pub fn try_pop(&self) -> Option<T> {
        let item = self.state.items.borrow_mut().pop_front()?;
        self.state.emptied.notify_one_waiting();
        Some(item)
    }

    /// Ends the queue: nothing can be added, what is in it can be taken.
    pub fn close(&self) {
        self.state.closed.set(true);
        self.state.filled.notify_all();
        self.state.emptied.notify_all();
    }

    /// Items in the queue.
    pub fn len(&self) -> usize {
        self.state.items.borrow().len()
    }

    /// True if there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
