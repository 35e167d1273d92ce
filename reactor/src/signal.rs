//! The signals that ask a process to end.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use crate::executor;
use crate::ring::net::Socket;
use crate::sys::{self, outcome};

/// A request to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM, from a supervisor.
    Terminate,
    /// SIGINT, from a keyboard.
    Interrupt,
}

/// Keeps SIGTERM and SIGINT from ending the process, so that [`termination`] can report them. Must be called in `main`
/// before any thread is started: threads inherit the setting, and a single one without it would take the signal.
pub fn block() -> io::Result<()> {
    let signals = signals();
    // SAFETY: `signals` is a valid set; the old one is not asked for.
    let code = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut()) };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

fn signals() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: a valid place for a set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: a valid set, initialised above.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: initialised above.
    unsafe { set.assume_init() }
}

/// Waits for the next SIGTERM or SIGINT. Needs [`block`].
pub async fn termination() -> io::Result<Signal> {
    let signals = signals();
    // SAFETY: `signals` is a valid set; no existing descriptor is changed.
    let descriptor =
        unsafe { libc::signalfd(-1, &raw const signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    sys::check(descriptor.into())?;
    // SAFETY: just opened, owned by nobody else.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let descriptor = Rc::new(Socket::new(descriptor));
    loop {
        let readable = executor::with(|reactor| reactor.driver().readable(&descriptor));
        outcome(readable.await.result)?;
        if let Some(signal) = take(descriptor.raw())? {
            return Ok(signal);
        }
    }
}

/// Takes a pending signal off a signalfd.
fn take(descriptor: RawFd) -> io::Result<Option<Signal>> {
    let mut found = std::mem::MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let bytes = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `found` is a valid place for one structure of this length.
    let count = unsafe { libc::read(descriptor.as_raw_fd(), found.as_mut_ptr().cast(), bytes) };
    match sys::check(count as i64) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        other => other?,
    };
    // SAFETY: zeroed, then written by the kernel; every bit pattern is valid.
    let found = unsafe { found.assume_init() };
    Ok(Some(if found.ssi_signo as i32 == libc::SIGINT { Signal::Interrupt } else { Signal::Terminate }))
}
