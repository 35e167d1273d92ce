//! Tasks: their slots, their two run queues, and the handle that waits for one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::executor;
use crate::limits::TASKS_MAX;
use crate::wake::{Shared, TaskId};

/// Which of a reactor's two queues a task runs from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// Requests and what they wait for. Runs first in each turn.
    Latency,
    /// Work that may wait: writeback, retention, recovery. Never starved, never preferred.
    Background,
}

pub(crate) type Body = Pin<Box<dyn Future<Output = ()>>>;

struct Slot {
    generation: u32,
    queued: bool,
    cancelled: bool,
    priority: Priority,
    name: &'static str,
    /// Empty while the task is being polled, and when the slot is free.
    body: Option<Body>,
    live: bool,
}

/// The tasks of one reactor.
pub(crate) struct Tasks {
    shared: &'static Shared,
    slots: Vec<Slot>,
    free: Vec<u32>,
    latency: VecDeque<TaskId>,
    background: VecDeque<TaskId>,
    live: usize,
}

/// A task taken out of its slot to be polled.
pub(crate) struct Running {
    pub(crate) id: TaskId,
    pub(crate) name: &'static str,
    pub(crate) body: Body,
}

impl Tasks {
    pub(crate) fn new(shared: &'static Shared) -> Self {
        Self {
            shared,
            slots: Vec::new(),
            free: Vec::new(),
            latency: VecDeque::new(),
            background: VecDeque::new(),
            live: 0,
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Puts a task into a slot and queues its first poll.
    pub(crate) fn insert(&mut self, priority: Priority, name: &'static str, body: Body) -> TaskId {
        let slot = self.free.pop().unwrap_or_else(|| {
            assert!(self.slots.len() < TASKS_MAX, "more than {TASKS_MAX} tasks on one reactor");
            let generation = self.shared.prepare_cell(self.slots.len() as u32);
            self.slots.push(Slot {
                generation,
                queued: false,
                cancelled: false,
                priority,
                name,
                body: None,
                live: false,
            });
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        let id = TaskId { slot, generation: place.generation };
        *place = Slot {
            generation: id.generation,
            queued: false,
            cancelled: false,
            priority,
            name,
            body: Some(body),
            live: true,
        };
        self.live += 1;
        self.shared.set_generation(slot, id.generation);
        self.wake(id);
        id
    }

    /// Queues a task unless it is queued or has ended.
    pub(crate) fn wake(&mut self, id: TaskId) {
        let Some(slot) = self.slots.get_mut(id.slot as usize) else { return };
        if !slot.live || slot.generation != id.generation || slot.queued {
            return;
        }
        slot.queued = true;
        match slot.priority {
            Priority::Latency => self.latency.push_back(id),
            Priority::Background => self.background.push_back(id),
        }
    }

    pub(crate) fn has_queued(&self, priority: Priority) -> bool {
        match priority {
            Priority::Latency => !self.latency.is_empty(),
            Priority::Background => !self.background.is_empty(),
        }
    }

    /// Takes the next queued task of a priority out of its slot.
    pub(crate) fn take_queued(&mut self, priority: Priority) -> Option<Running> {
        loop {
            let id = match priority {
                Priority::Latency => self.latency.pop_front(),
                Priority::Background => self.background.pop_front(),
            }?;
            let slot = &mut self.slots[id.slot as usize];
            if !slot.live || slot.generation != id.generation {
                continue;
            }
            slot.queued = false;
            if let Some(body) = slot.body.take() {
                return Some(Running { id, name: slot.name, body });
            }
        }
    }

    /// Puts a pending task back. If it was cancelled meanwhile it comes back out, to be dropped by the caller.
    pub(crate) fn put_back(&mut self, running: Running) -> Option<Body> {
        let slot = &mut self.slots[running.id.slot as usize];
        if slot.cancelled {
            self.remove(running.id);
            return Some(running.body);
        }
        slot.body = Some(running.body);
        None
    }

    /// Frees the slot of a task. Its future, if it is not being polled, comes back to be dropped by the caller.
    pub(crate) fn remove(&mut self, id: TaskId) -> Option<Body> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if !slot.live || slot.generation != id.generation {
            return None;
        }
        slot.live = false;
        slot.generation = id.next_generation();
        self.shared.set_generation(id.slot, slot.generation);
        let body = slot.body.take();
        self.free.push(id.slot);
        self.live -= 1;
        body
    }

    /// Cancels a task: its future is returned to be dropped, or dropped after the poll it is in.
    pub(crate) fn cancel(&mut self, id: TaskId) -> Option<Body> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if !slot.live || slot.generation != id.generation {
            return None;
        }
        if slot.body.is_none() {
            slot.cancelled = true;
            return None;
        }
        self.remove(id)
    }

    /// Takes the future of a live task, to end all tasks one by one; looks for it from slot `from` on, and then from the
    /// first.
    pub(crate) fn take_any(&mut self, from: &mut usize) -> Option<Body> {
        while self.live > 0 {
            let rest = self.slots.iter().skip(*from).position(|slot| slot.live);
            let Some(index) = rest.map(|offset| *from + offset) else {
                *from = 0;
                continue;
            };
            *from = index + 1;
            let id = TaskId { slot: index as u32, generation: self.slots[index].generation };
            if let Some(body) = self.remove(id) {
                return Some(body);
            }
        }
        None
    }
}

struct Join<T> {
    output: RefCell<Option<T>>,
    waiter: RefCell<Option<Waker>>,
    /// The future is gone: it has returned, or was cancelled.
    ended: Cell<bool>,
}

/// Marks the end of a task when its future is dropped, for whatever reason.
struct Ending<T>(Rc<Join<T>>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.0.ended.set(true);
        let waiter = self.0.waiter.borrow_mut().take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

/// A spawned task. Awaiting it gives its output; dropping it lets the task run on by itself.
///
/// Awaiting a task that was cancelled never completes.
#[must_use = "a task runs whether or not this is kept; drop it explicitly with `.detach()`"]
pub struct Task<T> {
    id: TaskId,
    join: Rc<Join<T>>,
}

impl<T> Task<T> {
    /// Lets the task run on by itself.
    pub fn detach(self) {}

    /// Ends the task: its future is dropped now, or after the poll it is in. Operations that the kernel already has keep
    /// their buffers until they complete.
    pub fn cancel(self) {
        // A task that has ended may have left its slot to one whose generation has come round to the same number.
        if !self.is_finished() {
            executor::with(|reactor| reactor.cancel(self.id));
        }
    }

    /// True when the task has returned or was cancelled.
    pub fn is_finished(&self) -> bool {
        self.join.ended.get()
    }

    pub(crate) fn take_output(&self) -> Option<T> {
        self.join.output.borrow_mut().take()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Some(output) = self.take_output() {
            return Poll::Ready(output);
        }
        let mut waiter = self.join.waiter.borrow_mut();
        if !waiter.as_ref().is_some_and(|waiter| waiter.will_wake(context.waker())) {
            *waiter = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// Starts a task on the current reactor. It is polled first in the current or the next turn, never inside this call.
///
/// `name` appears in [`Stats`](crate::Stats) when the task holds the core too long.
///
/// # Panics
/// Outside a reactor, and when the reactor already has [`TASKS_MAX`] tasks.
pub fn spawn<F>(priority: Priority, name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + 'static,
{
    let join =
        Rc::new(Join { output: RefCell::new(None), waiter: RefCell::new(None), ended: Cell::new(false) });
    let ending = Ending(join.clone());
    let body = Box::pin(async move {
        let ending = ending;
        let output = future.await;
        *ending.0.output.borrow_mut() = Some(output);
    });
    let id = executor::with(|reactor| reactor.insert(priority, name, body));
    Task { id, join }
}
