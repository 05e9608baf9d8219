//! A plane from outside: starting it, using it, ending it.

use std::{
    env, fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream as StdTcpStream},
    os::fd::{AsFd as _, OwnedFd},
    os::unix::net::UnixStream as StdUnixStream,
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri};
use kube::Client;
use thiserror::Error;
use tokio::{
    net::{TcpStream, UnixStream},
    process::{Child, Command},
    time::{self, Instant},
};

use crate::{
    addon::Addon,
    components::{Cache, ComponentError},
    control::{Answer, Control, ControlError, Question, Status},
    exchange::{Failure, Reply, exchange},
    fault::{Rule, RuleId, RuleReport},
    host::{self, Greeting, Started},
    message,
    site::{Site, SiteError},
};

/// The program that runs inside, unless it lies beside the one that runs.
const PROGRAM_VARIABLE: &str = "HALDANE_PLANE_PROGRAM";
const PROGRAM: &str = "haldane-plane";

/// The process inside has a deadline of its own, which tells more.
const START_TIMEOUT: Duration = Duration::from_secs(150);

/// How long it may take until nothing is left; removing etcd's files is the most of it.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long a pod may take for an answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of the log is told when a plane does not start.
const LOG_LINES_MAX: usize = 8;

/// A plane that runs. It ends when this is dropped, or when the process ends, unless it was started by `cargo xtask plane up`.
#[derive(Debug)]
pub struct Plane {
    site: Site,
    control: Control,
    /// What keeps it alive, if that is us.
    own: Option<Own>,
}

/// A plane inside lives as long as the socket is open.
#[derive(Debug)]
struct Own {
    socket: UnixStream,
    process: Child,
}

/// Why a plane can't be started, used or ended.
#[derive(Debug, Error)]
pub enum PlaneError {
    /// The control plane's programs are missing.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// There is no place for its files.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// It does not answer.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The program that runs inside is missing.
    #[error("{} is missing: build it with `cargo build -p haldane-plane`", .0.display())]
    NoProgram(PathBuf),
    /// The kernel does not give us namespaces.
    #[error("this machine does not allow namespaces of one's own: {0}")]
    NoNamespace(String),
    /// It did not come up.
    #[error("the plane did not start: {0}")]
    Start(String),
    /// One of its programs died, and the plane with it.
    #[error("the plane has ended: {0}")]
    Died(String),
    /// Starting or ending it failed before it had a say.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// An add-on is asked for that isn't there.
    #[error("{0} isn't installed in this plane")]
    NotInstalled(Addon),
    /// The kubeconfig can't be used.
    #[error("connecting to the API server: {0:#}")]
    Client(anyhow::Error),
    /// Something of it is left.
    #[error("the plane in {} did not end within {} s", .0.display(), STOP_TIMEOUT.as_secs())]
    Stop(PathBuf),
}

