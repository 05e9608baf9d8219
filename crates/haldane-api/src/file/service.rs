//! A service of the file, with every default filled in.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use haldane_core::{VersionName, plan::Plan};
use serde::{Deserialize, Serialize};

use super::{
    HostPattern, Upstream,
    address::{parse_listen, parse_path},
    metric::{Home, Known, Sources, read_metrics},
    rollout::{default_plan, read_plan},
};
use crate::{
    keys,
    read::{At, Fields, Problems},
    tree::shorten,
};

/// The most processes of one version on one machine.
pub const REPLICAS_MAX: u32 = 256;

/// The most listeners, URLs, paths or environment variables of a service.
const ITEMS_MAX: usize = 1_000;

/// The most checks in a row that decide on health.
const CHECKS_MAX: u32 = 1_000;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Where it listens; at least one address, each once.
    pub listen: Vec<SocketAddr>,
    /// The host that requests must name; none means any.
    pub host: Option<HostPattern>,
    /// The prefix that the path of requests must have, by whole segments and without a slash at the end; none means any.
    pub path: Option<String>,
    /// The version that serves users at first.
    pub stable: VersionSpec,
    /// How a replica's health is told.
    pub health: Health,
    /// How long a process may take to end before it is killed.
    pub stop_grace: Duration,
    /// How long a process may take to become healthy before it is started again.
    pub start_grace: Duration,
    /// How a request asks for one of the versions itself.
    #[serde(rename = "override")]
    pub overrides: Override,
    /// Paths whose requests are not measured.
    pub unmeasured: Vec<String>,
    /// How long the proxy waits.
    pub timeouts: Timeouts,
    /// What the proxy accepts.
    pub limits: Limits,
    /// How a new version is rolled out.
    pub plan: Plan,
}

/// A version and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionSpec {
    /// The version's name.
    pub version: VersionName,
    /// Where it comes from.
    pub source: Source,
}

/// Where a version comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Processes that are started here.
    Run {
        /// The program and its arguments, with `$PORT` for the port to listen on; never empty.
        argv: Vec<String>,
        /// Environment variables.
        env: BTreeMap<String, String>,
        /// The working directory, relative to the file.
        dir: String,
        /// The user to run as; none means the daemon's.
        user: Option<String>,
        /// How many processes to start; at least one.
        replicas: u32,
    },
    /// Servers that run already; at least one.
    Urls(Vec<Upstream>),
}

/// How a replica's health is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The path that answers 2xx when healthy; none means that an accepted connection is enough.
    pub path: Option<String>,
    /// The time between two checks.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How many good checks in a row make a replica healthy.
    pub healthy_after: u32,
    /// How many bad checks in a row make a replica unhealthy.
    pub unhealthy_after: u32,
}

/// How a request asks for one of the versions itself; none turns a way off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The header's name, in lower case.
    pub header: Option<String>,
    /// The cookie's name.
    pub cookie: Option<String>,
    /// The query parameter's name.
    pub query: Option<String>,
}

/// How long the proxy waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// For a connection to a replica.
    pub connect: Duration,
    /// For the head of a replica's answer.
    pub response: Duration,
    /// For the next bytes on an idle connection.
    pub idle: Duration,
}

/// What the proxy accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The largest body of a request.
    pub body_bytes: u64,
}

impl Service {
    /// How long a process may take to end, unless the file says otherwise.
    pub const STOP_GRACE: Duration = Duration::from_secs(10);
    /// How long a process may take to become healthy, unless the file says otherwise.
    pub const START_GRACE: Duration = Duration::from_secs(60);

