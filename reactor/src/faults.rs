//! Failing disks on demand, for tests: rules that make operations on files fail, read from a control file.
//!
//! Only a build with the feature `faults` has them; without it [`check`] is nothing and costs nothing. With it, the
//! environment variable `REACTOR_FAULTS` names a file of rules, one a line, read at the first operation and again
//! whenever the file is replaced, so that a disk can begin to fail, and heal, in the middle of a test:
//!
//! ```text
//! # operation  path      errno         optional: let the first N pass, fail at most M
//! sync         */ring-*  EIO           after=3 times=1
//! write        *.log     ENOSPC
//! write        */ring-*  BUSY=5        times=1
//! ```
//!
//! Operations are `open`, `read`, `write`, `sync`, `allocate`, `rename` and `unlink`; in a path `*` stands for any
//! characters, `/` among them. The first rule that fits decides. A failed write writes nothing. The write before a failed
//! sync is made, as on a disk whose cache did not reach the platter. `BUSY` lets the operation pass after it has kept the core
//! busy for so many milliseconds, as a loop without a yield would. Every fault is said on stderr.

use std::io;
use std::path::Path;

/// What a rule can make fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileOp {
    /// Opening or making a file, making a folder.
    Open,
    /// Reading, and sending from a file.
    Read,
    /// Writing and changing the length.
    Write,
    /// Making a file or folder durable.
    Sync,
    /// Reserving space.
    Allocate,
    /// Changing a name.
    Rename,
    /// Removing a name.
    Unlink,
}

/// The fault that a rule has for this operation, if any.
///
/// # Errors
/// The rule's. Never in a build without the feature `faults`.
#[cfg(not(feature = "faults"))]
#[inline]
#[allow(clippy::unnecessary_wraps)] // as with the feature
pub fn check(_operation: FileOp, _path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(feature = "faults")]
pub use rules::check;

/// The path of an open file, where faults need it.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    #[cfg(feature = "faults")]
    path: std::sync::Arc<Path>,
}

impl Tag {
    #[cfg_attr(not(feature = "faults"), allow(unused_variables))]
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            #[cfg(feature = "faults")]
            path: path.into(),
        }
    }

    #[cfg(feature = "faults")]
    pub(crate) fn check(&self, operation: FileOp) -> io::Result<()> {
        check(operation, &self.path)
    }

    #[cfg(not(feature = "faults"))]
    #[inline]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)] // as with the feature
    pub(crate) fn check(&self, _operation: FileOp) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "faults")]
mod rules {
    use std::io;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::Duration;

    use super::FileOp;
    use crate::sys;

    /// Names the file of rules.
    const VARIABLE: &str = "REACTOR_FAULTS";

    #[derive(Debug, PartialEq, Eq)]
    struct Rule {
        operation: FileOp,
        path: String,
        effect: Effect,
        /// Still to pass, still to fail.
        after: u64,
        times: u64,
    }

