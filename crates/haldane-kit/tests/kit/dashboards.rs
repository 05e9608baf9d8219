//! Every query of every dashboard gets an answer from a real Prometheus that has what meshes and Kubernetes expose.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use haldane_kit::{
    alerts::{Thresholds, rules},
    dashboard,
    watched::{Mesh, Workload},
};
use serde_json::{Value, json};

use super::{
    promtool::{program, promtool},
    rules::request,
    world::{Sample, World, watched},
};

/// How many seconds of the past Prometheus knows, and how far apart.
const PAST_SECONDS: u64 = 2_400;
const STEP_SECONDS: u64 = 15;

/// How often a tenth of a second is waited for something.
const TRIES: u32 = 600;

/// Prometheus, which runs until it is dropped.
#[derive(Debug)]
struct Prometheus {
    child: Child,
    addr: SocketAddr,
}

#[test]
fn alerts_fire_and_every_query_of_every_dashboard_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(dir.path());
    // Its own rules fire, so that what shows alerts has some.
    for name in [
        "CanaryHighErrorRate",
        "CanaryHighLatencyP99",
        "CanaryLowSuccessRate",
        "CanaryAutomatedRollbackRecommended",
    ] {
        let query = format!(r#"ALERTS{{alertname="{name}",alertstate="firing"}}"#);
        assert!(prometheus.answer(&query, name) > 0.0);
    }
    let mut boards = vec![
        dashboard::overview(&Thresholds::default()),
        dashboard::rollouts(),
    ];
    for mesh in Mesh::ALL {
        boards.extend(of_service(mesh));
    }
    let mut asked = 0;
    for board in &boards {
        for (panel, query) in queries(board) {
            let what = format!("{}, {panel}: {query}", board["title"]);
            let value = prometheus.answer(&query, &what);
            assert!(!value.is_nan(), "{what}");
            asked += 1;
        }
    }
    assert!(asked > 300, "{asked}");
}

#[test]
fn a_dashboard_imports() {
    let mut boards = of_service(Mesh::Nginx);
    boards.extend([
        dashboard::overview(&Thresholds::default()),
        dashboard::rollouts(),
    ]);
    let mut uids = BTreeSet::new();
    for board in &boards {
        let uid = board["uid"].as_str().unwrap();
        assert!(uid.len() <= 40 && uids.insert(uid), "{uid}");
        assert!(board["title"].is_string() && board["schemaVersion"].as_u64().unwrap() >= 36);
        // Whoever imports it chooses the data source.
        let variables = board["templating"]["list"].as_array().unwrap();
        assert_eq!(variables[0]["type"], "datasource");
        let text = board.to_string();
        assert_eq!(
            text.matches(r#""uid":"${datasource}""#).count(),
            text.matches(r#""type":"prometheus""#).count()
        );
        check_panels(board["panels"].as_array().unwrap());
    }
}

/// Panels have numbers and names of their own, and don't cover each other.
fn check_panels(panels: &[Value]) {
    let mut taken = BTreeSet::new();
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()));
        assert!(titles.insert(panel["title"].as_str().unwrap()), "{panel}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{panel}");
            }
        }
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string());
        let steps = &panel["fieldConfig"]["defaults"]["thresholds"]["steps"];
        assert!(
            steps[0]["value"].is_null() && steps[1]["value"] != json!(null) || steps[1].is_null()
        );
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty());
        let refs: BTreeSet<&str> = targets
            .iter()
            .map(|target| target["refId"].as_str().unwrap())
            .collect();
        assert_eq!(refs.len(), targets.len());
    }
}

fn of_service(mesh: Mesh) -> Vec<Value> {
    let (watched, thresholds) = (watched(mesh, Workload::Pair), Thresholds::default());
    vec![
        dashboard::service(&watched, &thresholds),
        dashboard::traffic(&watched),
        dashboard::errors(&watched, &thresholds),
        dashboard::latency(&watched, &thresholds),
    ]
}

/// Returns the queries with their panels, and those of variables, as Grafana asks them.
fn queries(board: &Value) -> Vec<(String, String)> {
    let chosen = |query: &str| {
        query
            .replace("$namespace", "orion")
            .replace("$service", "auth-service")
    };
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = chosen(target["expr"].as_str().unwrap());
            assert!(!query.contains('$'), "{query}");
            queries.push((panel["title"].to_string(), query));
        }
    }
    for variable in &board["templating"]["list"].as_array().unwrap()[1..] {
        let query = variable["query"]["query"].as_str().unwrap();
        let inner = query.strip_prefix("label_values(").unwrap();
        let (series, label) = inner.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        let query = format!("count by ({label}) ({})", chosen(series));
        queries.push((variable["name"].to_string(), query));
    }
    queries
}

