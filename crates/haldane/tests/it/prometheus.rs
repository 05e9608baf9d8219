//! A real Prometheus that scrapes the daemon: a canary that only it finds bad, and everything that goes wrong between it and the daemon.

use std::{
    fs,
    io::{self, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use haldane_api::http::{CommandName, RolloutView};
use haldane_core::{Weight, verdict::Verdict};

use crate::it::{
    http::{TIMEOUT, exchange},
    load::Load,
    rig::{Daemon, Rig, calm, deploy_url, free_addr, shop_file, until, within},
};

/// How long a metric system's data may take to reach a verdict: scrapes, questions and the time after which data is old.
const SOON: Duration = Duration::from_secs(60);

/// Until data counts as old.
const STALE_AFTER: Duration = Duration::from_secs(4);

/// Prometheus, which runs until it is dropped.
#[derive(Debug)]
pub(super) struct Prometheus {
    child: Child,
    pub(super) addr: SocketAddr,
}

impl Prometheus {
    /// Starts one that scrapes the daemon's metrics each second.
    pub(super) fn start(rig: &Rig, target: SocketAddr) -> Self {
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs: [{{ job_name: haldane, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        let path = rig.path("prometheus.yaml");
        fs::write(&path, config).unwrap();
        let addr = free_addr();
        let mut command = rig.command(program().to_str().unwrap());
        let child = command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                rig.path("tsdb").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let this = Self {
            child: child.unwrap(),
            addr,
        };
        until("Prometheus is ready", || {
            let answer = ask(addr, "/-/ready")?;
            (answer.status == 200).then_some(())
        });
        this
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the program that `cargo xtask setup` fetches, unless one is installed.
fn program() -> PathBuf {
    let is_here = |program: &Path| {
        let mut command = Command::new(program);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let fetched = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/setup/prometheus/usr/bin/prometheus"
    );
    let candidates = [PathBuf::from("prometheus"), PathBuf::from(fetched)];
    let mut here = candidates.into_iter().filter(|program| is_here(program));
    here.next()
        .expect("Prometheus is missing: run `cargo xtask setup`")
}

fn ask(addr: SocketAddr, path: &str) -> Option<crate::it::http::Answer> {
    let stream = TcpStream::connect_timeout(&addr, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: prometheus\r\nconnection: close\r\n\r\n");
    exchange(&mut BufReader::new(stream), &head, b"").ok()
}

/// A version of the shop that answers each n-th request with 404, which the proxy takes for the client's fault; 0 for none.
fn version(every: u64) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    spawn(move || {
        for stream in listener.incoming() {
            let (stream, count) = (stream.unwrap(), Arc::clone(&count));
            // Whoever goes away in the middle of a request may.
            spawn(move || answer_all(stream, every, &count).ok());
        }
    });
    addr
}

fn answer_all(stream: TcpStream, every: u64, count: &AtomicU64) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let head = read_head(&mut reader)?;
        if head.is_empty() {
            return Ok(());
        }
        let number = count.fetch_add(1, Ordering::Relaxed);
        let is_bad = every > 0 && !head.starts_with("GET /health") && number.is_multiple_of(every);
        let status = if is_bad { "404 Not Found" } else { "200 OK" };
        let version = "x-version: v2\r\n";
        writer.write_all(
            format!("HTTP/1.1 {status}\r\n{version}content-length: 2\r\n\r\nok").as_bytes(),
        )?;
    }
}

fn read_head(reader: &mut impl io::BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(String::new());
        }
    }
    Ok(head)
}

/// What goes wrong between the daemon and Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// There is no answer.
    Hang,
    /// The connection closes without one.
    Close,
    /// Half of the answer comes.
    Half,
    /// This code, with a body for people.
    Code(u16),
    /// A page of markup.
    Page,
    /// Nothing was found.
    Empty,
    /// Each value is NaN.
    NaN,
    /// Each value is infinite.
    Infinite,
    /// The answer before the fault, again and again.
    Stale,
    /// A store behind it did not answer.
    Partial,
    /// The answer is of another type.
    Text,
    /// Somewhere else, which is a link-local address.
    Redirect,
    /// Only stable is found.
    NoCanary,
}

/// Faults of the way to Prometheus and back.
const BROKEN: [Fault; 7] = [
    Fault::Hang,
    Fault::Close,
    Fault::Half,
    Fault::Code(500),
    Fault::Code(503),
    Fault::Page,
    Fault::Redirect,
];

/// Answers that are none.
const HOLLOW: [Fault; 7] = [
    Fault::Empty,
    Fault::NaN,
    Fault::Infinite,
    Fault::Stale,
    Fault::Partial,
    Fault::Text,
    Fault::NoCanary,
];

/// A proxy in front of Prometheus that does such things.
#[derive(Clone, Debug)]
struct Injector {
    addr: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    /// The last good answers, by question without its time.
    good: Arc<Mutex<Vec<(String, String)>>>,
}

impl Injector {
    fn start(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let this = Self {
            addr: listener.local_addr().unwrap(),
            fault: Arc::new(Mutex::new(Fault::None)),
            good: Arc::default(),
        };
        let injector = this.clone();
        spawn(move || {
            for stream in listener.incoming() {
                let (stream, injector) = (stream.unwrap(), injector.clone());
                spawn(move || injector.serve(stream, behind).ok());
            }
        });
        this
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn serve(&self, stream: TcpStream, behind: SocketAddr) -> io::Result<()> {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let head = read_head(&mut reader)?;
        let Some(path) = head.split(' ').nth(1) else {
            return Ok(());
        };
        match self.reply(behind, path) {
            Some(reply) => writer.write_all(reply.as_bytes()),
            // Until the other side gives up.
            None => reader.read(&mut [0]).map(|_| ()),
        }
    }

    /// Returns what is sent, `None` for silence.
    fn reply(&self, behind: SocketAddr, path: &str) -> Option<String> {
        let question = path
            .split_once("&time=")
            .map_or(path, |(question, _)| question);
        let fine = || ask(behind, path).map_or_else(String::new, |answer| answer.text());
        let fault = self.fault();
        let body = match fault {
            Fault::Hang => return None,
            Fault::Close => return Some(String::new()),
            Fault::Code(code) => return Some(answer(&format!("{code} No"), "no")),
            Fault::Redirect => {
                let elsewhere = "302 Found\r\nlocation: http://169.254.169.254/";
                return Some(answer(elsewhere, ""));
            }
            Fault::Half => {
                let whole = answer("200 OK", &fine());
                let cut = whole.len() - 20;
                return whole.get(..cut).map(str::to_owned);
            }
            Fault::None => {
                let body = fine();
                self.keep(question, &body);
                body
            }
            Fault::NoCanary if !question.contains("v2") => fine(),
            Fault::Empty | Fault::NoCanary => EMPTY.to_owned(),
            Fault::Stale => self.before(question),
            Fault::Page => "<html>Sign in</html>".to_owned(),
            Fault::Text => TEXT.to_owned(),
            Fault::NaN => spoiled(&fine(), "NaN"),
            Fault::Infinite => spoiled(&fine(), "+Inf"),
            Fault::Partial => {
                let warned = r#"{"warnings":["a store did not answer"],"#;
                fine().replacen('{', warned, 1)
            }
        };
        Some(answer("200 OK", &body))
    }

    fn keep(&self, question: &str, body: &str) {
        let mut good = self.good.lock().unwrap();
        good.retain(|(known, _)| known != question);
        good.push((question.to_owned(), body.to_owned()));
    }

    fn before(&self, question: &str) -> String {
        let good = self.good.lock().unwrap();
        let mut known = good.iter().filter(|(known, _)| known == question);
        known
            .next()
            .map_or_else(|| EMPTY.to_owned(), |(_, body)| body.clone())
    }
}

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

/// An answer of a type that holds no numbers.
const TEXT: &str =
    r#"{"status":"success","data":{"resultType":"string","result":[1700000000,"12"]}}"#;

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// Puts another value in the place of each that Prometheus gave: `[1700000000.1,"12"]`.
fn spoiled(body: &str, value: &str) -> String {
    let mut parts = body.split(",\"");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("\"]") {
            Some((number, rest)) if number.parse::<f64>().is_ok() => {
                text.push_str(&format!(",\"{value}\"]{rest}"));
            }
            _ => text.push_str(&format!(",\"{part}")),
        }
    }
    text
}

/// A daemon with the shop, clients, Prometheus, and what goes wrong in front of it.
struct Stand {
    daemon: Daemon,
    load: Load,
    injector: Injector,
    prometheus: Prometheus,
}

impl Stand {
    /// Starts all of it; the metric is the share of requests that a version did not find.
    fn start(rig: &Rig, rollout: &str) -> Self {
        let (addr, metrics) = (free_addr(), free_addr());
        let prometheus = Prometheus::start(rig, metrics);
        let injector = Injector::start(prometheus.addr);
        let stale_after = STALE_AFTER.as_secs();
        let declared = format!(
            "    metrics:
      lost:
        kind: ratio
        source: prom
        events: 'haldane_proxy_requests_total{{service=\"{{{{service}}}}\",version=\"{{{{version}}}}\",class=\"4xx\"}}[{{{{window}}}}]'
        exposure: 'haldane_proxy_requests_total{{service=\"{{{{service}}}}\",version=\"{{{{version}}}}\",origin!=\"client\"}}[{{{{window}}}}]'
        interval: 1s
        staleAfter: {stale_after}s
    rollout:"
        );
        let file = shop_file(addr, rollout).replacen("    rollout:", &declared, 1);
        let sources = format!(
            "sources: {{ prom: {{ prometheus: http://{} }} }}\n",
            injector.addr
        );
        rig.write_file(&format!("{sources}{file}"));
        let file = rig.path("haldane.yaml");
        let mut command = rig.haldane(&["up", "-f", file.to_str().unwrap()]);
        command.arg(format!("--metrics-listen={metrics}"));
        let daemon = rig.start(command);
        daemon.api.wait_ready("shop");
        let load = Load::start(addr, 4, Duration::from_millis(5));
        Self {
            daemon,
            load,
            injector,
            prometheus,
        }
    }

    fn deploy(&self, every: u64) {
        let canary = version(every);
        let wish = deploy_url("v2", canary);
        self.daemon.api.deploy("shop", &wish).unwrap();
    }

    fn rollout(&self) -> RolloutView {
        self.daemon.api.service("shop").rollout.unwrap()
    }

    /// Waits until the judge says this.
    #[track_caller]
    fn until_verdict(&self, wanted: Verdict, why: &str) -> String {
        within(SOON, &format!("{wanted:?} {why}"), || {
            let judgement = self.rollout().judgement?;
            (judgement.verdict == wanted).then_some(judgement.reason)
        })
    }

    fn stop(self, rig: &Rig) {
        self.load.stop();
        drop(self.prometheus);
        self.daemon.stop(rig);
    }
}

#[test]
fn a_canary_is_rolled_back_by_what_only_prometheus_sees() {
    let _calm = calm();
    let rig = Rig::new();
    let rollout = "{ steps: [50%, 100%], hold: 2m, guards: none, judge: sequential }";
    let stand = Stand::start(&rig, rollout);
    stand.deploy(5);
    let over = within(SOON, "it is over", || {
        Some(stand.rollout()).filter(|rollout| rollout.is_over)
    });
    assert_eq!(over.phase, "RolledBack", "{over:?}");
    let judgement = over.judgement.unwrap();
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(judgement.reason.contains("lost"), "{}", judgement.reason);
    stand.stop(&rig);
}

#[test]
fn without_answers_nothing_passes_and_with_them_it_does() {
    let _calm = calm();
    let rig = Rig::new();
    let rollout = "{ steps: [50%, 100%], hold: 2s, guards: none, judge: sequential }";
    let stand = Stand::start(&rig, rollout);
    stand.injector.set(Fault::Empty);
    stand.deploy(0);
    let half = Weight::from_percent(50);
    stand.daemon.api.wait_weight("shop", half);
    let since = Instant::now();
    // Much longer than the hold.
    while since.elapsed() < Duration::from_secs(8) {
        let rollout = stand.rollout();
        assert_eq!(
            (rollout.weight_bps, rollout.is_over),
            (half, false),
            "{rollout:?}"
        );
        sleep(Duration::from_millis(200));
    }
    check_metrics(&rig, 1, "missing");
    stand.injector.set(Fault::None);
    check_metrics(&rig, 0, "\"lost\"");
    let over = within(SOON, "it is over", || {
        Some(stand.rollout()).filter(|rollout| rollout.is_over)
    });
    assert_eq!(over.phase, "Completed", "{over:?}");
    stand.stop(&rig);
}

/// Asks by the command line.
fn check_metrics(rig: &Rig, code: i32, word: &str) {
    let file = rig.path("haldane.yaml");
    let args = [
        "metrics",
        "check",
        "-f",
        file.to_str().unwrap(),
        "shop",
        "--canary",
        "v2",
        "-o",
        "json",
    ];
    let output = rig.haldane(&args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text} {told}");
    assert!(text.contains(word), "{text}");
}

#[test]
fn a_metric_system_that_is_broken_is_no_pass_and_no_failure() {
    check_faults(&BROKEN);
}

#[test]
fn an_answer_without_numbers_is_no_pass_and_no_failure() {
    check_faults(&HOLLOW);
}

/// Checks that the judge says that there is no data while such things happen, and goes on afterwards.
fn check_faults(faults: &[Fault]) {
    let _calm = calm();
    let rig = Rig::new();
    let rollout = "{ steps: [50%, 100%], hold: untilResumed, guards: none, judge: sequential }";
    let stand = Stand::start(&rig, rollout);
    stand.deploy(0);
    stand
        .daemon
        .api
        .wait_weight("shop", Weight::from_percent(50));
    stand.until_verdict(Verdict::Pass, "at first");
    let is_over = Arc::new(AtomicBool::new(false));
    // Whatever is judged meanwhile, it is never a failure.
    let watcher = {
        let (api, is_over) = (stand.daemon.api.clone(), Arc::clone(&is_over));
        spawn(move || {
            let mut failures = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let judgement = api.service("shop").rollout.and_then(|one| one.judgement);
                failures.extend(judgement.filter(|one| one.verdict == Verdict::Fail));
                sleep(Duration::from_millis(100));
            }
            failures
        })
    };
    for fault in faults {
        stand.injector.set(*fault);
        let why = stand.until_verdict(Verdict::NoData, &format!("with {fault:?}"));
        assert!(why.contains("lost"), "{fault:?}: {why}");
        // It stays so.
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(1) {
            let judgement = stand.rollout().judgement.unwrap();
            assert_eq!(
                judgement.verdict,
                Verdict::NoData,
                "{fault:?}: {}",
                judgement.reason
            );
            sleep(Duration::from_millis(100));
        }
        stand.injector.set(Fault::None);
        stand.until_verdict(Verdict::Pass, &format!("after {fault:?}"));
    }
    is_over.store(true, Ordering::Relaxed);
    let failures = watcher.join().unwrap();
    assert!(failures.is_empty(), "{failures:?}");
    let rollout = stand.rollout();
    assert_eq!(
        (rollout.weight_bps, rollout.is_over),
        (Weight::from_percent(50), false)
    );
    stand
        .daemon
        .api
        .command("shop", CommandName::Abort)
        .unwrap();
    stand.daemon.api.wait_over("shop-1");
    stand.stop(&rig);
}
