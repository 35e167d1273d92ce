//! File to socket without a copy through this process.
//!
//! While the page cache has the range, `sendfile` on the reactor's own thread is cheapest: it blocks neither on the disk nor
//! on the socket. What the cache lacks goes file → pipe → socket by two splices, which run on kernel workers, so that the
//! disk never stalls the reactor; once a range was missing its neighbours go that way too, for the kernel reads ahead and
//! they are on their way (see [`is_resident`]). A full socket answers EAGAIN to both, and is polled for.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::file::{OpenFile, is_resident, note_miss};
use super::net::{Socket, send_resident};
use super::pipe::Pipe;
use crate::limits::{SENDFILE_BYTES, SPLICE_BYTES};
use crate::sys::outcome;
use crate::{executor, should_yield, yield_now};

/// Sends a range of a file. `UnexpectedEof` if the file is shorter.
pub(crate) async fn send(
    socket: &Rc<Socket>,
    file: &Arc<OpenFile>,
    position: u64,
    length: u64,
) -> io::Result<()> {
    #[cfg(feature = "simulator")]
    if file.simulated.is_some() {
        return crate::sim::send_file(socket, file, position, length).await;
    }
    let mut position = position;
    let mut left = length;
    while left > 0 {
        let count = left.min(SENDFILE_BYTES as u64);
        let sent = if is_resident(file, position, count) {
            from_cache(socket, file, position, count as usize).await?
        } else {
            let count = left.min(SPLICE_BYTES as u64);
            note_miss(file, position + count);
            let sent = through_pipe(socket, file, position, count as usize).await?;
            if sent < count as usize {
                writable(socket).await?;
            }
            sent
        };
        position += sent as u64;
        left -= sent as u64;
        if left > 0 && should_yield() {
            yield_now().await;
        }
    }
    Ok(())
}

async fn writable(socket: &Rc<Socket>) -> io::Result<()> {
    let operation = executor::with(|reactor| reactor.driver().writable(socket));
    outcome(operation.await.result).map(drop)
}

async fn from_cache(socket: &Rc<Socket>, file: &OpenFile, position: u64, count: usize) -> io::Result<usize> {
    match send_resident(socket, file, position, count) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => writable(socket).await.map(|()| 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}

async fn through_pipe(
    socket: &Rc<Socket>,
    file: &Arc<OpenFile>,
    position: u64,
    count: usize,
) -> io::Result<usize> {
    let places = executor::with(|reactor| reactor.driver().ring().pipes.places());
    let _place = places.acquire(1).await;
    let pipe = executor::with(|reactor| reactor.driver().ring().pipes.take())?;
    let fill = executor::with(|reactor| {
        reactor.driver().ring().fill(file, position, &pipe, count.min(pipe.capacity))
    });
    let filled = outcome(fill.await.result)?;
    if filled == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let drained = drain(socket, &pipe, filled).await?;
    if drained == filled {
        executor::with(|reactor| reactor.driver().ring().pipes.give_back(pipe));
    }
    Ok(drained)
}

/// Moves bytes from the pipe into the socket until the pipe is empty or the socket full. A slow reader does not keep a pipe:
/// what is left goes with it, and is in the page cache now.
async fn drain(socket: &Rc<Socket>, pipe: &Rc<Pipe>, filled: usize) -> io::Result<usize> {
    let mut left = filled;
    while left > 0 {
        let operation = executor::with(|reactor| reactor.driver().ring().drain(pipe, socket, left));
        match outcome(operation.await.result) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => left -= count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled - left)
}