    /// What a rule does.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Effect {
        /// The operation fails with this errno.
        Fail(i32),
        /// It passes, after the calling thread has used its core for so long.
        Busy(Duration),
    }

    /// Inode, length and time of the file as last read: a replaced file differs.
    type Version = (u64, u64, i64, i64);

    #[derive(Default)]
    struct Rules {
        version: Option<Version>,
        rules: Vec<Rule>,
    }

    /// The fault that a rule has for this operation, if any. The only place that asks.
    ///
    /// # Errors
    /// The rule's.
    ///
    /// # Panics
    /// On a file of rules that cannot be understood: a test must not pass because of it.
    pub fn check(operation: FileOp, path: &Path) -> io::Result<()> {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        static RULES: Mutex<Rules> = Mutex::new(Rules { version: None, rules: Vec::new() });
        let Some(file) = FILE.get_or_init(|| std::env::var_os(VARIABLE).map(PathBuf::from)) else {
            return Ok(());
        };
        let mut rules = RULES.lock().unwrap_or_else(PoisonError::into_inner);
        rules.refresh(file);
        match rules.fault(operation, &path.to_string_lossy()) {
            None => Ok(()),
            Some(Effect::Busy(time)) => {
                drop(rules);
                let begin = sys::thread_cpu_ns();
                while u128::from(sys::thread_cpu_ns() - begin) < time.as_nanos() {}
                Ok(())
            }
            Some(Effect::Fail(errno)) => {
                let error = io::Error::from_raw_os_error(errno);
                eprintln!("fault injected: {operation:?} {}: {error}", path.display());
                Err(error)
            }
        }
    }

    impl Rules {
        fn refresh(&mut self, file: &Path) {
            let version = std::fs::metadata(file)
                .ok()
                .map(|status| (status.ino(), status.len(), status.mtime(), status.mtime_nsec()));
            if version == self.version {
                return;
            }
            self.version = version;
            let text = std::fs::read_to_string(file).unwrap_or_default();
            self.rules = text.lines().filter_map(parse).collect();
            eprintln!("fault rules of {}: {}", file.display(), self.rules.len());
        }

        fn fault(&mut self, operation: FileOp, path: &str) -> Option<Effect> {
            let fits = |rule: &&mut Rule| {
                rule.operation == operation
                    && rule.times > 0
                    && matches(rule.path.as_bytes(), path.as_bytes())
            };
            let rule = self.rules.iter_mut().find(fits)?;
            if rule.after > 0 {
                rule.after -= 1;
                return None;
            }
            rule.times -= 1;
            Some(rule.effect)
        }
    }

    /// One line; `None` when it is empty or a comment.
    fn parse(line: &str) -> Option<Rule> {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let operation = match words.next()? {
            "open" => FileOp::Open,
            "read" => FileOp::Read,
            "write" => FileOp::Write,
            "sync" => FileOp::Sync,
            "allocate" => FileOp::Allocate,
            "rename" => FileOp::Rename,
            "unlink" => FileOp::Unlink,
            other => panic!("no operation for a fault: {other}"),
        };
        let (Some(path), Some(effect)) = (words.next(), words.next()) else {
            panic!("a fault rule needs operation, path and errno: {line}");
        };
        let effect = match effect.strip_prefix("BUSY=").map(str::parse) {
            Some(Ok(ms)) => Effect::Busy(Duration::from_millis(ms)),
            Some(Err(_)) => panic!("not a number of milliseconds in a fault rule: {effect}"),
            None => Effect::Fail(number_of(effect)),
        };
        let mut rule = Rule { operation, path: path.to_owned(), effect, after: 0, times: u64::MAX };
        for word in words {
            match word.split_once('=').map(|(key, value)| (key, value.parse())) {
                Some(("after", Ok(count))) => rule.after = count,
                Some(("times", Ok(count))) => rule.times = count,
                _ => panic!("not understood in a fault rule: {word}"),
            }
        }
        Some(rule)
    }

    fn number_of(errno: &str) -> i32 {
        match errno {
            "EIO" => libc::EIO,
            "ENOSPC" => libc::ENOSPC,
            "EDQUOT" => libc::EDQUOT,
            "EROFS" => libc::EROFS,
            "EACCES" => libc::EACCES,
            "EMFILE" => libc::EMFILE,
            other => panic!("no errno for a fault: {other}"),
        }
    }

    /// Whether a path fits a pattern in which `*` is any characters and `?` is one.
    fn matches(pattern: &[u8], path: &[u8]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=path.len()).any(|skipped| matches(rest, &path[skipped..])),
            (Some((b'?', pattern)), Some((_, path))) => matches(pattern, path),
            (Some((wanted, pattern)), Some((found, path))) => wanted == found && matches(pattern, path),
            _ => false,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_rule_lets_the_first_pass_then_fails_so_many() {
            let rules = ["", "# nothing", "sync */ring-*.log EIO after=1 times=2"];
            let mut rules = Rules { version: None, rules: rules.into_iter().filter_map(parse).collect() };
            let mut sync = |path| rules.fault(FileOp::Sync, path);
            assert_eq!(sync("/d/shard-0/ring-0.log"), None, "the first passes");
            assert_eq!(sync("/d/shard-0/checkpoint-0"), None, "another file");
            assert_eq!(sync("/d/shard-1/ring-7.log"), Some(Effect::Fail(libc::EIO)));
            assert_eq!(sync("/d/shard-0/ring-0.log"), Some(Effect::Fail(libc::EIO)));
            assert_eq!(sync("/d/shard-0/ring-0.log"), None, "healed");
            assert_eq!(rules.fault(FileOp::Write, "/d/shard-0/ring-0.log"), None, "another operation");
        }

        #[test]
        fn a_star_in_a_path_crosses_folders() {
            assert!(matches(b"*/topics/t-?-*/*.log", b"/a/b/topics/t-0-00ff/0.log"));
            assert!(!matches(b"*/topics/t-?-*/*.log", b"/a/b/topics/t-10-00ff/0.log"));
            assert!(!matches(b"*.log", b"/a/0.index"));
        }

        #[test]
        #[should_panic(expected = "no errno")]
        fn a_rule_that_is_not_understood_stops_the_test() {
            parse("write * EWHATEVER");
        }
    }
}
