//! Limits of the process.

use std::io;

use crate::sys;

/// Raises the number of descriptors that the process may have to what it may raise it to itself (the hard limit), and returns
/// that. Shells and supervisors leave 1,024 for programs that use `select`, which a reactor does not.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the kernel to write a limit.
    sys::check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }.into())?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is one, and outlives the call.
    sys::check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }.into())?;
    Ok(limit.rlim_cur)
}