/// Why there was no answer.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The plane itself does not answer.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No connection: refused, as a rule.
    #[error("connecting to {0}")]
    Connect(SocketAddr, #[source] io::Error),
    /// The connection broke.
    #[error("talking to {0}")]
    Talk(SocketAddr, #[source] Failure),
    /// It took too long.
    #[error("no answer from {0} in time")]
    Late(SocketAddr),
}

impl Plane {
    /// Starts a plane of its own for the caller.
    pub async fn start() -> Result<Self, PlaneError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::start_named(&format!("test-{}-{count}", process::id())).await
    }

    /// Starts the plane called `name`, which ends with the caller.
    pub(crate) async fn start_named(name: &str) -> Result<Self, PlaneError> {
        Self::launch(name, Life::WithUs).await
    }

    /// Starts the plane called `name`, which lives until it is told to end.
    pub(crate) async fn start_detached(name: &str) -> Result<Self, PlaneError> {
        Self::launch(name, Life::Detached).await
    }

    /// Returns the plane called `name`, which runs already.
    pub async fn attach(name: &str) -> Result<Self, PlaneError> {
        let site = Site::of(name)?;
        let control = Control::new(site.control());
        let plane = Self {
            site,
            control,
            own: None,
        };
        plane.status().await?;
        Ok(plane)
    }

    async fn launch(name: &str, life: Life) -> Result<Self, PlaneError> {
        Cache::of_user()?.check(&[])?;
        check_namespaces().await?;
        let program = program()?;
        let (site, lock) = Site::create(name)?;
        let outside = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let api = outside().map_err(system("opening a port"))?;
        let faults = outside().map_err(system("opening a port"))?;
        let (socket, inside) = StdUnixStream::pair().map_err(system("making a socket"))?;
        let process = spawn(&program, &site, life, inside.into())?;
        socket
            .set_nonblocking(true)
            .map_err(system("preparing a socket"))?;
        let socket = UnixStream::from_std(socket).map_err(system("preparing a socket"))?;
        let own = Own { socket, process };
        let greet = async {
            let gifts = [api.as_fd(), faults.as_fd(), lock.as_fd()];
            message::send(&own.socket, &Greeting {}, &gifts).await?;
            message::receive::<Started>(&own.socket).await
        };
        let reason = match time::timeout(START_TIMEOUT, greet).await {
            Ok(Ok((Started::Ready, _))) => {
                let control = Control::new(site.control());
                let own = (life == Life::WithUs).then_some(own);
                return Ok(Self { site, control, own });
            }
            Ok(Ok((Started::Failed(reason), _))) => reason,
            Ok(Err(error)) => format!("{error}; {}", tail(&site.log("host"))),
            Err(_) => format!("it took longer than {} s", START_TIMEOUT.as_secs()),
        };
        own.end().await;
        site.remove()?;
        Err(PlaneError::Start(reason))
    }

    /// Ends the plane and waits until nothing is left of it.
    pub async fn stop(mut self) -> Result<(), PlaneError> {
        let process = match self.process().await {
            Ok(process) => PathBuf::from(format!("/proc/{process}")),
            Err(error) => return Err(self.death().await.unwrap_or(error)),
        };
        match self.own.take() {
            Some(own) => own.end().await,
            None => {
                self.control.ask(&Question::Stop, &[]).await?;
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.site.path().exists() || process.exists() {
            if Instant::now() >= deadline {
                return Err(PlaneError::Stop(self.site.path().to_owned()));
            }
            time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Returns what a plane of ours has said before it ended by itself.
    async fn death(self) -> Option<PlaneError> {
        let own = self.own?;
        let said = time::timeout(STOP_TIMEOUT, message::receive::<Started>(&own.socket)).await;
        match said.ok()?.ok()? {
            (Started::Failed(reason), _) => Some(PlaneError::Died(reason)),
            (Started::Ready, _) => None,
        }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.site.name()
    }

    /// Returns where its files and logs are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.site.path()
    }

    /// Returns the administrator's kubeconfig. It is good inside and outside of the plane.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.site.kubeconfig()
    }

    /// Returns the same with the fault injector in between.
    #[must_use]
    pub fn faults_kubeconfig(&self) -> PathBuf {
        self.site.faults_kubeconfig()
    }

    /// Returns the log of all calls of the API server, one JSON object in each line.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.site.audit_log()
    }

    /// Returns a client of the API server.
    pub async fn client(&self) -> Result<Client, PlaneError> {
        host::client(&self.kubeconfig())
            .await
            .map_err(PlaneError::Client)
    }

    /// Returns a client that goes through the fault injector.
    pub async fn faults_client(&self) -> Result<Client, PlaneError> {
        host::client(&self.faults_kubeconfig())
            .await
            .map_err(PlaneError::Client)
    }

    /// Returns what the plane says of itself.
    pub async fn status(&self) -> Result<Status, ControlError> {
        match self.control.ask(&Question::Status, &[]).await? {
            (Answer::Status(status), _) => Ok(status),
            _ => Err(ControlError::Other),
        }
    }

    /// Lets something go wrong from now on.
    pub async fn add_rule(&self, rule: Rule) -> Result<RuleId, ControlError> {
        match self.control.ask(&Question::AddRule(rule), &[]).await? {
            (Answer::RuleAdded(id), _) => Ok(id),
            _ => Err(ControlError::Other),
        }
    }

    /// Takes a rule away and returns what became of it, if it stood.
    pub async fn remove_rule(&self, id: RuleId) -> Result<Option<RuleReport>, ControlError> {
        match self.control.ask(&Question::RemoveRule(id), &[]).await? {
            (Answer::RuleRemoved(report), _) => Ok(report),
            _ => Err(ControlError::Other),
        }
    }

    /// Returns all rules that stand.
    pub async fn rules(&self) -> Result<Vec<RuleReport>, ControlError> {
        match self.control.ask(&Question::Rules, &[]).await? {
            (Answer::Rules(reports), _) => Ok(reports),
            _ => Err(ControlError::Other),
        }
    }

    /// Returns a connection to an address inside, such as a pod's. It is the kernel's own: it is refused when nobody listens there.
    pub async fn connect(&self, address: SocketAddr) -> Result<TcpStream, RequestError> {
        let failed = |error| RequestError::Connect(address, error);
        match self.control.ask(&Question::Connect(address), &[]).await? {
            (Answer::Connected, Some(file)) => {
                let stream = StdTcpStream::from(file);
                stream.set_nonblocking(true).map_err(failed)?;
                TcpStream::from_std(stream).map_err(failed)
            }
            (Answer::NotConnected(Some(code)), _) => {
                Err(failed(io::Error::from_raw_os_error(code)))
            }
            (Answer::NotConnected(None), _) => Err(failed(io::ErrorKind::Other.into())),
            _ => Err(ControlError::Other.into()),
        }
    }

    /// Asks for `path`, over a new connection.
    pub async fn get(&self, address: SocketAddr, path: &str) -> Result<Reply, RequestError> {
        let talk = |error: http::uri::InvalidUri| RequestError::Talk(address, error.into());
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = Uri::try_from(path).map_err(talk)?;
        self.request(address, request).await
    }

    /// Sends a request, over a new connection. Without a header `Host` it goes to the host of that address.
    pub async fn request(
        &self,
        address: SocketAddr,
        request: Request<Bytes>,
    ) -> Result<Reply, RequestError> {
        let stream = self.connect(address).await?;
        let talk = time::timeout(REPLY_TIMEOUT, exchange(stream, request)).await;
        let reply = talk.map_err(|_| RequestError::Late(address))?;
        reply.map_err(|error| RequestError::Talk(address, error))
    }

    /// Adds something to the plane and waits until it can be used. What is there already stays as it is.
    pub async fn install(&self, addon: Addon) -> Result<(), PlaneError> {
        Cache::of_user()?.check(&[addon])?;
        let open = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let outside = addon.has_address().then(open).transpose();
        let outside = outside.map_err(system("opening a port"))?;
        let files: Vec<_> = outside.iter().map(|listener| listener.as_fd()).collect();
        match self.control.ask(&Question::Install(addon), &files).await? {
            (Answer::Installed, _) => Ok(()),
            _ => Err(ControlError::Other.into()),
        }
    }

    /// Returns where an add-on takes requests: one address that is good inside and outside of the plane.
    pub async fn address(&self, addon: Addon) -> Result<SocketAddr, PlaneError> {
        let addons = self.status().await?.addons;
        let mut found = addons.iter().filter(|installed| installed.addon == addon);
        let address = found.next().and_then(|installed| installed.address);
        address.ok_or(PlaneError::NotInstalled(addon))
    }

    /// Returns where requests for the routes of Contour go in.
    pub async fn gateway(&self) -> Result<SocketAddr, PlaneError> {
        self.address(Addon::Contour).await
    }

    /// Returns the first process inside, by its number outside.
    async fn process(&self) -> Result<u32, PlaneError> {
        let stream = self.control.connect().await?;
        let credentials = rustix::net::sockopt::socket_peercred(&stream);
        let process = credentials.map_err(|error| PlaneError::System {
            doing: "asking for the plane's process",
            source: error.into(),
        })?;
        Ok(process.pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// Returns the command line that runs `program` inside the plane. What it starts ends with the plane at the latest.
    pub async fn command(&self, program: &str) -> Result<Command, PlaneError> {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.process().await?.to_string());
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--net", "--pid", "--", program]);
        command.env("KUBECONFIG", self.kubeconfig());
        Ok(command)
    }
}

/// How long a plane lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    WithUs,
    Detached,
}

impl Own {
    /// Hangs up and waits; what does not end by itself is killed.
    async fn end(self) {
        let Self {
            socket,
            mut process,
        } = self;
        drop(socket);
        if time::timeout(STOP_TIMEOUT, process.wait()).await.is_err() {
            process.kill().await.ok(); // `unshare` takes what it started along.
        }
    }
}

/// Says why this machine can't have a plane, if it can't.
pub(crate) async fn check_namespaces() -> Result<(), PlaneError> {
    let output = unshare().arg("true").stdin(Stdio::null()).output().await;
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let reason = String::from_utf8_lossy(&output.stderr);
            Err(PlaneError::NoNamespace(reason.trim().to_owned()))
        }
        Err(error) => Err(PlaneError::NoNamespace(format!(
            "running `unshare`: {error}"
        ))),
    }
}

