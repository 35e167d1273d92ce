//! Settings of the storage that Kafka does not have.

use crate::config::definition::{Check, choice, settings};

choice! {
    /// How a commit is made durable.
    pub enum SyncMethodSetting {
        /// Both are tried at start and the faster one is taken.
        Auto = "auto",
        /// A write with an fdatasync linked behind it.
        Fdatasync = "fdatasync",
        /// A write with `RWF_DSYNC`.
        Dsync = "dsync",
    }
}

choice! {
    /// How much of a produced batch is checked.
    pub enum RecordValidation {
        /// Every record, compressed ones too, as Kafka does.
        Full = "full",
        /// The header and the checksum.
        Header = "header",
    }
}

settings! {
    /// The commit log and the memory in front of it.
    pub struct StoreSettings in STORE {
        /// The size of each shard's commit log. It starts smaller and grows behind the scenes.
        "commit.log.bytes" => commit_log_bytes: u64 = Some("268435456"), check: Check::AtLeast(8_388_608);
        /// The folder of the commit logs, to put them on a device of their own; not set means the data folder.
        "commit.log.dir" => commit_log_dir: Option<String> = None, check: Check::NotEmpty;
        /// auto: try both and take the faster. fdatasync: a write, then a sync. dsync: one synced write.
        "commit.sync.method" => commit_sync_method: SyncMethodSetting = Some("auto"),
            check: Check::OneOf(SyncMethodSetting::WORDS);
        /// Bytes of each shard that may wait in memory to be written to segments. They are on disk already, in
        /// the commit log.
        "dirty.bytes" => dirty_bytes: u64 = Some("67108864"), check: Check::AtLeast(1_048_576);
        /// Free bytes of the data folder's file system below which produce requests get KAFKA_STORAGE_ERROR until
        /// there is space again. Fetches and deletions go on.
        "free.bytes.min" => free_bytes_min: u64 = Some("67108864"), check: Check::AtLeast(0);
        /// Bytes of each shard that keep the newest batches in memory for readers.
        "tail.bytes" => tail_bytes: u64 = Some("67108864"), check: Check::AtLeast(1_048_576);
        /// Whether files are written past the page cache. false is for trying out where O_DIRECT is missing.
        "storage.o_direct" => o_direct: bool = Some("true");
        /// full: every record of a batch is checked, as Kafka does. header: the header and the checksum only, for
        /// those who accept what a lying client can do.
        "record.validation" => record_validation: RecordValidation = Some("full"),
            check: Check::OneOf(RecordValidation::WORDS);
    }
}