/// What is exposed beside the world of the alerts.
fn others() -> Vec<(String, Sample)> {
    let mut series = Vec::new();
    for side in ["stable", "canary"] {
        let pod = format!(r#"namespace="orion",pod="auth-service-{side}-7d4b9c6f5-x2x9k""#);
        let network = format!(r#"{pod},interface="eth0""#);
        let disk = format!(r#"{pod},container="auth",device="/dev/sda""#);
        series.extend([
            (
                format!("kube_pod_start_time{{{pod}}}"),
                Sample::Value(1.7e9),
            ),
            (
                format!("container_network_receive_bytes_total{{{network}}}"),
                Sample::Rate(9e4),
            ),
            (
                format!("container_network_transmit_bytes_total{{{network}}}"),
                Sample::Rate(9e4),
            ),
            (
                format!("container_fs_reads_bytes_total{{{disk}}}"),
                Sample::Rate(1e3),
            ),
            (
                format!("container_fs_writes_bytes_total{{{disk}}}"),
                Sample::Rate(1e3),
            ),
            (
                format!(r#"haldane_proxy_weight_ratio{{service="shop",version="{side}"}}"#),
                Sample::Value(0.5),
            ),
        ]);
    }
    let of = |rest: &str, sample| (format!("haldane_controller_{rest}"), sample);
    series.extend([
        of("leader{}", Sample::Value(1.0)),
        of("queue_depth{}", Sample::Value(0.0)),
        of(r#"turns_total{result="done"}"#, Sample::Rate(60.0)),
        of(
            r#"writes_total{kind="Release",verb="patch",result="ok"}"#,
            Sample::Rate(6.0),
        ),
        of(
            r#"write_duration_seconds_bucket{le="0.01"}"#,
            Sample::Rate(5.0),
        ),
        of(
            r#"write_duration_seconds_bucket{le="+Inf"}"#,
            Sample::Rate(6.0),
        ),
    ]);
    series
}

/// Returns the past of all series in the text format of OpenMetrics: the canary fails a lot.
#[expect(clippy::disallowed_methods, reason = "the past ends now")]
fn past() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now.as_secs() - 1;
    let mut world = World::default();
    (world.canary.failed, world.canary.slow) = (0.2, (5, 0.2));
    let all = Mesh::ALL
        .into_iter()
        .flat_map(|mesh| world.series(mesh, Workload::Pair));
    let all: BTreeMap<String, Sample> = all.chain(others()).collect();
    let mut text = String::new();
    for (series, sample) in all {
        for seconds in (0..=PAST_SECONDS).step_by(usize::try_from(STEP_SECONDS).unwrap()) {
            let value = match sample {
                Sample::Rate(rate) => rate * f64::from(u32::try_from(seconds).unwrap()) / 60.0,
                Sample::Value(value) => value,
            };
            text += &format!("{series} {value} {}\n", end - PAST_SECONDS + seconds);
        }
    }
    text + "# EOF\n"
}

impl Prometheus {
    /// Starts one with the past, which evaluates the rules each second; they fire at once.
    fn start(dir: &Path) -> Self {
        let path = |name: &str| dir.join(name).display().to_string();
        fs::write(path("past"), past()).unwrap();
        promtool(&[
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            "-q",
            &path("past"),
            &path("tsdb"),
        ]);
        let request = request(Mesh::Istio, Workload::Pair);
        let mut rules = rules(&request).plain(&request);
        for group in rules["groups"].as_array_mut().unwrap() {
            for rule in group["rules"].as_array_mut().unwrap() {
                rule.as_object_mut().unwrap().remove("for");
            }
        }
        fs::write(path("rules.yaml"), rules.to_string()).unwrap();
        let config = json!({
            "global": { "evaluation_interval": "1s" },
            "rule_files": [path("rules.yaml")],
        });
        fs::write(path("prometheus.yaml"), config.to_string()).unwrap();
        let addr = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", path("prometheus.yaml")))
            .arg(format!("--storage.tsdb.path={}", path("tsdb")))
            .arg(format!("--web.listen-address={addr}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, addr }
    }

    /// Returns the first value of an answer, as soon as there is one.
    #[expect(
        clippy::disallowed_methods,
        reason = "rules are evaluated once a second"
    )]
    fn answer(&self, query: &str, what: &str) -> f64 {
        let mut last = None;
        for _ in 0..TRIES {
            last = self.ask(query);
            if let Some(answer) = &last {
                assert_eq!(answer["status"], "success", "{what}: {answer}");
                if let Some(value) = answer["data"]["result"][0]["value"][1].as_str() {
                    return value.parse().unwrap();
                }
            }
            sleep(Duration::from_millis(100));
        }
        panic!("{what} is not answered: {last:?}");
    }

    /// Asks once.
    fn ask(&self, query: &str) -> Option<Value> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let timeout = Some(Duration::from_secs(10));
        let mut stream = TcpStream::connect(self.addr).ok()?;
        stream.set_read_timeout(timeout).ok()?;
        // By the old version the answer ends where the connection does.
        write!(stream, "GET /api/v1/query?query={query} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
