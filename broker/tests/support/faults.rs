//! A disk that fails when a test says so: rules for the reactor's fault injection, replaced as a whole.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The file of rules of one broker.
pub struct Faults {
    dir: TempDir,
}

impl Faults {
    /// A healthy disk.
    pub fn none() -> Self {
        let faults = Self { dir: tempfile::tempdir().unwrap() };
        faults.set(&[]);
        faults
    }

    /// What the broker is started with.
    pub fn env(&self) -> [(&'static str, &Path); 1] {
        // Leaked by each test once: the path outlives every start.
        let path: &'static Path = Box::leak(self.path().into_boxed_path());
        [("REACTOR_FAULTS", path)]
    }

    /// These rules and no others, from the next operation on.
    pub fn set(&self, rules: &[&str]) {
        let beside = self.dir.path().join("rules.new");
        fs::write(&beside, rules.join("\n")).unwrap();
        fs::rename(&beside, self.path()).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("rules")
    }
}
