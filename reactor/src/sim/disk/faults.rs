//! Operations that a simulated disk fails on demand.

use std::io;

use super::DiskStats;

/// What to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// Reading a file.
    Read,
    /// Writing one.
    Write,
    /// fdatasync, fsync, and the sync of a write that syncs itself.
    Sync,
    /// Opening.
    Open,
    /// Reserving space.
    Allocate,
    /// Renaming, by the old name.
    Rename,
    /// Removing.
    Unlink,
}

/// A rule by which operations fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The operation.
    pub on: On,
    /// Part of the path that the operation must be about.
    pub path: String,
    /// The error (`errno`).
    pub errno: i32,
    /// Matching operations that still succeed first.
    pub after: u64,
    /// Operations that fail then.
    pub times: u64,
}

/// The rules of a disk.
#[derive(Default)]
pub(crate) struct Faults {
    rules: Vec<Fault>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.rules.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn check(&mut self, on: On, path: &str, stats: &mut DiskStats) -> io::Result<()> {
        for rule in &mut self.rules {
            if rule.on != on || !path.contains(&rule.path) || rule.times == 0 {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            rule.times -= 1;
            stats.failed += 1;
            return Err(io::Error::from_raw_os_error(rule.errno));
        }
        Ok(())
    }
}
