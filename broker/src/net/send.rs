//! Sends response frames: memory by vectored send, segment ranges from the file.
//!
//! The kernel copies what it is given into the socket when it is told to send, on this thread. Large answers therefore go
//! in steps, of which a shard begins only a few in a turn: a crowd of clients that ask for much does not make a turn longer
//! for those that ask for little. A socket that is full keeps nobody else from beginning.

use bytes::Bytes;
use futures_util::future::join;
use reactor::TcpStream;
use reactor::sync::Semaphore;

use crate::handlers::reply::{Part, Response};
use crate::limits;

/// Sends `responses` in order, gathering neighbouring memory into as few calls as the bound allows. `bulk` has as many
/// permits as steps of large answers may begin in a turn of the shard.
pub async fn send_all(
    stream: &TcpStream,
    responses: &mut Vec<Response>,
    bulk: &Semaphore,
) -> std::io::Result<u64> {
    let mut gathered = Gathered::default();
    let mut sent = 0;
    for part in responses.drain(..).flat_map(|response| response.parts) {
        sent += part.len() as u64;
        match part {
            Part::Memory(mut bytes) => {
                while !bytes.is_empty() {
                    let step = bytes.split_to(bytes.len().min(limits::SEND_STEP_BYTES - gathered.bytes));
                    gathered.bytes += step.len();
                    gathered.parts.push(step);
                    if gathered.bytes == limits::SEND_STEP_BYTES {
                        gathered.flush(stream, bulk).await?;
                    }
                }
            }
            Part::File { file, position, len } => {
                gathered.flush(stream, bulk).await?;
                let (mut position, end) = (position, position + len as u64);
                while position < end {
                    let step = (end - position).min(limits::SEND_FILE_STEP_BYTES);
                    begin(bulk, step as usize, stream.send_file(&file, position, step)).await?;
                    position += step;
                }
            }
        }
    }
    gathered.flush(stream, bulk).await?;
    Ok(sent)
}

/// Memory that goes out with one call, at most [`limits::SEND_STEP_BYTES`].
#[derive(Default)]
struct Gathered {
    parts: Vec<Bytes>,
    bytes: usize,
}

impl Gathered {
    async fn flush(&mut self, stream: &TcpStream, bulk: &Semaphore) -> std::io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return Ok(());
        }
        begin(bulk, bytes, stream.send(std::mem::take(&mut self.parts))).await
    }
}

/// Sends a step when it is its turn to begin.
async fn begin(
    bulk: &Semaphore,
    bytes: usize,
    send: impl Future<Output = std::io::Result<()>>,
) -> std::io::Result<()> {
    if bytes < limits::SEND_BULK_BYTES {
        return send.await;
    }
    let permit = bulk.acquire(1).await;
    let begun = async {
        // In the next turn the kernel has copied what there was room for.
        reactor::yield_now().await;
        drop(permit);
    };
    join(send, begun).await.0
}
