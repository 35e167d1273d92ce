//! `plan`: what it takes to carry a load, from the measurements of a profile.
//!
//! [`profile`] (what was measured) → [`model`] (CPU by [`fit`], latency by [`curve`]) → [`validate`] (how far it is off) →
//! [`sizing`] (the least number of nodes) → [`answer`] (figures, each with where it comes from) → [`show`].

mod answer;
mod curve;
mod fit;
mod model;
mod profile;
mod show;
mod sizing;
mod validate;

pub(crate) use answer::{Question, Unmet, answer};
pub(crate) use profile::Profile;
pub(crate) use validate::model;

#[cfg(test)]
pub(crate) mod samples;
