//! The names in a simulated folder: what is seen, what is durable, and the changes between the two, each of which is lost by
//! itself at a power cut until the folder is synced.

use std::collections::BTreeMap;

use super::content::Loss;
use crate::sim::random::Random;

/// Which file or folder a name means.
pub(crate) type Node = u64;

#[derive(Clone, Debug)]
enum Change {
    Put(String, Node),
    Remove(String),
    /// Within this folder: one name instead of another, both or neither.
    Rename(String, String),
}

/// A folder.
#[derive(Default, Debug)]
pub(crate) struct Folder {
    seen: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    changes: Vec<(u64, Change)>,
}

impl Folder {
    pub(crate) fn get(&self, name: &str) -> Option<Node> {
        self.seen.get(name).copied()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, Node)> {
        self.seen.iter().map(|(name, node)| (name, *node))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    pub(crate) fn put(&mut self, sequence: u64, name: &str, node: Node) {
        self.change(sequence, Change::Put(name.to_owned(), node));
    }

    pub(crate) fn remove(&mut self, sequence: u64, name: &str) {
        self.change(sequence, Change::Remove(name.to_owned()));
    }

    pub(crate) fn rename(&mut self, sequence: u64, from: &str, to: &str) {
        self.change(sequence, Change::Rename(from.to_owned(), to.to_owned()));
    }

    fn change(&mut self, sequence: u64, change: Change) {
        apply(&mut self.seen, &change);
        self.changes.push((sequence, change));
    }

    /// Makes durable what had been done up to a moment.
    pub(crate) fn persist(&mut self, up_to: u64) {
        for (_, change) in self.changes.extract_if(.., |(sequence, _)| *sequence <= up_to) {
            apply(&mut self.durable, &change);
        }
    }

    /// The power is cut. A change whose ground is lost (the name to be renamed was never there) is lost too.
    pub(crate) fn cut(&mut self, loss: Loss, random: &Random) {
        let changes = std::mem::take(&mut self.changes);
        let survivors = random.below(changes.len() as u64 + 1);
        for (index, (_, change)) in changes.iter().enumerate() {
            let kept = match loss {
                Loss::All => false,
                Loss::Nothing => true,
                Loss::Suffix => (index as u64) < survivors,
                Loss::Changes | Loss::Sectors { .. } => random.one_in(2),
            };
            if kept {
                apply(&mut self.durable, change);
            }
        }
        self.seen = self.durable.clone();
    }

    /// All nodes that some outcome of a power cut could name.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = Node> {
        let changed = self.changes.iter().filter_map(|(_, change)| match change {
            Change::Put(_, node) => Some(*node),
            Change::Remove(_) | Change::Rename(..) => None,
        });
        self.seen.values().chain(self.durable.values()).copied().chain(changed)
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: &Change) {
    match change {
        Change::Put(name, node) => {
            names.insert(name.clone(), *node);
        }
        Change::Remove(name) => {
            names.remove(name);
        }
        Change::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lost_until_the_folder_is_synced() {
        let random = Random::new(1, "test");
        let mut folder = Folder::default();
        folder.put(1, "a", 10);
        folder.persist(1);
        folder.put(2, "b", 11);
        folder.rename(3, "a", "c");
        assert_eq!((folder.get("a"), folder.get("c")), (None, Some(10)));
        folder.cut(Loss::All, &random);
        assert_eq!((folder.get("a"), folder.get("b"), folder.get("c")), (Some(10), None, None));
    }

    #[test]
    fn a_rename_is_seen_whole_or_not_at_all() {
        for seed in 0..64 {
            let random = Random::new(seed, "test");
            let mut folder = Folder::default();
            folder.put(1, "a", 10);
            folder.put(2, "b", 11);
            folder.persist(2);
            folder.rename(3, "a", "b");
            folder.cut(Loss::Changes, &random);
            let found = (folder.get("a"), folder.get("b"));
            assert!(found == (Some(10), Some(11)) || found == (None, Some(10)), "{found:?}");
        }
    }
}
