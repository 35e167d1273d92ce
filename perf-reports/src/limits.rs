//! Named bounds of this crate.

/// Bytes of one file that is read: a day of intervals of a scenario with several parts is under 100 MB.
pub(crate) const FILE_BYTES_MAX: u64 = 256 << 20;

/// Runs of one page, comparison or check.
pub(crate) const RUNS_MAX: usize = 256;

/// Points that a line of a chart has at most; longer series are thinned, the worst of each stretch is kept.
pub(crate) const LINE_POINTS_MAX: usize = 300;

/// Lines of a chart with a mark at each point: above it they hide what they mark.
pub(crate) const MARKED_POINTS_MAX: usize = 24;

/// Runs that a page shows as columns of one table; more runs become rows.
pub(crate) const COLUMNS_MAX: usize = 6;
