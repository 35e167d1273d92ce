//! TCP: listeners and streams.

mod listener;
mod recv_buf;
mod stream;

pub use listener::{ListenOptions, TcpListener};
pub use recv_buf::RecvBuf;
pub use stream::{Shutdown, TcpStream};
