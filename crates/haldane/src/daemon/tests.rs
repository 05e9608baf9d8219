//! Tests of the whole daemon in this process, on real files and sockets.

use std::{fs, net::SocketAddr, path::PathBuf, time::Instant};

use haldane_api::http::{CommandName, CommandRequest, DeployRequest, ServiceView};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::*;

/// What should happen at once may take so long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a release file of one service, whose stable version is a server of this test.
struct Place {
    dir: TempDir,
    /// Ends the server when it is dropped.
    _server: JoinSet<()>,
}

impl Place {
    async fn new(rollout: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(answer_all(listener));
        let text = format!(
            "services:
  shop:
    listen: 127.0.0.1:0
    stable: {{ version: v1, url: http://{addr} }}
    health: {{ path: /health, interval: 100ms }}
    rollout: {rollout}
"
        );
        fs::write(dir.path().join("haldane.yaml"), text).unwrap();
        Self {
            dir,
            _server: server,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn start(&self) -> anyhow::Result<Daemon> {
        Daemon::start(DaemonConfig {
            data_dir: self.path("data"),
            socket: self.path("sock"),
            metrics_listen: None,
            threads: NonZeroUsize::new(1),
            upstream_connections: haldane_proxy::UPSTREAM_CONNECTIONS_MAX,
            expose_version: false,
        })
        .await
    }

    async fn up(&self) -> Daemon {
        let daemon = self.start().await.unwrap();
        let file = self.path("haldane.yaml");
        apply_file(daemon.engine(), &file, "a test").await.unwrap();
        daemon
    }
}

/// Answers every request with success.
async fn answer_all(listener: TcpListener) {
    let mut clients = JoinSet::new();
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            return;
        };
        clients.spawn(async move {
            let mut request = [0; 4096];
            while client.read(&mut request).await.is_ok_and(|count| count > 0) {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if client.write_all(answer).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Returns the first line of the answer to a request.
async fn get(addr: &str) -> String {
    let addr: SocketAddr = addr.parse().unwrap();
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

fn view(daemon: &Daemon) -> ServiceView {
    daemon.engine().views().values().next().unwrap().clone()
}

async fn until(
    daemon: &Daemon,
    what: &str,
    is_there: impl Fn(&ServiceView) -> bool,
) -> ServiceView {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let view = view(daemon);
        if is_there(&view) {
            return view;
        }
        assert!(Instant::now() < deadline, "not in time: {what}: {view:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_ready(daemon: &Daemon) -> ServiceView {
    until(daemon, "stable is ready", |view| {
        view.stable.replicas_ready == 1
    })
    .await
}

fn deploy(run: &[&str]) -> DeployRequest {
    DeployRequest {
        version: "v2".parse().unwrap(),
        run: Some(run.iter().map(|&word| word.to_owned()).collect()),
        env: [].into(),
        dir: None,
        urls: None,
        replicas: None,
        rollout: None,
        by: "a test".to_owned(),
        reason: None,
    }
}

const PLAN: &str = "{ steps: [50%, 100%], hold: 1s, guards: none }";

/// Starts a daemon whose store cannot be opened, and checks that stable is served and nothing is decided.
async fn check_without_store(place: &Place) {
    let daemon = place.up().await;
    assert!(daemon.store_absence().is_some());
    let view = until_ready(&daemon).await;
    assert_ne!(view.listen, ["127.0.0.1:0"]);
    assert_eq!(get(&view.listen[0]).await, "HTTP/1.1 200 OK");
    assert!(view.notices[0].contains("without its store"), "{view:?}");
    let fault = daemon.engine().daemon().store_fault.unwrap();
    assert!(
        fault.contains("haldane.db") || fault.contains("open"),
        "{fault}"
    );

    let name = view.name.clone();
    let refused = daemon.engine().deploy(name.clone(), deploy(&["/x"])).await;
    assert!(
        matches!(&refused, Err(RequestError::Store(why)) if why.contains("mend the store")),
        "{refused:?}"
    );
    let abort = CommandRequest {
        command: CommandName::Abort,
        step: None,
        full: false,
        weight_bps: None,
        to: None,
        rollout: None,
        by: "a test".to_owned(),
        reason: None,
    };
    let refused = daemon.engine().command(name, abort).await;
    assert!(
        matches!(refused, Err(RequestError::Store(_))),
        "{refused:?}"
    );
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_left_alone_and_stable_is_served() {
    let place = Place::new(PLAN).await;
    place.up().await.stop().await.unwrap();
    let path = place.path("data/haldane.db");
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().take(100) {
        *byte ^= 0x55;
    }
    fs::write(&path, &bytes).unwrap();
    check_without_store(&place).await;
    assert!(fs::read(&path).unwrap() == bytes, "the store was changed");

    // With another store in its place everything is as ever.
    fs::remove_file(&path).unwrap();
    let daemon = place.up().await;
    assert_eq!(daemon.store_absence(), None);
    let view = until_ready(&daemon).await;
    assert_eq!(view.notices, [""; 0]);
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_place_of_the_store_is_left_alone_and_stable_is_served() {
    let place = Place::new(PLAN).await;
    let path = place.path("data/haldane.db");
    fs::create_dir_all(path.join("mine")).unwrap();
    check_without_store(&place).await;
    let entries: Vec<_> = fs::read_dir(&path).unwrap().collect();
    assert_eq!(entries.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_is_a_file_or_in_use_is_an_error() {
    let place = Place::new(PLAN).await;
    fs::write(place.path("data"), "mine").unwrap();
    let error = format!("{:#}", place.start().await.unwrap_err());
    assert!(error.contains("is not a directory"), "{error}");
    assert_eq!(fs::read(place.path("data")).unwrap(), b"mine");

    fs::remove_file(place.path("data")).unwrap();
    let daemon = place.start().await.unwrap();
    let error = format!("{:#}", place.start().await.unwrap_err());
    let pid = std::process::id().to_string();
    assert!(error.contains("in use") && error.contains(&pid), "{error}");
    daemon.stop().await.unwrap();
}

/// Deploys this, and returns why its rollout ended.
async fn why_it_failed(place: &Place, run: &[&str]) -> String {
    let daemon = place.up().await;
    let view = until_ready(&daemon).await;
    let deployed = daemon
        .engine()
        .deploy(view.name, deploy(run))
        .await
        .unwrap();
    let id = deployed.rollout.unwrap();
    until(&daemon, "it is rolled back", |view| {
        let rollout = view.rollout.as_ref();
        rollout.is_some_and(|it| it.id == id && it.phase == "RolledBack")
    })
    .await;
    let told = daemon.engine().rollout(id).await.unwrap();
    daemon.stop().await.unwrap();
    let last = told.entries.last().unwrap();
    assert!(last.text.contains(&told.message), "{last:?}");
    told.message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_cannot_start_ends_its_rollout_and_says_why() {
    let place = Place::new(PLAN).await;
    let ghost = place.path("ghost");
    assert_eq!(
        why_it_failed(&place, &[ghost.to_str().unwrap()]).await,
        format!(
            "the canary cannot start: the program {} is missing",
            ghost.display()
        )
    );
    // Tried again at once: what was seen of the first try is not taken for this one.
    fs::write(&ghost, "text").unwrap();
    assert_eq!(
        why_it_failed(&place, &[ghost.to_str().unwrap()]).await,
        format!(
            "the canary cannot start: {} is not an executable file",
            ghost.display()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_ends_again_and_again_ends_its_rollout_and_says_how() {
    let place = Place::new(PLAN).await;
    assert_eq!(
        why_it_failed(&place, &["sh", "-c", "exit 3"]).await,
        "the canary cannot start: its process ended by itself (exit code 3); 5 starts in a row failed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_runs_in_the_directory_of_the_release_file() {
    let plan = "{ steps: [{ gate: { name: here, run: [sh, -c, 'pwd -P; exit 4'] } }, 100%], guards: none }";
    let place = Place::new(plan).await;
    let daemon = place.up().await;
    let view = until_ready(&daemon).await;
    let request = DeployRequest {
        run: None,
        urls: Some(vec![view.stable.source.clone()]),
        ..deploy(&[])
    };
    daemon.engine().deploy(view.name, request).await.unwrap();
    let view = until(&daemon, "the gate says no", |view| {
        let rollout = view.rollout.as_ref();
        rollout.is_some_and(|it| it.phase == "RolledBack")
    })
    .await;
    let message = view.rollout.unwrap().message;
    let here = fs::canonicalize(place.dir.path()).unwrap();
    assert!(
        message.ends_with(&format!("exit code 4\n{}", here.display())),
        "{message}"
    );
    daemon.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_returns_when_the_last_process_is_gone() {
    let gate = "trap '' TERM; echo $$ > new; mv new gate.pid; while :; do sleep 0.05; done";
    let plan = format!(
        "{{ steps: [{{ gate: {{ name: stubborn, run: [sh, -c, {gate:?}] }} }}, 100%], guards: none }}"
    );
    let place = Place::new(&plan).await;
    let daemon = place.up().await;
    let view = until_ready(&daemon).await;
    let request = DeployRequest {
        run: None,
        urls: Some(vec![view.stable.source.clone()]),
        ..deploy(&[])
    };
    daemon.engine().deploy(view.name, request).await.unwrap();
    let file = place.path("gate.pid");
    until(&daemon, "the gate is asked", |_| file.exists()).await;
    let pid = fs::read_to_string(file).unwrap();
    let process = PathBuf::from("/proc").join(pid.trim());
    assert!(process.exists());
    daemon.stop().await.unwrap();
    assert!(!process.exists(), "the gate's command is still there");
}
