//! Waiting for many logs at once, at a cost that does not grow with their number.
//!
//! A [`Watch`] is told by each log that it was given to ([`Log::watch`](crate::Log::watch)), under the token that it was
//! given with. It stays with the logs from one growth to the next: whoever waits looks only at the logs that have grown.
//! Dropping it costs nothing either: a log forgets a watch that has ended when it next grows, or is watched by another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use reactor::sync::Notify;

/// One who waits for logs to grow.
pub struct Watch(Rc<State>);

struct State {
    marks: RefCell<Marks>,
    told: Notify,
    ended: Cell<bool>,
}

#[derive(Default)]
struct Marks {
    /// Tokens of logs that have grown, each once.
    grown: Vec<u32>,
    /// By token: whether it is in `grown`.
    marked: Vec<bool>,
}

/// A watch as a log keeps it.
pub(crate) struct Watcher {
    state: Rc<State>,
    token: u32,
}

impl Watch {
    /// A watch of logs with the tokens 0 to `logs` - 1.
    pub fn new(logs: usize) -> Watch {
        let marks = RefCell::new(Marks { grown: Vec::new(), marked: vec![false; logs] });
        Watch(Rc::new(State { marks, told: Notify::new(), ended: Cell::new(false) }))
    }

    /// As if the log with this token had grown.
    pub fn mark(&self, token: u32) {
        self.0.mark(token);
    }

    /// Waits until logs have grown, or have gone, since they were last given here, or since they are watched.
    pub async fn grown(&self) -> Vec<u32> {
        loop {
            {
                let marks = &mut *self.0.marks.borrow_mut();
                if !marks.grown.is_empty() {
                    for token in &marks.grown {
                        marks.marked[*token as usize] = false;
                    }
                    return std::mem::take(&mut marks.grown);
                }
            }
            self.0.told.notified().await;
        }
    }

    pub(crate) fn watcher(&self, token: u32) -> Watcher {
        assert!((token as usize) < self.0.marks.borrow().marked.len());
        Watcher { state: Rc::clone(&self.0), token }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.ended.set(true);
        self.0.marks.take();
    }
}

impl State {
    fn mark(&self, token: u32) {
        let first = {
            let marks = &mut *self.marks.borrow_mut();
            if std::mem::replace(&mut marks.marked[token as usize], true) {
                return;
            }
            marks.grown.push(token);
            marks.grown.len() == 1
        };
        if first {
            self.told.notify_all();
        }
    }
}

impl Watcher {
    /// Tells it of growth; false when nobody wants to know any more.
    pub(crate) fn tell(&self) -> bool {
        let wanted = self.is_wanted();
        if wanted {
            self.state.mark(self.token);
        }
        wanted
    }

    pub(crate) fn is_wanted(&self) -> bool {
        !self.state.ended.get()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn what_has_grown_is_told_once_until_it_grows_again() {
        let watch = Watch::new(3);
        assert_eq!(now(watch.grown()), None);
        let watchers: Vec<Watcher> = (0..3).map(|token| watch.watcher(token)).collect();
        assert!(watchers[2].tell() && watchers[0].tell() && watchers[2].tell());
        assert_eq!(now(watch.grown()), Some(vec![2, 0]));
        assert_eq!(now(watch.grown()), None);
        watchers[2].tell();
        watch.mark(1);
        assert_eq!(now(watch.grown()), Some(vec![2, 1]));
    }

    #[test]
    fn a_watch_that_has_ended_is_not_wanted_any_more() {
        let watch = Watch::new(1);
        let watcher = watch.watcher(0);
        assert!(watcher.tell());
        drop(watch);
        assert!(!watcher.is_wanted() && !watcher.tell());
    }
}
