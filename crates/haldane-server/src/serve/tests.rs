//! Tests of `serve`.

use axum::{body::Bytes, routing::post};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{UnixListener, UnixStream},
    time::Instant,
};

use super::*;

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";

fn echo() -> Router {
    Router::new().route("/", post(async |body: Bytes| body))
}

/// Begins to serve one connection and returns the client's end.
fn connect(tasks: &mut JoinSet<()>, reuse: Reuse) -> DuplexStream {
    let (client, server) = duplex(1 << 16);
    let served = Connection {
        router: echo(),
        reuse,
        stop: CancellationToken::new(),
        _slot: None,
    };
    tasks.spawn(connection(TokioIo::new(server), served));
    client
}

async fn seconds_until_closed(client: &mut DuplexStream) -> u64 {
    let began = Instant::now();
    client.read_to_end(&mut Vec::new()).await.unwrap();
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_within_the_head_is_not_waited_for() {
    let mut tasks = JoinSet::new();
    let mut client = connect(&mut tasks, Reuse::Unlimited);
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    assert_eq!(
        seconds_until_closed(&mut client).await,
        HEAD_TIMEOUT.as_secs()
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let mut tasks = JoinSet::new();
    let mut client = connect(&mut tasks, Reuse::Unlimited);
    client.write_all(REQUEST).await.unwrap();
    assert_eq!(
        seconds_until_closed(&mut client).await,
        HEAD_TIMEOUT.as_secs()
    );
}

#[tokio::test(start_paused = true)]
async fn a_short_connection_ends_whatever_its_client_does() {
    let mut tasks = JoinSet::new();
    let mut client = connect(&mut tasks, Reuse::Once(Duration::from_secs(20)));
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx";
    client.write_all(head).await.unwrap();
    assert_eq!(seconds_until_closed(&mut client).await, 20);
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let hits = Arc::<LimitHits>::default();
    let door = Door {
        router: echo(),
        connections_max: 1,
        reuse: Reuse::Unlimited,
        hits: Arc::clone(&hits),
        stop: CancellationToken::new(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, door));

    let first = UnixStream::connect(&path).await.unwrap();
    while hits.connections.get() == 0 {
        tokio::task::yield_now().await;
    }
    let mut second = UnixStream::connect(&path).await.unwrap();
    second.write_all(REQUEST).await.unwrap();
    drop(first);
    let mut status = [0; 12];
    second.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}
