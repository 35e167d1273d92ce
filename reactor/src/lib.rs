//! One executor over one `io_uring`, one per core.
