//! Passes connections from the listener outside to the API server inside, byte by byte.

use std::net::SocketAddr;

use tokio::{
    io,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::accept::accept;

/// The clients of one test or one person; kubectl needs a few each.
const CONNECTIONS_MAX: usize = 4096;

/// Passes connections on for as long as it is polled.
pub(super) async fn run(listener: &TcpListener, to: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = accept(|| listener.accept()), if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(pass(stream, to));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn pass(mut outside: TcpStream, to: SocketAddr) {
    // Either side sees the other's end as its own.
    if let Ok(mut inside) = TcpStream::connect(to).await {
        inside.set_nodelay(true).ok();
        outside.set_nodelay(true).ok();
        io::copy_bidirectional(&mut outside, &mut inside).await.ok();
    }
}
