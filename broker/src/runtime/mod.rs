//! How threads talk: shard to shard over the mesh, shard to control thread over the bridge.

pub mod mesh;
