//! A group's committed position never goes back: what is read is what was acknowledged last, or something newer that was
//! sent.

use super::Verdict;
use crate::history::Position;

/// A position as a group reads it; −1: none.
pub(crate) fn read(position: Position, found: i64) -> Verdict {
    let Position { acked, sent } = position;
    let least = if acked == 0 { -1 } else { acked };
    if found < least || found > sent {
        return Err(format!("the position is {found}, {acked} was acknowledged and {sent} sent"));
    }
    Ok(())
}
