//! Sends response frames: memory by vectored send, segment ranges from the file.

use bytes::Bytes;
use reactor::TcpStream;

use crate::handlers::reply::{Part, Response};
use crate::limits;

/// Sends `responses` in order, gathering neighbouring memory into as few calls as the bound allows.
pub async fn send_all(stream: &TcpStream, responses: &mut Vec<Response>) -> std::io::Result<u64> {
    let mut gathered: Vec<Bytes> = Vec::new();
    let mut gathered_bytes = 0;
    let mut sent = 0;
    for part in responses.drain(..).flat_map(|response| response.parts) {
        sent += part.len() as u64;
        match part {
            Part::Memory(bytes) => {
                gathered_bytes += bytes.len();
                gathered.push(bytes);
            }
            Part::File { file, position, len } => {
                flush(stream, &mut gathered, &mut gathered_bytes).await?;
                stream.send_file(&file, position, len as u64).await?;
            }
        }
        if gathered_bytes >= limits::SEND_BATCH_BYTES {
            flush(stream, &mut gathered, &mut gathered_bytes).await?;
        }
    }
    flush(stream, &mut gathered, &mut gathered_bytes).await?;
    Ok(sent)
}

async fn flush(stream: &TcpStream, gathered: &mut Vec<Bytes>, bytes: &mut usize) -> std::io::Result<()> {
    *bytes = 0;
    if gathered.is_empty() {
        return Ok(());
    }
    stream.send(std::mem::take(gathered)).await
}