    pub(super) fn read(
        at: &At<'_>,
        sources: &Sources,
        taken: &mut Taken,
        out: &mut Problems,
    ) -> Option<Self> {
        let known = Known {
            sources,
            home: Home::Machine,
        };
        let fields = at.fields(&keys::SERVICE, out)?;
        let listen = fields
            .need("listen", out)
            .and_then(|at| read_listen(&at, out));
        let host = fields
            .get("host")
            .and_then(|at| at.parsed("a host such as auth.example.com", str::parse, out));
        let path = fields
            .get("path")
            .and_then(|at| read_prefix(&at, out))
            .flatten();
        for address in listen.iter().flatten() {
            let front = (*address, host.clone(), path.clone());
            check_listener(at, front, taken, out);
        }
        let stable = fields
            .need("stable", out)
            .and_then(|at| VersionSpec::read(&at, out));
        let health = fields.or("health", Health::default(), |at| Health::read(at, out));
        let unmeasured = fields.get("unmeasured").and_then(|at| read_paths(&at, out));
        let unmeasured = unmeasured.unwrap_or_else(|| health.path.iter().cloned().collect());
        let service = Self {
            listen: Vec::new(),
            host,
            path,
            stop_grace: fields.or("stopGrace", Self::STOP_GRACE, |at| at.duration(out)),
            start_grace: fields.or("startGrace", Self::START_GRACE, |at| at.wait(out)),
            overrides: fields.or("override", Override::default(), |at| {
                Override::read(at, out)
            }),
            unmeasured,
            timeouts: fields.or("timeouts", Timeouts::default(), |at| {
                Timeouts::read(at, out)
            }),
            limits: fields.or("limits", Limits::default(), |at| Limits::read(at, out)),
            plan: read_judged_plan(&fields, known, out)?,
            health,
            stable: stable?,
        };
        Some(Self {
            listen: listen?,
            ..service
        })
    }
}

/// Reads the rollout with the metrics that it is judged by; without a rollout that can be read, the metrics' mistakes are found all the same.
pub(super) fn read_judged_plan(
    fields: &Fields<'_>,
    known: Known<'_>,
    out: &mut Problems,
) -> Option<Plan> {
    let plan = match fields.get("rollout") {
        Some(at) => read_plan(&at, out),
        None => Some(default_plan()),
    };
    match fields.get("metrics") {
        Some(at) => {
            let judged = read_metrics(&at, known, plan.clone().unwrap_or_else(default_plan), out);
            plan.and(judged)
        }
        None => plan,
    }
}

impl VersionSpec {
    fn read(at: &At<'_>, out: &mut Problems) -> Option<Self> {
        let fields = at.fields(&keys::STABLE, out)?;
        let version = fields
            .need("version", out)
            .and_then(|at| at.parsed("a version name such as v1", str::parse, out));
        let of_processes: Vec<_> = PROCESS_KEYS
            .iter()
            .filter_map(|key| fields.get(key))
            .collect();
        let source = match fields.exclusive(out) {
            Some(("run", at)) => read_run(&fields, &at, out),
            Some((_, at)) => {
                for key in of_processes {
                    out.add(&key, "only processes that are started here have this; expected it with run, not with a URL");
                }
                read_urls(&at, out).map(Source::Urls)
            }
            None => None,
        };
        Some(Self {
            version: version?,
            source: source?,
        })
    }
}

impl Health {
    fn read(at: &At<'_>, out: &mut Problems) -> Option<Self> {
        let fields = at.fields(&keys::HEALTH, out)?;
        let default = Self::default();
        Some(Self {
            path: fields
                .get("path")
                .and_then(|at| at.parsed("a path such as /health", parse_path, out)),
            interval: fields.or("interval", default.interval, |at| at.wait(out)),
            timeout: fields.or("timeout", default.timeout, |at| at.wait(out)),
            healthy_after: fields.or("healthyAfter", default.healthy_after, |at| {
                at.count(1, CHECKS_MAX, out)
            }),
            unhealthy_after: fields.or("unhealthyAfter", default.unhealthy_after, |at| {
                at.count(1, CHECKS_MAX, out)
            }),
        })
    }
}

impl Override {
    /// No way to ask for a version.
    pub const OFF: Self = Self {
        header: None,
        cookie: None,
        query: None,
    };

