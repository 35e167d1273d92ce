//! The content of a simulated file: what readers see, what is durable, and the changes between the two.
//!
//! What is durable is never taken back by a change that is older: it was overwritten, whatever became of it.
//!
//! A change is a run of written bytes or a new length; a write that extends the file makes one of each, and they are lost
//! apart. A finished sync makes durable what had been written before the sync began, and nothing else. A change that was
//! covered by a failed sync is doomed: no later sync makes it durable (Linux forgets that such pages were dirty).

use std::collections::BTreeMap;

use crate::sim::random::Random;

/// Unit in which a power cut tears.
pub(crate) const SECTOR: usize = 512;

enum Kind {
    Bytes { position: usize, bytes: Box<[u8]> },
    Length(usize),
}

struct Change {
    sequence: u64,
    doomed: bool,
    kind: Kind,
}

/// A file's bytes.
#[derive(Default)]
pub(crate) struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
    /// The change that made a sector durable last, for those that older changes could still spoil.
    newest: BTreeMap<usize, u64>,
    /// The same for the length.
    newest_length: u64,
    /// The last write went past the page cache.
    pub(crate) direct: bool,
}

/// How much of what is not durable a power cut takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// Everything.
    All,
    /// Nothing.
    Nothing,
    /// Each change as a whole, by a coin.
    Changes,
    /// Each sector of each change, by a coin that favours keeping (true) or losing.
    Sectors { keep: bool },
    /// What came after a moment.
    Suffix,
}

impl Content {
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(crate) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether a sync that began at a moment has something to do.
    pub(crate) fn has_changes_up_to(&self, moment: u64) -> bool {
        self.changes.iter().any(|change| !change.doomed && change.sequence <= moment)
    }

    /// What a reader sees at a position.
    pub(crate) fn read(&self, position: usize, count: usize) -> &[u8] {
        let start = position.min(self.seen.len());
        &self.seen[start..(start + count).min(self.seen.len())]
    }

    pub(crate) fn write(&mut self, sequence: u64, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if end > self.seen.len() {
            self.set_length(sequence, end);
        }
        self.seen[position..end].copy_from_slice(bytes);
        let kind = Kind::Bytes { position, bytes: bytes.into() };
        self.changes.push(Change { sequence, doomed: false, kind });
    }

    pub(crate) fn set_length(&mut self, sequence: u64, length: usize) {
        self.seen.resize(length, 0);
        self.changes.push(Change { sequence, doomed: false, kind: Kind::Length(length) });
    }

    /// Makes durable what had been written up to a moment.
    pub(crate) fn persist(&mut self, up_to: u64) {
        self.persist_where(|change| !change.doomed && change.sequence <= up_to);
    }

    /// Makes one write durable, and the length that it gave.
    pub(crate) fn persist_one(&mut self, sequence: u64) {
        self.persist_where(|change| change.sequence == sequence);
    }

