//! One value, sent once from one task to another.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

struct Channel<T> {
    value: Option<T>,
    waker: Option<Waker>,
    sender_gone: bool,
    receiver_gone: bool,
}

/// The other side is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the other side is gone")
    }
}

impl std::error::Error for Closed {}

/// The sending side.
pub struct Sender<T>(Rc<RefCell<Channel<T>>>);

/// The receiving side: a future of the value.
#[must_use = "futures do nothing unless awaited"]
pub struct Receiver<T>(Rc<RefCell<Channel<T>>>);

/// A pair for one value.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let channel = Channel { value: None, waker: None, sender_gone: false, receiver_gone: false };
    let channel = Rc::new(RefCell::new(channel));
    (Sender(channel.clone()), Receiver(channel))
}

impl<T> Sender<T> {
    /// Sends the value. If the receiver is gone it comes back.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut channel = self.0.borrow_mut();
        if channel.receiver_gone {
            return Err(value);
        }
        channel.value = Some(value);
        Ok(())
    }

    /// True if nobody waits for the value any more.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().receiver_gone
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut channel = self.0.borrow_mut();
            channel.sender_gone = true;
            channel.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut channel = self.0.borrow_mut();
        if let Some(value) = channel.value.take() {
            return Poll::Ready(Ok(value));
        }
        if channel.sender_gone {
            return Poll::Ready(Err(Closed));
        }
        channel.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let value = {
            let mut channel = self.0.borrow_mut();
            channel.receiver_gone = true;
            channel.waker = None;
            channel.value.take()
        };
        drop(value);
    }
}
