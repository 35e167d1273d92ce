//! How shards talk: over the mesh. The control thread has queues of its own (`control::ControlClient`).

pub mod mesh;
