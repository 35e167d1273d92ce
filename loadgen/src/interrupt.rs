//! SIGINT and SIGTERM: the first ends the run with a report, the second ends the program.

use crate::client::ClientError;
use crate::tally::StopFlag;

/// Exit status after a second signal, as shells have it for SIGINT.
const IMPATIENT: i32 = 130;

/// From now on signals set the flag. Must come before any thread is started.
pub(crate) fn watch() -> Result<StopFlag, ClientError> {
    let cannot = |cause| ClientError::Local { what: "cannot wait for signals".to_owned(), cause };
    reactor::signal::block().map_err(cannot)?;
    let stop = StopFlag::default();
    let set = stop.clone();
    let wait = || async move {
        while reactor::signal::termination().await.is_ok() {
            if set.is_set() {
                std::process::exit(IMPATIENT);
            }
            set.set();
        }
    };
    // It waits for as long as the program lives.
    reactor::Builder::new("loadgen-signals").spawn(wait).map_err(ClientError::no_reactor)?;
    Ok(stop)
}
