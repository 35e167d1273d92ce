//! Threads of the process for calls that block and that the ring does not have, or has only one at a time.
//!
//! Each is started by its first call and takes one call after the other. Calls that wait are bounded.
//!
//! Wakers may be woken from any thread and outlive their task and their reactor (see `wake`): when the future is dropped or the
//! reactor ends, a call that has begun goes on to its end and nobody hears of it; one that has not begun is left out.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// One such thread.
pub(crate) struct SideThread {
    /// Of the thread; also what errors call it.
    name: &'static str,
    waiting_max: usize,
    /// Where calls wait; `None` until the thread is started.
    queue: Mutex<Option<SyncSender<Call>>>,
}

type Call = Box<dyn FnOnce() + Send>;

/// What the task that waits and the call share.
struct Answer<T> {
    result: Option<io::Result<T>>,
    waker: Option<Waker>,
}

/// Tells the task that waits, whatever becomes of the call.
struct Teller<T> {
    answer: Arc<Mutex<Answer<T>>>,
    /// What becomes the answer when this is dropped.
    result: Option<io::Result<T>>,
}

impl<T> Teller<T> {
    fn is_heard(&self) -> bool {
        Arc::strong_count(&self.answer) > 1
    }

    fn tell(mut self, result: io::Result<T>) {
        self.result = Some(result);
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        let waker = {
            let mut answer = lock(&self.answer);
            answer.result = self.result.take();
            answer.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SideThread {
    pub(crate) const fn new(name: &'static str, waiting_max: usize) -> Self {
        Self { name, waiting_max, queue: Mutex::new(None) }
    }

    /// Makes a call on the thread, and waits for it.
    ///
    /// # Errors
    /// The call's. `OutOfMemory` when there is no thread for it.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let answer = Arc::new(Mutex::new(Answer { result: None, waker: None }));
        let ended = io::Error::other(format!("the thread \"{}\" has ended", self.name));
        let teller = Teller { answer: Arc::clone(&answer), result: Some(Err(ended)) };
        self.send(Box::new(move || {
            if teller.is_heard() {
                teller.tell(call());
            }
        }))?;
        std::future::poll_fn(|context| {
            let mut answer = lock(&answer);
            if let Some(result) = answer.result.take() {
                return Poll::Ready(result);
            }
            answer.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Queues a call, and starts the thread if there is none.
    fn send(&self, call: Call) -> io::Result<()> {
        let mut queue = lock(&self.queue);
        let sender = match queue.take() {
            Some(sender) => sender,
            None => self.start()?,
        };
        match sender.try_send(call) {
            Ok(()) => *queue = Some(sender),
            Err(TrySendError::Full(_)) => {
                *queue = Some(sender);
                return Err(self.shortage("too many wait for it"));
            }
            // It is gone; the next call starts another.
            Err(TrySendError::Disconnected(_)) => return Err(self.shortage("it has ended")),
        }
        Ok(())
    }

    fn start(&self) -> io::Result<SyncSender<Call>> {
        let (sender, calls) = sync_channel(self.waiting_max);
        let thread = std::thread::Builder::new().name(self.name.to_owned()).spawn(move || serve(&calls));
        match thread {
            Ok(_) => Ok(sender),
            Err(error) => Err(self.shortage(&error.to_string())),
        }
    }

    /// An error that says: not now, and nothing was tried.
    fn shortage(&self, why: &str) -> io::Error {
        io::Error::new(io::ErrorKind::OutOfMemory, format!("no call to the thread \"{}\": {why}", self.name))
    }
}

fn serve(calls: &Receiver<Call>) {
    leave_the_core();
    for call in calls {
        call();
    }
}

/// A thread may only run where the one that started it may, and that is a reactor's, pinned to its core: this one takes the
/// cores of the process's first thread. If that fails it stays, and takes turns with the reactor.
fn leave_the_core() {
    let mut cores = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
    let bytes = size_of::<libc::cpu_set_t>();
    // SAFETY: no arguments.
    let first = unsafe { libc::getpid() };
    // SAFETY: `cores` is a valid place for so many bytes.
    if unsafe { libc::sched_getaffinity(first, bytes, cores.as_mut_ptr()) } == 0 {
        // SAFETY: `cores` was filled in and has so many bytes; 0 is the calling thread.
        unsafe { libc::sched_setaffinity(0, bytes, cores.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;
    use std::task::Context;

    use super::*;
    use crate::Builder;

    #[test]
    fn a_call_that_nobody_waits_for_any_more_is_not_begun() {
        static THREAD: SideThread = SideThread::new("test", 2);
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let count = || -> io::Result<u32> { Ok(CALLS.fetch_add(1, Ordering::Relaxed)) };
        let (go, held) = channel::<()>();
        Builder::new("test")
            .run(move || async move {
                let hold = move || -> io::Result<()> { held.recv().map_err(io::Error::other) };
                let mut holds = pin!(THREAD.call(hold));
                let mut context = Context::from_waker(Waker::noop());
                assert!(holds.as_mut().poll(&mut context).is_pending());
                {
                    let mut dropped = Box::pin(THREAD.call(count));
                    assert!(dropped.as_mut().poll(&mut context).is_pending());
                }
                go.send(()).unwrap();
                holds.await.unwrap();
                assert_eq!(THREAD.call(count).await.unwrap(), 0, "the first that is made");
            })
            .unwrap();
    }

    #[test]
    fn a_call_that_panics_and_one_too_many_are_errors_and_the_thread_comes_back() {
        static THREAD: SideThread = SideThread::new("test", 1);
        let answer = || -> io::Result<u32> { Ok(7) };
        Builder::new("test")
            .run(move || async move {
                assert_eq!(THREAD.call(answer).await.unwrap(), 7);
                let (go, held) = channel::<()>();
                let mut context = Context::from_waker(Waker::noop());
                let (began, begun) = channel();
                let mut panics = pin!(THREAD.call(move || -> io::Result<()> {
                    began.send(()).map_err(io::Error::other)?;
                    let _ = held.recv_timeout(std::time::Duration::from_secs(60));
                    panic!("as planned")
                }));
                assert!(panics.as_mut().poll(&mut context).is_pending());
                begun.recv().unwrap();
                let mut waits = pin!(THREAD.call(answer));
                assert!(waits.as_mut().poll(&mut context).is_pending());
                let error = THREAD.call(answer).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{error}");
                drop(go);
                assert!(panics.await.unwrap_err().to_string().contains("has ended"));
                assert!(waits.await.unwrap_err().to_string().contains("has ended"));
                while THREAD.call(answer).await.is_err() {}
            })
            .unwrap();
    }
}
