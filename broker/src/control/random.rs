//! Random ids, from the kernel.

use std::io;

use reactor::blocking::random_bytes;
use wire::kafka::Uuid;

/// A random id (RFC 9562, version 4). Version and variant bits keep it away from Kafka's reserved ids, which are
/// zero and one, and the text of an id never begins with a dash, as Kafka takes care of.
///
/// # Errors
/// The kernel's random device cannot be read.
pub(super) fn uuid() -> io::Result<Uuid> {
    loop {
        let mut bytes: [u8; 16] = random_bytes()?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        // The first six bits are the first character; 62 is the dash.
        if bytes[0] >> 2 != 62 {
            return Ok(Uuid(bytes));
        }
    }
}
