//! The broker's use of the machine, by process id or from its page of metrics.

use crate::client::ClientError;
use crate::metrics::MetricsUrl;
use crate::process::Usage;

/// Where to look.
#[derive(Clone, Debug)]
pub(crate) enum Watched {
    Process(u32),
    Page(MetricsUrl),
}

impl Watched {
    /// By process id if there is one, else from the page.
    pub(crate) fn new(pid: Option<u32>, page: Option<&MetricsUrl>) -> Option<Self> {
        pid.map(Self::Process).or_else(|| page.cloned().map(Self::Page))
    }

    /// The use so far; `None` when the page does not say.
    pub(crate) fn usage(&self) -> Result<Option<Usage>, ClientError> {
        match self {
            Self::Process(pid) => Usage::of(&pid.to_string()).map(Some),
            Self::Page(page) => page.scrape().map(|scrape| scrape.usage()),
        }
    }

    /// As the run file calls it.
    pub(crate) fn source(&self) -> &'static str {
        match self {
            Self::Process(_) => "proc",
            Self::Page(_) => "metrics",
        }
    }
}
