//! First reads of old batches leave them in the page cache, unless commits are frequent.

use std::os::fd::AsRawFd;
use std::path::Path;

use storage::limits::{FREQUENT_COMMITS, FREQUENT_COMMITS_WINDOW};
use storage::types::Offset;

use crate::support::*;

const BATCHES: u64 = 40;
const BATCH: usize = 60_000;

/// How many blocks of a file lie in the page cache, of some of them. Asking brings none there that matters: each is asked for once.
fn cached(path: &Path) -> (usize, usize) {
    let file = std::fs::File::open(path).unwrap();
    // SAFETY: no memory is given or taken.
    assert_eq!(unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) }, 0);
    let positions = (0..BATCHES - 10).map(|number| number * BATCH as u64);
    let is_cached = |position: &u64| {
        let mut byte = 0u8;
        let vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        let place = &raw const vector;
        // SAFETY: the vector describes `byte`; both outlive the call.
        let read =
            unsafe { libc::preadv2(file.as_raw_fd(), place, 1, *position as libc::off_t, libc::RWF_NOWAIT) };
        read == 1
    };
    (positions.clone().filter(is_cached).count(), positions.count())
}

/// Reads everything that a store has found written, while it commits `rate` times a second.
fn read_beside(rate: u32) -> (usize, usize) {
    let dir = folder();
    let path = dir.path().to_path_buf();
    let (first, second) = (options(&path), options(&path));
    run(move || async move {
        let (store, _) = open(first, &[spec(1)]).await;
        let log = store.create_log(spec(1)).unwrap();
        for number in 0..BATCHES {
            append(&store, &log, &batch(&value(number, BATCH))).await;
        }
        store.close().await.unwrap();
    });
    let segment = run(move || async move {
        let (store, _) = open(second, &[spec(1), spec(2)]).await;
        let (old, other) = (store.create_log(spec(1)).unwrap(), store.create_log(spec(2)).unwrap());
        for number in 0..2 * rate {
            append(&store, &other, &batch(&value(u64::from(number), 100))).await;
            reactor::sleep(FREQUENT_COMMITS_WINDOW / rate).await;
        }
        let all = read_all(&old, 300_000).await;
        assert_eq!(all.len() as u64, BATCHES);
        assert!(all.iter().zip(0..).all(|((_, bytes), number)| contains(bytes, &value(number, BATCH))));
        assert!(old.read(Offset(0), 1, Offset::MAX).await.unwrap().bytes > BATCH);
        let folder = std::fs::read_dir(path.join("topics")).unwrap().map(|entry| entry.unwrap().path());
        let of_old = folder.into_iter().find(|dir| dir.to_string_lossy().ends_with("0001")).unwrap();
        store.close().await.unwrap();
        of_old.join("00000000000000000000.log")
    });
    let cached = cached(&segment);
    drop(dir);
    cached
}

#[test]
fn without_frequent_commits_old_batches_are_in_the_page_cache_when_they_were_read_once() {
    let (cached, of) = read_beside(FREQUENT_COMMITS / 2);
    assert_eq!(cached, of);
}

#[test]
fn beside_frequent_commits_first_reads_go_past_the_page_cache() {
    let (cached, of) = read_beside(FREQUENT_COMMITS * 4);
    assert!(cached < of / 2, "{cached} of {of}");
}
