//! Classic consumer groups: the protocol of `JoinGroup`, `SyncGroup`, `Heartbeat` and `LeaveGroup`.
//!
//! ```text
//!            join                 all joined, or time is up           leader syncs, record durable
//!  Empty ──────────▶ PreparingRebalance ──────────▶ CompletingRebalance ──────────▶ Stable
//!    ▲                  │  ▲      ▲                        │ join, leave, expiry      │ join, leave, expiry
//!    └── nobody left ───┘  │      └────────────────────────┘                          │
//!                          └──────────────────────────────────────────────────────────┘
//! ```
//! [`classic`] holds the state and its small steps; [`join`], [`rebalance`], [`sync`] and [`leave`] are the protocol.
//! All of it acts through [`super::effects::Effects`] and reads no clock.
//!
//! Sources: Kafka's `ClassicGroup` and `GroupMetadataManager` for behaviour; KIP-62 (rebalance timeout), KIP-134 (initial
//! delay), KIP-345 (static members), KIP-394 (member id required), KIP-559 (protocol in answers), KIP-814 (static leader
//! skips the assignment).

mod classic;
mod join;
mod leave;
mod member;
mod rebalance;
mod subscription;
mod sync;

pub use classic::{GroupState, join_refusal};

pub(super) use classic::{ClassicGroup, sync_error};
pub(super) use join::{Joiner, StaticRejoin};
