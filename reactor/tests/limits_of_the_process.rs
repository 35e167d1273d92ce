//! What happens at the limits of a process. They hold for all its threads, so these tests have a process of their own, and
//! are one test.
#![allow(clippy::unwrap_used, clippy::undocumented_unsafe_blocks, clippy::multiple_unsafe_ops_per_block)]

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use reactor::{File, OpenOptions, SyncMethod};
use support::{listen, on_reactor};

fn limit(resource: libc::__rlimit_resource_t, value: libc::rlim_t) -> libc::rlim_t {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        assert_eq!(libc::getrlimit(resource, &raw mut old), 0);
        let new = libc::rlimit { rlim_cur: value, rlim_max: old.rlim_max };
        assert_eq!(libc::setrlimit(resource, &raw const new), 0);
    }
    old.rlim_cur
}

#[test]
fn short_writes_and_missing_descriptors_are_errors() {
    a_write_cut_short_is_an_error_and_its_sync_is_not_believed();
    accepting_goes_on_when_descriptors_are_free_again();
    the_soft_limit_of_descriptors_is_raised_to_the_hard_one();
}

fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let before = limit(libc::RLIMIT_NOFILE, 64);
    let raised = reactor::process::raise_descriptor_limit().unwrap();
    assert!(raised >= before && raised > 64);
    assert_eq!(limit(libc::RLIMIT_NOFILE, before), raised);
}

fn a_write_cut_short_is_an_error_and_its_sync_is_not_believed() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("file");
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let old = limit(libc::RLIMIT_FSIZE, 10_000);
    on_reactor(move || async move {
        let file = File::open(&path, &OpenOptions::new().write(true).create(true)).await.unwrap();
        for how in [SyncMethod::LinkedFdatasync, SyncMethod::WriteDsync] {
            let error = file.write_and_sync(Bytes::from(vec![1; 16 << 10]), 0, how).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WriteZero, "{error}");
        }
        let error = file.write_at(Bytes::from(vec![1; 16 << 10]), 0).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{error}");
        file.write_and_sync(Bytes::from(vec![1; 5000]), 0, SyncMethod::LinkedFdatasync).await.unwrap();
    });
    limit(libc::RLIMIT_FSIZE, old);
}

fn accepting_goes_on_when_descriptors_are_free_again() {
    on_reactor(|| async {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let mut clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let next = std::fs::File::open("/dev/null").unwrap();
        let old = limit(libc::RLIMIT_NOFILE, std::os::fd::AsRawFd::as_raw_fd(&next) as u64 + 2);
        drop(next);
        let mut accepted = Vec::new();
        let error = loop {
            match listener.accept().await {
                Ok(connection) => accepted.push(connection),
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
        assert!(accepted.len() < 3);
        let taken = accepted.len();
        limit(libc::RLIMIT_NOFILE, old);
        for _ in taken..3 {
            let accept = reactor::timeout(Duration::from_secs(5), listener.accept());
            accepted.push(accept.await.unwrap().unwrap());
        }
        clients.clear();
    });
}
