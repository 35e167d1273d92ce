//! Making a ring, and entering the kernel.

use std::io;

use io_uring::IoUring;

use super::recv_buffers::RecvBuffers;
use super::{Wait, enter_flags};
use crate::limits::{KERNEL_WORKERS, MEMORY_WAIT, MEMORY_WAITS_MAX, RING_ENTRIES_MIN};

/// `struct io_uring_getevents_arg` of the kernel's interface.
#[repr(C)]
struct WaitArgument {
    signal_mask: u64,
    signal_mask_bytes: u32,
    min_wait_us: u32,
    time: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct KernelTime {
    seconds: i64,
    nanoseconds: i64,
}

/// Builds a ring with its receive buffers for the calling thread, and says in one sentence why if that is impossible.
///
/// The kernel counts a ring's memory against the user's limit of locked memory. If that is too low the ring gets smaller:
/// it then submits more often, and works the same. If even the smallest does not fit, rings that were closed a moment ago
/// (by a process that was killed, say) may still be counted, so it is tried again for a while.
pub(super) fn build(entries: u32) -> io::Result<(IoUring, RecvBuffers)> {
    let is_short = |error: &io::Error| error.raw_os_error() == Some(libc::ENOMEM);
    let (mut size, mut waits) = (entries, 0);
    let (ring, recv_buffers) = loop {
        match try_build(size) {
            Err(error) if is_short(&error) && size > RING_ENTRIES_MIN => size /= 2,
            Err(error) if is_short(&error) && waits < MEMORY_WAITS_MAX => {
                std::thread::sleep(MEMORY_WAIT);
                (size, waits) = (entries, waits + 1);
            }
            other => break other.map_err(explain)?,
        }
    };
    if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
        return Err(explain(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let mut workers = KERNEL_WORKERS;
    ring.submitter().register_iowq_max_workers(&mut workers)?;
    Ok((ring, recv_buffers))
}

fn try_build(entries: u32) -> io::Result<(IoUring, RecvBuffers)> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(entries.saturating_mul(4))
        .build(entries)?;
    let recv_buffers = RecvBuffers::register(&ring)?;
    Ok((ring, recv_buffers))
}

fn explain(error: io::Error) -> io::Error {
    let advice = match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: allow io_uring_setup, io_uring_enter and io_uring_register in the container's \
             seccomp profile and set the sysctl kernel.io_uring_disabled to 0"
        }
        Some(libc::EINVAL) => "this kernel's io_uring is too old: Linux 6.1 or newer is needed",
        Some(libc::ENOMEM) => "no memory may be locked for io_uring: raise the limit (ulimit -l)",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{advice} ({error})"))
}

/// Submits `queued` entries and waits as told.
pub(super) fn enter(ring: &mut IoUring, queued: u32, wait: Wait) -> io::Result<()> {
    let (at_least, flags) = enter_flags(wait);
    let submitter = ring.submitter();
    let Wait::For(duration) = wait else {
        // SAFETY: no argument is passed; queued entries are valid by the contract of `Driver::push`.
        return unsafe { submitter.enter::<libc::sigset_t>(queued, at_least, flags, None) }.map(drop);
    };
    let time = KernelTime {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: duration.subsec_nanos().into(),
    };
    let argument = WaitArgument {
        signal_mask: 0,
        signal_mask_bytes: 0,
        min_wait_us: 0,
        time: (&raw const time).addr() as u64,
    };
    // SAFETY: `argument` is what EXT_ARG asks for, and points to `time`; both outlive the call.
    unsafe { submitter.enter(queued, at_least, flags, Some(&argument)) }.map(drop)
}
