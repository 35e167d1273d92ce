//! Permits of which there are only so many, such as bytes of memory.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::waiters::{WaiterId, Waiters};

/// A budget shared by tasks. Cloning gives another handle of the same budget.
#[derive(Clone)]
pub struct Semaphore {
    state: Rc<State>,
}

struct State {
    free: Cell<u64>,
    waiters: RefCell<Waiters<u64>>,
}

impl State {
    /// Gives freed permits to those who wait, in order. One who wishes for much is not overtaken by those behind him.
    fn grant(&self) {
        loop {
            let waker = {
                let mut waiters = self.waiters.borrow_mut();
                match waiters.first_wish() {
                    Some(&mut count) if count <= self.free.get() => {
                        self.free.set(self.free.get() - count);
                        waiters.choose_first()
                    }
                    _ => return,
                }
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Semaphore {
    /// A budget of `permits`.
    pub fn new(permits: u64) -> Self {
        Self { state: Rc::new(State { free: Cell::new(permits), waiters: RefCell::default() }) }
    }

    /// Permits nobody has.
    pub fn available(&self) -> u64 {
        self.state.free.get()
    }

    /// Takes `count` permits when they are free and everybody who asked earlier has been served. Asking for more than the
    /// budget never completes.
    pub fn acquire(&self, count: u64) -> Acquire {
        Acquire { state: self.state.clone(), count, waiter: None }
    }

    /// Takes `count` permits now or not at all.
    pub fn try_acquire(&self, count: u64) -> Option<Permit> {
        if !self.state.waiters.borrow().is_empty() || self.state.free.get() < count {
            return None;
        }
        self.state.free.set(self.state.free.get() - count);
        Some(Permit { state: self.state.clone(), count })
    }
}

/// Future of [`Semaphore::acquire`].
#[must_use = "futures do nothing unless awaited"]
pub struct Acquire {
    state: Rc<State>,
    count: u64,
    waiter: Option<WaiterId>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        let this = &mut *self;
        let mut waiters = this.state.waiters.borrow_mut();
        match this.waiter {
            None if waiters.is_empty() && this.state.free.get() >= this.count => {
                this.state.free.set(this.state.free.get() - this.count);
            }
            None => {
                this.waiter = Some(waiters.push(this.count, context.waker().clone()));
                return Poll::Pending;
            }
            Some(id) if waiters.is_chosen(id) => {
                waiters.remove(id);
                this.waiter = None;
            }
            Some(id) => {
                waiters.set_waker(id, context.waker());
                return Poll::Pending;
            }
        }
        Poll::Ready(Permit { state: this.state.clone(), count: this.count })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(id) = self.waiter {
            let (chosen, _) = self.state.waiters.borrow_mut().remove(id);
            if chosen {
                self.state.free.set(self.state.free.get() + self.count);
            }
            // Also when not chosen: this one may have stood in the way of smaller wishes.
            self.state.grant();
        }
    }
}

/// Permits taken; given back when dropped.
#[must_use = "dropping a permit gives it back"]
pub struct Permit {
    state: Rc<State>,
    count: u64,
}

impl Permit {
    /// How many permits this holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Gives back all but `keep` permits.
    pub fn reduce_to(&mut self, keep: u64) {
        let back = self.count.saturating_sub(keep);
        self.count -= back;
        self.state.free.set(self.state.free.get() + back);
        self.state.grant();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.reduce_to(0);
    }
}
