//! `haldane doctor`: what may keep Haldane from working on this machine or in a cluster, and what to do about it.

mod kube;
mod url;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use haldane_api::{
    file::File,
    http::{DaemonView, ServiceView},
    lint,
};
use rustix::fs::{Access, access, statvfs};
use serde::Serialize;

use super::{
    client::{Client, ClientError},
    exit::Exit,
    globals::Globals,
    home::HomeError,
    paint::Tone,
    result,
    source::Source,
    table::{Cell, Table},
    words::{clean, span},
};

/// Less free space than this, and the store fails soon.
const FREE_BYTES_MIN: u64 = 100 << 20;

/// Less free space than this is worth a look: logs of the versions grow beside the store.
const FREE_BYTES_GOOD: u64 = 1 << 30;

/// Mode bits of those who are neither the owner nor root.
const OTHERS: u32 = 0o077;

/// Tells what may keep Haldane from working here, and what to do about it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The release file to look at
    #[arg(short, long, value_name = "FILE", default_value = "haldane.yaml")]
    file: PathBuf,
    /// On Kubernetes: look at the releases of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Send 20 requests to this address of a service, and tell which versions answered
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    status: Status,
    check: &'static str,
    /// What was found, and what to do where it is not well.
    text: String,
}

/// How a check went; worse ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// Runs the command; a failed check is a failure.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let mut findings = match &globals.access {
        Some(access) => kube::findings(access, args.all_namespaces).await?,
        None if args.all_namespaces => return Err(HomeError::Everywhere.into()),
        None => of_machine(args, globals).await,
    };
    if let Some(url) = &args.url {
        findings.push(url::finding(url).await);
    }
    write(&findings, globals, out)?;
    let worst = findings.iter().map(|finding| finding.status).max();
    Ok(if worst == Some(Status::Fail) {
        Exit::Failed
    } else {
        Exit::Done
    })
}

async fn of_machine(args: &Args, globals: &Globals) -> Vec<Finding> {
    let client = globals.client();
    let daemon = client.get::<DaemonView>("/v1/daemon").await;
    let services = client
        .get::<Vec<ServiceView>>("/v1/services")
        .await
        .unwrap_or_default();
    let data_dir = daemon.as_ref().map_or_else(
        |_| globals.place.data_dir.clone(),
        |daemon| PathBuf::from(&daemon.data_dir),
    );
    let mut findings = vec![of_daemon(&client, daemon)];
    findings.push(of_data_dir(&data_dir));
    findings.push(of_disk(&data_dir));
    findings.extend(of_file(&args.file, &services));
    findings
}

fn write(findings: &[Finding], globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    result::write(globals, out, findings, |out| {
        let mut table = Table::new(["", "CHECK", "WHAT"]);
        for Finding {
            status,
            check,
            text,
        } in findings
        {
            table.push([
                Cell::new(status.tone(), status.word()),
                check.into(),
                text.into(),
            ]);
        }
        // Advice that is cut is no advice.
        Ok(table.write(out, usize::MAX, globals.paint)?)
    })
}

impl Finding {
    fn new(status: Status, check: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            check,
            text: text.into(),
        }
    }
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warn => Tone::Warn,
            Self::Fail => Tone::Bad,
        }
    }
}

fn of_daemon(client: &Client, daemon: Result<DaemonView, ClientError>) -> Finding {
    let finding = |status, text: String| Finding::new(status, "daemon", text);
    match daemon {
        Err(ClientError::NoDaemon { .. }) => {
            let socket = client.socket().display();
            finding(
                Status::Warn,
                format!("none answers at {socket}; start one with `haldane up`"),
            )
        }
        Err(error) => finding(Status::Fail, error.to_string()),
        Ok(DaemonView {
            store_fault: Some(fault),
            ..
        }) => {
            let text = format!(
                "decisions are not durable: {}; no weight rises until they are",
                clean(&fault)
            );
            finding(Status::Fail, text)
        }
        Ok(DaemonView { version, pid, .. }) if version != env!("CARGO_PKG_VERSION") => {
            let ours = env!("CARGO_PKG_VERSION");
            finding(
                Status::Warn,
                format!(
                    "process {pid} is release {}, this command is {ours}; start the daemon again",
                    clean(&version)
                ),
            )
        }
        Ok(DaemonView {
            version,
            pid,
            started_at,
            ..
        }) => {
            let up = span(started_at, jiff::Timestamp::now());
            finding(
                Status::Ok,
                format!("process {pid}, release {version}, up for {up}"),
            )
        }
    }
}