    fn read(at: &At<'_>, out: &mut Problems) -> Option<Self> {
        if at.is_word("off") {
            return Some(Self::OFF);
        }
        let fields = at.fields(&keys::OVERRIDE, out)?;
        let default = Self::default();
        let way = |at: &At<'_>, out: &mut Problems| {
            if at.is_word("off") {
                Some(None)
            } else {
                read_token(at, out).map(Some)
            }
        };
        Some(Self {
            header: fields
                .or("header", default.header, |at| way(at, out))
                .map(|name| name.to_ascii_lowercase()),
            cookie: fields.or("cookie", default.cookie, |at| way(at, out)),
            query: fields.or("query", default.query, |at| way(at, out)),
        })
    }
}

impl Timeouts {
    fn read(at: &At<'_>, out: &mut Problems) -> Option<Self> {
        let fields = at.fields(&keys::TIMEOUTS, out)?;
        let default = Self::default();
        Some(Self {
            connect: fields.or("connect", default.connect, |at| at.wait(out)),
            response: fields.or("response", default.response, |at| at.wait(out)),
            idle: fields.or("idle", default.idle, |at| at.wait(out)),
        })
    }
}

impl Limits {
    fn read(at: &At<'_>, out: &mut Problems) -> Option<Self> {
        let fields = at.fields(&keys::LIMITS, out)?;
        let default = Self::default();
        Some(Self {
            body_bytes: fields.or("bodyBytes", default.body_bytes, |at| at.bytes(out)),
        })
    }
}

impl Default for Health {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            path: None,
            interval: second,
            timeout: second,
            healthy_after: 1,
            unhealthy_after: 3,
        }
    }
}

impl Default for Override {
    fn default() -> Self {
        Self {
            header: Some("x-canary".to_owned()),
            cookie: Some("canary".to_owned()),
            query: Some("canary".to_owned()),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // Longer than the second after which the kernel repeats a lost packet of the handshake.
            connect: Duration::from_secs(3),
            response: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 << 20,
        }
    }
}

/// The keys that only started processes have.
const PROCESS_KEYS: [&str; 4] = ["replicas", "env", "dir", "user"];

fn read_run(fields: &Fields<'_>, at: &At<'_>, out: &mut Problems) -> Option<Source> {
    let argv = at.command(out);
    let replicas = fields.or("replicas", 1, |at| at.count(1, REPLICAS_MAX, out));
    let env = fields.or("env", BTreeMap::new(), |at| read_env(at, out));
    let dir = fields.or("dir", ".".to_owned(), |at| {
        at.filled("a directory such as ./auth", out)
    });
    let user = fields
        .get("user")
        .and_then(|at| at.filled("a user's name", out));
    Some(Source::Run {
        argv: argv?,
        env,
        dir,
        user,
        replicas,
    })
}

fn read_env(at: &At<'_>, out: &mut Problems) -> Option<BTreeMap<String, String>> {
    let entries = at.entries("a map of names and values", out)?;
    if entries.len() > ITEMS_MAX {
        out.add(
            at,
            format!("{} variables; expected at most {ITEMS_MAX}", entries.len()),
        );
        return None;
    }
    let mut env = BTreeMap::new();
    for (entry, at) in entries {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if entry.key.is_empty()
            || entry.key.len() > KEY_BYTES_MAX
            || !entry.key.chars().all(is_allowed)
        {
            let message = format!(
                "{:?} is no variable's name; expected letters, digits and underscores",
                shorten(&entry.key)
            );
            out.add_at(entry.mark, &at.path, message);
        }
        if let Some(value) = at.text("a text; \"\" for an empty one", out) {
            if value.contains('\0') {
                out.add(&at, "a NUL character; expected a text without");
            }
            env.insert(entry.key.clone(), value.to_owned());
        }
    }
    Some(env)
}

/// The longest name of an environment variable, header, cookie or query parameter.
const KEY_BYTES_MAX: usize = 256;

fn read_urls(at: &At<'_>, out: &mut Problems) -> Option<Vec<Upstream>> {
    let items = at.items_or_one();
    if items.is_empty() || items.len() > ITEMS_MAX {
        out.add(
            at,
            format!("{} URLs; expected 1 to {ITEMS_MAX}", items.len()),
        );
        return None;
    }
    let urls: Vec<_> = items
        .iter()
        .map(|at| at.parsed("a URL such as http://127.0.0.1:9001", str::parse, out))
        .collect();
    urls.into_iter().collect()
}

