//! Passes connections from the listener outside to the API server inside, byte by byte.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time,
};

/// The clients of one test or one person; kubectl needs a few each.
const CONNECTIONS_MAX: usize = 4096;

/// When the process has no file left, accepting fails at once; trying again must not take a whole core.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Passes connections on for as long as it is polled.
pub(super) async fn run(listener: &TcpListener, to: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(pass(stream, to));
                }
                Err(_) => time::sleep(RETRY_INTERVAL).await,
            },
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
