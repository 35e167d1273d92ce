//! Telling waiting tasks that something has happened.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::waiters::{WaiterId, Waiters};

/// A condition that tasks wait for.
#[derive(Default)]
pub struct Notify {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// True: chosen by `notify_one`, so that its turn outlives it.
    waiters: Waiters<bool>,
    permit: bool,
}

impl Notify {
    /// Nobody waits, nothing has happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits to be chosen by [`notify_all`](Self::notify_all) or [`notify_one`](Self::notify_one).
    ///
    /// The wait begins when the future is first polled. A condition checked right before `notified().await` cannot change
    /// in between, for no other task runs there.
    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, waiter: None }
    }

    /// Wakes all who wait now.
    pub fn notify_all(&self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            while let Some(waker) = state.waiters.choose_first() {
                wakers.push(waker);
            }
        }
        for waker in wakers {
            waker.wake();
        }
    }

    /// Wakes the one who has waited longest; if nobody waits, the next to wait does not have to.
    pub fn notify_one(&self) {
        let waker = {
            let mut state = self.state.borrow_mut();
            match state.waiters.first_wish() {
                Some(lasting) => *lasting = true,
                None => state.permit = true,
            }
            state.waiters.choose_first()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the one who has waited longest, if anybody waits.
    pub fn notify_one_waiting(&self) -> bool {
        let (waker, waited) = {
            let mut state = self.state.borrow_mut();
            let waited = !state.waiters.is_empty();
            (state.waiters.choose_first(), waited)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        waited
    }

    /// True if a task waits.
    pub fn has_waiters(&self) -> bool {
        !self.state.borrow().waiters.is_empty()
    }
}

/// Future of [`Notify::notified`].
#[must_use = "futures do nothing unless awaited"]
pub struct Notified<'a> {
    notify: &'a Notify,
    waiter: Option<WaiterId>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.notify.state.borrow_mut();
        match self.waiter {
            None if state.permit => state.permit = false,
            None => {
                let id = state.waiters.push(false, context.waker().clone());
                drop(state);
                self.waiter = Some(id);
                return Poll::Pending;
            }
            Some(id) if state.waiters.is_chosen(id) => {
                state.waiters.remove(id);
                drop(state);
                self.waiter = None;
            }
            Some(id) => {
                state.waiters.set_waker(id, context.waker());
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.waiter {
            let (chosen, lasting) = self.notify.state.borrow_mut().waiters.remove(id);
            match (chosen, lasting) {
                (true, true) => self.notify.notify_one(),
                (true, false) => _ = self.notify.notify_one_waiting(),
                (false, _) => {}
            }
        }
    }
}
