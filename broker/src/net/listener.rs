//! Accepts connections of one shard. A connection stays on the shard that accepted it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use reactor::{ListenOptions, Priority, TcpListener, TcpStream};
use tracing::{info, warn};

use crate::config::listener::Addresses;
use crate::handlers::Context;
use crate::limits;
use crate::metrics::Closed;
use crate::net::admission::{self, Admitted, Pace};
use crate::net::connection;
use crate::net::connections::Connections;

/// Finds out whether the addresses are free, and which port "any" is. The shards' own listeners share their port, so
/// without this a second broker would quietly take half of the first one's connections.
///
/// The kernel takes the rings of a killed process apart after the process is gone, and the sockets in them with it: a
/// broker that is started again at once finds its own port taken, for milliseconds or, on a machine without a core to
/// spare, for seconds; `patience` is how long it waits.
///
/// # Errors
/// The address that cannot be had, and why.
pub fn reserve(wanted: &Addresses, patience: Duration) -> Result<Addresses, (SocketAddr, std::io::Error)> {
    let hold = |address: SocketAddr| hold(address, patience).map_err(|error| (address, error));
    let bound =
        |socket: &std::net::TcpListener, address| socket.local_addr().map_err(|error| (address, error));
    let shared = hold(wanted.shared)?;
    let of_shards = wanted.of_shards.iter().map(|address| hold(*address)).collect::<Result<Vec<_>, _>>()?;
    // All are held until all are known, or the kernel might choose one twice.
    Ok(Addresses {
        shared: bound(&shared, wanted.shared)?,
        of_shards: of_shards
            .iter()
            .zip(&wanted.of_shards)
            .map(|(socket, address)| bound(socket, *address))
            .collect::<Result<_, _>>()?,
    })
}

fn hold(address: SocketAddr, patience: Duration) -> std::io::Result<std::net::TcpListener> {
    let mut told = false;
    let deadline = reactor::now() + patience;
    loop {
        match std::net::TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && reactor::now() < deadline => {
                if !std::mem::replace(&mut told, true) {
                    warn!(%address, "address in use, waiting for it");
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            bound => return bound,
        }
    }
}

/// Binds a listener of this shard. All shards share the shared port; the kernel spreads connections over them.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address, &ListenOptions { reuse_port: true, backlog: limits::LISTEN_BACKLOG })
}

async fn serve(
    context: Rc<Context>,
    stream: Rc<TcpStream>,
    peer: SocketAddr,
    connections: Rc<Connections>,
    admitted: Admitted,
) {
    if let Some(_admitted) = admitted.from(peer.ip()).await {
        connection::serve(context, stream, peer, connections).await;
    } else {
        context.shard.metrics.closed(Closed::ConnectionsPerIpMax);
        if context.shard.log_pace.allows() {
            info!(%peer, "connection closed: its address has as many as max.connections.per.ip allows");
        }
    }
}

/// Accepts until the listener is closed.
pub async fn accept(
    context: Rc<Context>,
    listener: Rc<TcpListener>,
    pace: Rc<Option<Pace>>,
    connections: Rc<Connections>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let metrics = &context.shard.metrics;
                metrics.connections_accepted.add(1);
                if let Some(pace) = pace.as_ref() {
                    pace.next(&context).await;
                }
                let admitted = admission::enter(&context).await;
                // Answers are written whole, so waiting for more bytes only adds latency.
                if let Err(error) = stream.set_nodelay(true) {
                    info!(%peer, %error, "connection without TCP_NODELAY");
                }
                let serve = serve(context.clone(), Rc::new(stream), peer, connections.clone(), admitted);
                reactor::spawn(Priority::Latency, "connection-reader", serve).detach();
                // A crowd of new connections does not go before those that are served.
                if reactor::should_yield() {
                    reactor::yield_now().await;
                }
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => return,
            Err(error) => {
                // Out of descriptors or memory: existing connections go on; new ones wait in the backlog.
                warn!(%error, "accept failed");
                reactor::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