fn of_data_dir(dir: &Path) -> Finding {
    let finding = |status, text: String| Finding::new(status, "data directory", text);
    let shown = dir.display();
    let metadata = match std::fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match existing(dir) {
                Some(parent) if access(parent, Access::WRITE_OK).is_ok() => {
                    finding(Status::Ok, format!("{shown} is made by `haldane up`"))
                }
                Some(_) | None => finding(
                    Status::Fail,
                    format!("{shown} cannot be made; give --data-dir, or make it yourself"),
                ),
            };
        }
        Err(error) => return finding(Status::Fail, format!("{shown}: {error}")),
    };
    if !metadata.is_dir() {
        return finding(
            Status::Fail,
            format!("{shown} is no directory; move it away, or give --data-dir"),
        );
    }
    if access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return finding(
            Status::Fail,
            format!("{shown} is not yours to write; run as its owner, or give --data-dir"),
        );
    }
    if metadata.mode() & OTHERS != 0 {
        return finding(
            Status::Warn,
            format!("{shown} is open to other users; run `chmod 700 {shown}`"),
        );
    }
    finding(Status::Ok, format!("{shown} is yours alone"))
}

fn of_disk(dir: &Path) -> Finding {
    let finding = |status, text: String| Finding::new(status, "disk space", text);
    let Some(there) = existing(dir) else {
        return finding(
            Status::Fail,
            format!("nothing exists on the way to {}", dir.display()),
        );
    };
    match statvfs(there) {
        Err(error) => finding(
            Status::Warn,
            format!("cannot be told for {}: {error}", there.display()),
        ),
        Ok(disk) => {
            let (status, text) = of_free(disk.f_bavail.saturating_mul(disk.f_frsize));
            finding(status, text)
        }
    }
}

fn of_free(bytes: u64) -> (Status, String) {
    let free = format!("{} MiB free", bytes >> 20);
    if bytes < FREE_BYTES_MIN {
        return (
            Status::Fail,
            format!("{free}; decisions may not be durable: make room"),
        );
    }
    if bytes < FREE_BYTES_GOOD {
        return (
            Status::Warn,
            format!("{free}; make room for logs and history"),
        );
    }
    (Status::Ok, free)
}

/// Returns the nearest directory on the way that exists.
fn existing(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|path| path.exists())
}

fn of_file(path: &Path, services: &[ServiceView]) -> Vec<Finding> {
    let finding = |status, text: String| Finding::new(status, "release file", text);
    let shown = path.display();
    if !path.exists() {
        return vec![finding(
            Status::Ok,
            format!("no {shown} here; -f names another"),
        )];
    }
    let source = match Source::read(path) {
        Ok(source) => source,
        Err(error) => return vec![finding(Status::Fail, format!("{error:#}"))],
    };
    let file = match source.parse() {
        Ok(file) => file,
        Err(problems) => {
            return problems
                .into_iter()
                .map(|problem| finding(Status::Fail, problem))
                .collect();
        }
    };
    let found = lint::check(&source.text, None).findings.into_iter();
    let mut findings: Vec<Finding> = found
        .filter(|one| one.rule.severity != lint::Severity::Note)
        .map(|one| {
            let text = format!("{}: {}; {}", one.path, one.reason, one.fix);
            finding(Status::Warn, text)
        })
        .collect();
    if findings.is_empty() {
        findings.push(finding(Status::Ok, format!("{shown} has no mistakes")));
    }
    findings.extend(of_listeners(&file, services));
    findings
}

fn of_listeners(file: &File, services: &[ServiceView]) -> Vec<Finding> {
    let ours: BTreeSet<&str> = services
        .iter()
        .flat_map(|service| &service.listen)
        .map(String::as_str)
        .collect();
    let wanted: BTreeSet<SocketAddr> = file
        .services
        .values()
        .flat_map(|service| service.listen.iter().copied())
        .collect();
    wanted
        .into_iter()
        .map(|address| of_listener(address, ours.contains(address.to_string().as_str())))
        .collect()
}

