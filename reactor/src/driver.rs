//! The backend of a reactor: the ring, or with the feature `simulator` also the simulator.
//!
//! Both give the same operations. Without the feature this is the ring's driver itself, and nothing is decided at run time.

#[cfg(not(feature = "simulator"))]
pub(crate) use crate::ring::Driver;
#[cfg(feature = "simulator")]
pub(crate) use crate::sim::either::Driver;