/// Returns the command line that gives what follows its own network and processes, which end with it.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--pid", "--fork", "--kill-child", "--"]);
    command
}

fn spawn(program: &Path, site: &Site, life: Life, socket: OwnedFd) -> Result<Child, PlaneError> {
    let log = fs::File::create(site.log("host")).map_err(system("creating a log"))?;
    let copy = log.try_clone().map_err(system("creating a log"))?;
    let mut command = unshare();
    command
        .arg(program)
        .arg("host")
        .arg("--directory")
        .arg(site.path());
    if life == Life::Detached {
        command.arg("--detached");
    }
    // Interrupting a test or a shell is for us; we end what is inside in order.
    command
        .stdin(socket)
        .stdout(copy)
        .stderr(log)
        .process_group(0);
    command.spawn().map_err(system("running `unshare`"))
}

fn program() -> Result<PathBuf, PlaneError> {
    if let Some(path) = env::var_os(PROGRAM_VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let current = env::current_exe().map_err(system("asking for our own path"))?;
    // Tests lie one directory below the programs of the same build.
    let places = current
        .ancestors()
        .skip(1)
        .take(2)
        .map(|place| place.join(PROGRAM));
    let found = places.clone().find(|path| path.is_file());
    found.ok_or_else(|| PlaneError::NoProgram(places.last().unwrap_or_default()))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn system(doing: &'static str) -> impl Fn(io::Error) -> PlaneError {
    move |source| PlaneError::System { doing, source }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(LOG_LINES_MAX);
    lines.into_iter().skip(first).collect::<Vec<_>>().join("\n")
}