    fn persist_where(&mut self, covered: impl Fn(&Change) -> bool) {
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.changes) {
            if !covered(&change) {
                left.push(change);
                continue;
            }
            // A newer write that was made durable by itself stays: the drive's cache holds the newest only.
            let newest = &self.newest;
            let newer = |at: usize| newest.get(&(at / SECTOR)).is_none_or(|last| *last < change.sequence);
            match &change.kind {
                Kind::Length(_) if change.sequence < self.newest_length => {}
                kind => apply(&mut self.durable, kind, newer),
            }
            match &change.kind {
                // Without older changes there is nothing to remember.
                _ if left.is_empty() => {}
                Kind::Length(_) => self.newest_length = self.newest_length.max(change.sequence),
                Kind::Bytes { position, bytes } => {
                    let sectors = position / SECTOR..(position + bytes.len()).div_ceil(SECTOR);
                    for sector in sectors {
                        let newest = self.newest.entry(sector).or_default();
                        *newest = change.sequence.max(*newest);
                    }
                }
            }
        }
        self.changes = left;
        if self.changes.is_empty() {
            self.newest.clear();
        }
    }

    /// A sync that covered what had been written up to a moment has failed.
    pub(crate) fn doom(&mut self, up_to: u64) {
        for change in &mut self.changes {
            change.doomed |= change.sequence <= up_to;
        }
    }

    /// The power is cut: what is left is what is durable, and of the rest what chance says.
    pub(crate) fn cut(&mut self, loss: Loss, random: &Random) {
        if self.changes.is_empty() {
            return;
        }
        let (changes, newest) = (std::mem::take(&mut self.changes), std::mem::take(&mut self.newest));
        let survivors = if loss == Loss::Suffix { random.below(changes.len() as u64 + 1) } else { 0 };
        let mut length = self.durable.len();
        for (index, change) in changes.iter().enumerate() {
            let whole = match loss {
                Loss::All => false,
                Loss::Nothing => true,
                Loss::Suffix => (index as u64) < survivors,
                Loss::Changes | Loss::Sectors { .. } => random.one_in(2),
            };
            let newer = |at: usize| newest.get(&(at / SECTOR)).is_none_or(|last| *last < change.sequence);
            match (&change.kind, loss) {
                (Kind::Length(new), _) if whole && change.sequence > self.newest_length => length = *new,
                (Kind::Length(_), _) => {}
                (kind, Loss::Sectors { keep }) => {
                    apply(&mut self.durable, kind, |at| random.one_in(8) != keep && newer(at));
                }
                (kind, _) if whole => apply(&mut self.durable, kind, newer),
                _ => {}
            }
        }
        self.durable.resize(length, 0);
        self.seen = self.durable.clone();
    }

    /// Turns one bit over, on the medium.
    pub(crate) fn flip(&mut self, position: usize, bit: u8) {
        for bytes in [&mut self.seen, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(position) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
}

/// Applies a change, or the sectors of it that are chosen by their position in the file. Bytes behind the end are kept: a
/// length that comes later decides about them.
fn apply(target: &mut Vec<u8>, kind: &Kind, mut chosen: impl FnMut(usize) -> bool) {
    match kind {
        Kind::Length(length) => target.resize(*length, 0),
        Kind::Bytes { position, bytes } => {
            let end = position + bytes.len();
            if target.len() < end {
                target.resize(end, 0);
            }
            let mut at = *position;
            while at < end {
                let next = (at / SECTOR * SECTOR + SECTOR).min(end);
                if chosen(at) {
                    target[at..next].copy_from_slice(&bytes[at - position..next - position]);
                }
                at = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_sync_covered_survives_the_worst_cut() {
        let random = Random::new(1, "test");
        let mut content = Content::default();
        content.write(1, 0, &[1; 1024]);
        content.persist(1);
        content.write(2, 512, &[2; 1024]);
        assert_eq!(content.read(0, 4096)[512..1536], [2; 1024]);
        content.cut(Loss::All, &random);
        assert_eq!(content.read(0, 4096), [1; 1024]);
        content.write(3, 0, &[3; 512]);
        content.persist(2);
        content.cut(Loss::All, &random);
        assert_eq!(content.read(0, 4096), [1; 1024], "the sync began before that write");
    }

    #[test]
    fn length_and_bytes_are_lost_apart_and_sectors_tear() {
        let mut zeros = false;
        let mut torn = false;
        let mut short = false;
        for seed in 0..200 {
            let random = Random::new(seed, "test");
            let mut content = Content::default();
            content.write(1, 0, &[7; 4096]);
            content.cut(Loss::Sectors { keep: true }, &random);
            let bytes = content.read(0, 8192);
            assert!(bytes.chunks(SECTOR).all(|sector| sector == [0; SECTOR] || sector == [7; SECTOR]));
            short |= bytes.is_empty();
            torn |= bytes.contains(&7) && bytes.contains(&0);
            let mut content = Content::default();
            content.write(1, 0, &[7; 4096]);
            content.cut(Loss::Changes, &random);
            zeros |= content.read(0, 4096) == [0; 4096];
        }
        assert!(zeros && torn && short);
    }

    #[test]
    fn what_is_durable_is_not_spoilt_by_an_older_change() {
        for seed in 0..50 {
            let mut content = Content::default();
            content.write(1, 0, &[1; 1024]);
            content.doom(1);
            content.write(2, 0, &[2; 512]);
            content.persist(2);
            content.write(3, 512, &[3; 512]);
            content.write(4, 512, &[4; 512]);
            content.persist_one(4);
            content.cut(Loss::Nothing, &Random::new(seed, "test"));
            assert_eq!(content.read(0, 4096), [[2; 512], [4; 512]].concat());
        }
    }

    #[test]
    fn a_sync_does_not_bring_back_what_a_durable_write_has_overwritten() {
        let mut content = Content::default();
        content.write(1, 0, &[1; 1024]);
        content.write(2, 0, &[2; 512]);
        content.persist_one(2);
        content.persist(2);
        content.cut(Loss::All, &Random::new(1, "test"));
        assert_eq!(content.read(0, 4096), [[2; 512], [1; 512]].concat());
    }

    #[test]
    fn what_a_failed_sync_covered_is_not_made_durable_by_the_next() {
        let mut content = Content::default();
        content.write(1, 0, &[1; 512]);
        content.doom(1);
        content.write(2, 512, &[2; 512]);
        content.persist(2);
        content.cut(Loss::All, &Random::new(1, "test"));
        assert_eq!(content.read(0, 1024)[..512], [0; 512]);
        assert_eq!(content.read(0, 1024)[512..], [2; 512]);
    }
}
