//! What the tests share.
#![allow(dead_code)] // each test file uses a part

use reactor::{Builder, ListenOptions, TcpListener, TcpStream};

/// Runs a future on a reactor of its own and passes panics on.
pub(crate) fn on_reactor<F, Fut, T>(main: F) -> T
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = T> + 'static,
    T: 'static,
{
    Builder::new("test").run(main).unwrap()
}

/// A listener on a free port.
pub(crate) fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap()
}

/// Two ends of a connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = listen();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (near, far)
}
