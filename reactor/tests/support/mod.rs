//! What the tests share.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses a part, and tests may panic

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

/// Polls a future once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context)))
        .await
}

/// Waits until no operation is with the kernel but those that were there before.
pub(crate) async fn operations_settle_at(count: usize) {
    for _ in 0..5000 {
        if reactor::stats().operations_in_flight == count {
            return;
        }
        reactor::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("{} operations still in flight, {count} expected", reactor::stats().operations_in_flight);
}

/// Bytes in which every position can be told from its neighbours.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(31) + (i >> 8) * 17 + (i >> 16)) as u8).collect()
}
