//! The socket's file.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::http::StatusCode;
use haldane_engine::handle::Engine;
use haldane_server::{ServeError, Server, ServerConfig};
use tokio::sync::{mpsc, watch};

use crate::it::{
    client::Ask,
    world::{Binary, World, daemon},
};

async fn start(socket: PathBuf) -> Result<Server, ServeError> {
    let (events, _) = mpsc::channel(1);
    let (_, views) = watch::channel(Arc::default());
    let (_, seen) = watch::channel(daemon());
    let config = ServerConfig {
        socket,
        metrics_listen: None,
    };
    Server::start(
        config,
        Engine::new(events, views, seen),
        Arc::new(Binary::default()),
    )
    .await
}

#[tokio::test]
async fn only_the_owner_may_open_it() {
    let world = World::start().await;
    let mode = fs::metadata(world.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[tokio::test]
async fn that_of_a_dead_daemon_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("haldane.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let server = start(socket.clone()).await.unwrap();
    assert_eq!(
        Ask::get("/v1/daemon").send(&socket).await.status,
        StatusCode::OK
    );
    server.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn that_of_a_live_daemon_is_left_alone() {
    let world = World::start().await;
    let error = start(world.socket()).await.unwrap_err();
    assert!(matches!(error, ServeError::InUse { .. }), "{error:?}");
    assert!(
        error.to_string().starts_with("another daemon listens on "),
        "{error}"
    );
    assert_eq!(
        Ask::get("/v1/daemon").send(&world.socket()).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn what_is_not_a_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("haldane.sock");
    fs::write(&file, "precious").unwrap();
    let link = directory.path().join("link.sock");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    for path in [&file, &link] {
        let error = start(path.clone()).await.unwrap_err();
        assert!(matches!(error, ServeError::NotASocket { .. }), "{error:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn too_long_a_path_is_told_with_both_lengths() {
    let directory = tempfile::tempdir().unwrap();
    let used = directory.path().as_os_str().len() + 1;
    let fits = directory.path().join("s".repeat(107 - used));
    start(fits)
        .await
        .unwrap()
        .stop(Duration::from_secs(5))
        .await;
    let error = start(directory.path().join("s".repeat(108 - used)))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has 108 bytes; expected at most 107"),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_directory_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let error = start(directory.path().join("gone/haldane.sock"))
        .await
        .unwrap_err();
    assert!(matches!(error, ServeError::BindSocket { .. }), "{error:?}");
}

#[tokio::test]
async fn a_metrics_address_in_use_leaves_no_socket_behind() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("haldane.sock");
    let (events, _) = mpsc::channel(1);
    let (_, views) = watch::channel(Arc::default());
    let (_, seen) = watch::channel(daemon());
    let config = ServerConfig {
        socket: socket.clone(),
        metrics_listen: Some(taken.local_addr().unwrap()),
    };
    let engine = Engine::new(events, views, seen);
    let error = Server::start(config, engine, Arc::new(Binary::default()))
        .await
        .unwrap_err();
    assert!(matches!(error, ServeError::BindMetrics { .. }), "{error:?}");
    assert!(!socket.exists());
}

#[tokio::test]
async fn only_its_own_file_is_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("haldane.sock");
    let server = start(socket.clone()).await.unwrap();
    server.stop(Duration::from_secs(5)).await;
    assert!(!socket.exists());

    let server = start(socket.clone()).await.unwrap();
    // Moved away first, so that the new file can't get the old one's inode.
    fs::rename(&socket, directory.path().join("moved")).unwrap();
    let _later = UnixListener::bind(&socket).unwrap();
    server.stop(Duration::from_secs(5)).await;
    assert!(socket.exists());
}
