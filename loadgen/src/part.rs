//! A part of a run: one command at work. A plain command is a run of one part.

use std::time::Duration;

use crate::args::Command;
use crate::client::ClientError;
use crate::process::Usage;
use crate::report::{Report, Rows, Work};
use crate::tally::Link;
use crate::watched::Watched;

/// What a part does, and when.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) command: Command,
    pub(crate) settings: Rows,
    /// It waits for the end of these parts.
    pub(crate) after: Vec<usize>,
    /// And then for so long.
    pub(crate) delay: Duration,
}

/// What a part needs of the run.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) link: Link,
    pub(crate) seed: u64,
    /// The broker's process, if this part has the broker for itself and so may claim its use.
    pub(crate) watched: Option<Watched>,
    /// Whether it is the only part.
    pub(crate) alone: bool,
}

/// What the broker and this program have used so far.
pub(crate) struct Meter {
    watched: Option<Watched>,
    broker: Option<Usage>,
    own: Option<Usage>,
}

impl Meter {
    /// Looks for the first time. Several parts at once share everything, so there none claims anything.
    pub(crate) fn start(context: &Context) -> Result<Self, ClientError> {
        let watched = context.watched.clone();
        let broker = match &watched {
            Some(watched) => watched.usage()?,
            None => None,
        };
        let own = if context.alone { Some(Usage::of("self")?) } else { None };
        Ok(Self { watched, broker, own })
    }

    /// Adds what was used since the start to the report.
    pub(crate) fn stop(self, report: &mut Report, work: Work) -> Result<(), ClientError> {
        if let Some((watched, before)) = self.watched.zip(self.broker)
            && let Some(after) = watched.usage()?
        {
            report.put_usage("broker", before, after, work);
        }
        if let Some(own) = self.own {
            report.put_usage("client", own, Usage::of("self")?, work);
        }
        Ok(())
    }
}
