//! The mesh: a bounded queue from each shard to each other shard.
//!
//! A lane carries calls of one kind in the order in which they were sent, so what a connection sends to another
//! shard arrives in the connection's order. A full lane makes the sender wait; it never drops and never grows.
//! Answers travel on a one-shot slot that the caller made before it sent the call, so an answer always has a
//! place to go and two full shards cannot wait for each other.

use async_channel::{Receiver, Sender};

use crate::metadata::ids::ShardId;

/// One shard's end of a mesh whose calls are of type `C`. Clones are the same end.
#[derive(Debug)]
pub struct Mesh<C> {
    me: ShardId,
    /// By target shard; the slot of this shard is closed and never used.
    to: Vec<Sender<C>>,
    /// One queue per other shard.
    from: Vec<Receiver<C>>,
}

impl<C> Clone for Mesh<C> {
    fn clone(&self) -> Self {
        Mesh { me: self.me, to: self.to.clone(), from: self.from.clone() }
    }
}

/// The other shard has stopped and takes no calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardGone;

/// Ends of a full mesh over `shards` shards, by shard, with `capacity` calls per direction.
pub fn mesh<C: Send>(shards: u32, capacity: usize) -> Vec<Mesh<C>> {
    let mut ends: Vec<Mesh<C>> =
        (0..shards).map(|me| Mesh { me: ShardId(me), to: Vec::new(), from: Vec::new() }).collect();
    for sender in 0..shards as usize {
        for receiver in 0..shards as usize {
            let (tx, rx) = async_channel::bounded(capacity);
            ends[sender].to.push(tx);
            if sender != receiver {
                ends[receiver].from.push(rx);
            }
        }
    }
    ends
}

impl<C: Send> Mesh<C> {
    /// This end's shard.
    pub fn me(&self) -> ShardId {
        self.me
    }

    /// How many shards the mesh joins.
    pub fn shards(&self) -> u32 {
        self.to.len() as u32
    }

    /// Queues `call` for `target`, waiting while the lane is full.
    pub async fn send(&self, target: ShardId, call: C) -> Result<(), ShardGone> {
        assert_ne!(target, self.me, "a shard does not call itself over the mesh");
        self.to[target.0 as usize].send(call).await.map_err(|_| ShardGone)
    }

    /// Queues on which calls of the other shards arrive, one per shard. Each is served by a task of its own.
    pub fn incoming(&self) -> &[Receiver<C>] {
        &self.from
    }

    /// Takes no further calls: senders see [`ShardGone`].
    pub fn close(&self) {
        for receiver in &self.from {
            receiver.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_reaches_every_other_and_only_them() {
        let ends = mesh::<u32>(3, 4);
        for end in &ends {
            assert_eq!(end.shards(), 3);
            assert_eq!(end.incoming().len(), 2);
        }
        ends[0].to[2].try_send(7).expect("room");
        let got: Vec<u32> = ends[2].incoming().iter().filter_map(|r| r.try_recv().ok()).collect();
        assert_eq!(got, vec![7]);
    }

    #[test]
    fn a_lane_is_bounded() {
        let ends = mesh::<u32>(2, 2);
        ends[0].to[1].try_send(1).expect("room");
        ends[0].to[1].try_send(2).expect("room");
        assert!(ends[0].to[1].try_send(3).is_err());
    }
}