/// What a service answers: an address with a host and a path.
type Front = (SocketAddr, Option<HostPattern>, Option<String>);

/// The path of the service that answers each, so far.
pub(super) type Taken = BTreeMap<Front, String>;

/// Reports what another service answers already; port 0 is a port of its own for each.
fn check_listener(at: &At<'_>, front: Front, taken: &mut Taken, out: &mut Problems) {
    let address = front.0;
    if address.port() == 0 {
        return;
    }
    if let Some((known, other)) = overlapping(address, taken) {
        let (one, other) = (name_of(&at.path), name_of(other));
        out.add(
            &at.follow("listen"),
            format!("{address} of {one} and {known} of {other} are the same port; expected both to have the same address"),
        );
    }
    let Some(other) = taken.insert(front, at.path.clone()) else {
        return;
    };
    let message = if other == at.path {
        format!("{address} is given twice; expected it once")
    } else {
        let (one, other) = (name_of(&at.path), name_of(&other));
        format!(
            "{one} and {other} both answer on {address} for the same host and path; expected them to differ"
        )
    };
    out.add(&at.follow("listen"), message);
}

/// Returns an address that cannot be bound beside this one, because one of the two means every address, and who has it.
fn overlapping(address: SocketAddr, taken: &Taken) -> Option<(SocketAddr, &str)> {
    let first_at = |address: SocketAddr| {
        let (front, path) = taken.range((address, None, None)..).next()?;
        (front.0 == address).then_some((address, path.as_str()))
    };
    if first_at(address).is_some() {
        return None;
    }
    if !address.ip().is_unspecified() {
        let every: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        return first_at(SocketAddr::new(every, address.port()));
    }
    let is_same =
        |other: &SocketAddr| other.port() == address.port() && other.is_ipv4() == address.is_ipv4();
    taken
        .iter()
        .map(|(front, path)| (front.0, path.as_str()))
        .find(|(other, _)| is_same(other))
}

fn name_of(path: &str) -> &str {
    path.strip_prefix("services.").unwrap_or(path)
}

fn read_listen(at: &At<'_>, out: &mut Problems) -> Option<Vec<SocketAddr>> {
    let items = at.items_or_one();
    if items.is_empty() || items.len() > ITEMS_MAX {
        out.add(
            at,
            format!("{} addresses; expected 1 to {ITEMS_MAX}", items.len()),
        );
        return None;
    }
    let addresses: Vec<_> = items
        .iter()
        .map(|at| at.parsed("an address such as 0.0.0.0:8080", parse_listen, out))
        .collect();
    addresses.into_iter().collect()
}

/// Reads a prefix without the slash at its end, so that `/auth/` and `/auth` are the same; `/` is no prefix at all.
fn read_prefix(at: &At<'_>, out: &mut Problems) -> Option<Option<String>> {
    let path = at.parsed("a path such as /auth", parse_path, out)?;
    let prefix = path.trim_end_matches('/');
    Some((!prefix.is_empty()).then(|| prefix.to_owned()))
}

fn read_paths(at: &At<'_>, out: &mut Problems) -> Option<Vec<String>> {
    let items = at.items_or_one();
    if items.len() > ITEMS_MAX {
        out.add(
            at,
            format!("{} paths; expected at most {ITEMS_MAX}", items.len()),
        );
        return None;
    }
    let paths: Vec<_> = items
        .iter()
        .map(|at| at.parsed("a path such as /health", parse_path, out))
        .collect();
    paths.into_iter().collect()
}

/// Reads the name of a header, cookie or query parameter.
pub(super) fn read_token(at: &At<'_>, out: &mut Problems) -> Option<String> {
    let expected = "a name such as x-canary";
    let name = at.text(expected, out)?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > KEY_BYTES_MAX || !name.chars().all(is_allowed) {
        out.add(
            at,
            format!("cannot read {:?}; expected {expected}", shorten(name)),
        );
        return None;
    }
    Some(name.to_owned())
}
