//! See the crate description.
#![forbid(unsafe_code)]

pub mod corrupt;
pub mod leader_epochs;
pub mod offset_index;
pub mod producer_state;
pub mod time_index;
pub mod types;

#[cfg(test)]
mod seeded;
