//! Sends response frames: memory by vectored send, segment ranges from the file.
//!
//! Large answers go in steps, of which a shard begins only a few in a turn ([`bulk`]).

use bytes::Bytes;
use reactor::TcpStream;
use reactor::sync::Semaphore;

use crate::handlers::reply::{Part, Response};
use crate::net::bulk;

/// Sends `responses` in order, gathering neighbouring memory into as few calls as the bound allows. `turns` are
/// those of [`bulk::begin`].
pub async fn send_all(
    stream: &TcpStream,
    responses: &mut Vec<Response>,
    turns: &Semaphore,
) -> std::io::Result<u64> {
    let mut gathered = Gathered::default();
    let mut sent = 0;
    for part in responses.drain(..).flat_map(|response| response.parts) {
        sent += part.len() as u64;
        match part {
            Part::Memory(mut bytes) => {
                while !bytes.is_empty() {
                    let room = bulk::step(turns).saturating_sub(gathered.bytes);
                    let step = bytes.split_to(bytes.len().min(room));
                    gathered.bytes += step.len();
                    gathered.parts.push(step);
                    if !bytes.is_empty() {
                        gathered.flush(stream, turns).await?;
                    }
                }
            }
            Part::File { file, position, len } => {
                gathered.flush(stream, turns).await?;
                let (mut position, end) = (position, position + len as u64);
                while position < end {
                    let step = (end - position).min(bulk::step(turns) as u64);
                    bulk::begin(turns, step as usize, stream.send_file(&file, position, step)).await?;
                    position += step;
                }
            }
        }
    }
    gathered.flush(stream, turns).await?;
    Ok(sent)
}

/// Memory that goes out with one call, at most a step's.
#[derive(Default)]
struct Gathered {
    parts: Vec<Bytes>,
    bytes: usize,
}

impl Gathered {
    async fn flush(&mut self, stream: &TcpStream, turns: &Semaphore) -> std::io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return Ok(());
        }
        bulk::begin(turns, bytes, stream.send(std::mem::take(&mut self.parts))).await
    }
}