fn of_listener(address: SocketAddr, is_ours: bool) -> Finding {
    let finding = |status, text: String| Finding::new(status, "listener", text);
    if is_ours {
        return finding(Status::Ok, format!("{address} is held by the daemon"));
    }
    match TcpListener::bind(address) {
        Ok(_) => finding(Status::Ok, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let port = address.port();
            finding(
                Status::Fail,
                format!(
                    "{address} is taken; see who has it with `ss -ltnp 'sport = :{port}'`, or change `listen`"
                ),
            )
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => finding(
            Status::Fail,
            format!(
                "{address} needs more rights; take a port from 1024 on, or give the program CAP_NET_BIND_SERVICE"
            ),
        ),
        Err(error) => finding(
            Status::Fail,
            format!("{address} cannot be listened on: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use serde_json::json;

    use super::*;
    use crate::cli::testing::{Daemon, Reply};

    fn daemon(data_dir: &Path, fault: Option<&str>) -> Daemon {
        let view = json!({
            "version": env!("CARGO_PKG_VERSION"), "pid": 7, "startedAt": "2026-11-21T12:00:00Z",
            "dataDir": data_dir, "storeFault": fault,
        });
        Daemon::start([
            ("GET /v1/daemon", Reply::json(200, &view)),
            ("GET /v1/services", Reply::json(200, &json!([]))),
        ])
    }

    async fn findings(daemon: &Daemon, file: &Path) -> (Exit, Vec<(String, String)>) {
        let (exit, out) = daemon
            .run(&format!("doctor -o json -f {}", file.display()))
            .await;
        let found: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
        let pair = |one: &serde_json::Value| {
            (
                one["status"].as_str().unwrap().to_owned(),
                format!(
                    "{}: {}",
                    one["check"].as_str().unwrap(),
                    one["text"].as_str().unwrap()
                ),
            )
        };
        (exit.unwrap(), found.iter().map(pair).collect())
    }

    fn has(found: &[(String, String)], status: &str, text: &str) -> bool {
        found
            .iter()
            .any(|(one, what)| one == status && what.contains(text))
    }

    #[tokio::test]
    async fn a_taken_port_fails_and_a_free_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("haldane.yaml");
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let text = format!(
            "services: {{ auth: {{ listen: \"{address}\", stable: {{ version: v1, run: ./a }}, health: {{ path: /h }} }} }}"
        );
        fs::write(&file, text).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let daemon = daemon(dir.path(), None);
        let (exit, found) = findings(&daemon, &file).await;
        assert_eq!(exit, Exit::Failed);
        assert!(has(&found, "FAIL", "is taken; see who has it"), "{found:?}");
        assert!(
            has(&found, "OK", "data directory: ") && has(&found, "OK", "daemon: process 7"),
            "{found:?}"
        );
        drop(taken);
        let (exit, found) = findings(&daemon, &file).await;
        assert_eq!(exit, Exit::Done, "{found:?}");
        assert!(has(&found, "OK", "is free"), "{found:?}");
    }

    #[tokio::test]
    async fn each_trouble_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = dir.path().join("haldane.yaml");
        fs::write(&file, "services:\n  auth: {}\n").unwrap();
        let (exit, found) = findings(&daemon(dir.path(), Some("disk full")), &file).await;
        assert_eq!(exit, Exit::Failed);
        assert!(
            has(&found, "FAIL", "decisions are not durable: disk full"),
            "{found:?}"
        );
        assert!(has(&found, "WARN", "run `chmod 700"), "{found:?}");
        assert!(has(&found, "FAIL", "haldane.yaml:2:"), "{found:?}");
    }

    #[tokio::test]
    async fn no_daemon_is_worth_a_look_only() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(&dir.path().join("haldane.sock"));
        let found = of_daemon(&client, client.get("/v1/daemon").await);
        assert_eq!(found.status, Status::Warn);
        assert!(
            found.text.ends_with("start one with `haldane up`"),
            "{found:?}"
        );
    }

    #[test]
    fn space_is_judged_by_what_is_needed() {
        for (mib, expected) in [
            (99, Status::Fail),
            (100, Status::Warn),
            (1_023, Status::Warn),
            (1_024, Status::Ok),
        ] {
            assert_eq!(of_free(mib << 20).0, expected, "{mib}");
        }
    }
}
