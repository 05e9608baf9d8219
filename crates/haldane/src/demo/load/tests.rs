//! The load against servers that misbehave in one way each, over real sockets.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::sleep,
};

use super::{
    report::{AnswerClass, DropCause},
    *,
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

const OK: &str = "HTTP/1.1 200 OK\r\nx-shop-version: v1\r\ncontent-length: 2\r\n\r\nok";

/// A server whose every connection follows a script.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// What a scripted server does with a request: write this, then wait for the next one or close.
#[derive(Clone, Copy)]
enum Deed {
    Answer(&'static str),
    AnswerAndClose(&'static str),
    Hang,
}

impl Server {
    /// Starts a server; `script` gets the number of the request on its connection, from 0, and its text.
    async fn start(script: impl Fn(u64, &str) -> Deed + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicU64::new(0));
        let (counter, script) = (Arc::clone(&connections), Arc::new(script));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                serving.spawn(async move { follow(stream, script.as_ref()).await });
            }
        });
        Self {
            address,
            connections,
            _tasks: tasks,
        }
    }

    fn plan(&self) -> LoadPlan {
        plan(self.address)
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn follow(mut stream: TcpStream, script: &(impl Fn(u64, &str) -> Deed + Send + Sync)) {
    let mut index = 0;
    while let Some(request) = read_request(&mut stream).await {
        match script(index, &request) {
            Deed::Answer(text) => stream.write_all(text.as_bytes()).await.unwrap_or(()),
            Deed::AnswerAndClose(text) => {
                stream.write_all(text.as_bytes()).await.unwrap_or(());
                return;
            }
            Deed::Hang => std::future::pending().await,
        }
        index += 1;
    }
}

/// Reads one request with its body; `None` at the end of the stream.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4_096];
        let count = stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|&count| count > 0)?;
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(text);
        }
    }
}

fn plan(target: SocketAddr) -> LoadPlan {
    LoadPlan {
        target,
        host: None,
        rate_per_second: 200.0,
        arrivals: Arrivals::Constant,
        fresh_connection_share: 0.0,
        post_share: 0.0,
        timeout: TIMEOUT_DEFAULT,
        slow: Duration::from_secs(5),
        paths: vec!["/".to_owned()],
        seed: 1,
        in_flight_max: 1_000,
    }
}

async fn until(run: &LoadRun, is_reached: impl Fn(&LoadReport) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report = run.snapshot();
        if is_reached(&report) {
            return;
        }
        assert!(Instant::now() < deadline, "{report:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the plan until 50 requests have ended, and checks that the books balance.
async fn run_fifty(plan: LoadPlan) -> LoadReport {
    let run = LoadRun::start(plan).unwrap();
    until(&run, |report| report.completed + report.dropped >= 50).await;
    let report = run.stop(PATIENCE).await;
    assert_eq!(
        report.sent,
        report.completed + report.dropped + report.abandoned,
        "{report:?}"
    );
    assert_eq!(report.answers.values().sum::<u64>(), report.completed);
    assert_eq!(report.drops.values().sum::<u64>(), report.dropped);
    assert_eq!((report.in_flight(), report.abandoned), (0, 0));
    report
}

/// Checks that every request is dropped for one cause.
async fn check_dropped(plan: LoadPlan, cause: DropCause) -> LoadReport {
    let report = run_fifty(plan).await;
    assert_eq!(report.dropped, report.sent, "{report:?}");
    assert_eq!(report.drops.keys().collect::<Vec<_>>(), [&cause]);
    assert!(report.first_bad.is_some());
    report
}

#[tokio::test]
async fn the_rate_is_kept() {
    let server = Server::start(|_, _| Deed::Answer(OK)).await;
    for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
        let run = LoadRun::start(LoadPlan {
            arrivals,
            rate_per_second: 500.0,
            ..server.plan()
        });
        let run = run.unwrap();
        until(&run, |report| report.elapsed >= Duration::from_secs(1)).await;
        let report = run.stop(PATIENCE).await;
        let expected = 500.0 * report.elapsed.as_secs_f64();
        let found = report.sent as f64 / expected;
        // Wide enough for four standard deviations of 500 Poisson arrivals and a busy machine.
        assert!(
            (0.75..1.25).contains(&found),
            "{arrivals:?}: {} of {expected}",
            report.sent
        );
        assert_eq!(
            (report.completed, report.not_sent),
            (report.sent, 0),
            "{report:?}"
        );
        let age = report.started_at.elapsed().unwrap();
        assert!(
            age >= report.elapsed.mul_f64(0.9) && age < PATIENCE,
            "{age:?}"
        );
    }
}

#[test]
fn a_schedule_has_its_rate_whoever_watches() {
    let starts = |arrivals| {
        let target = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut schedule = Schedule::new(&LoadPlan {
            arrivals,
            ..plan(target)
        });
        let mut starts = Vec::new();
        while schedule.next() <= Duration::from_millis(50_001) {
            starts.push(schedule.next());
            schedule.advance();
        }
        starts
    };
    assert_eq!(starts(Arrivals::Constant).len(), 10_000);
    let poisson = starts(Arrivals::Poisson);
    assert!(
        (9_600..10_400).contains(&poisson.len()),
        "{}",
        poisson.len()
    );
    // Of exponential gaps the share 1 - 1/e is shorter than the mean.
    let mean = Duration::from_millis(5);
    let short = poisson
        .windows(2)
        .filter(|pair| pair[1] - pair[0] < mean)
        .count();
    let share = short as f64 / poisson.len() as f64;
    assert!((0.61..0.655).contains(&share), "{share}");
    assert_eq!(poisson, starts(Arrivals::Poisson));
}

#[tokio::test]
async fn a_server_that_never_answers_slows_nothing_down_and_overflow_is_counted() {
    let server = Server::start(|_, _| Deed::Hang).await;
    let run = LoadRun::start(LoadPlan {
        in_flight_max: 40,
        ..server.plan()
    })
    .unwrap();
    until(&run, |report| report.not_sent >= 50).await;
    let report = run.stop(Duration::ZERO).await;
    assert_eq!(
        (report.sent, report.completed, report.dropped),
        (40, 0, 0),
        "{report:?}"
    );
    assert_eq!(
        (report.abandoned, report.in_flight()),
        (40, 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn latency_runs_from_the_scheduled_start() {
    let server = Server::start(|_, _| Deed::Answer(OK)).await;
    let workload = Workload::try_from(server.plan()).unwrap();
    let client = Arc::new(Client::new(server.address, TIMEOUT_DEFAULT));
    let run_started = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
    // Due two seconds ago, started now.
    let outcome = request(
        client,
        workload.order(0),
        run_started,
        Duration::from_secs(1),
    )
    .await;
    assert!(outcome.latency >= Duration::from_secs(2), "{outcome:?}");
    assert!(outcome.started >= Duration::from_secs(3), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_dropped_and_charged_to_its_version() {
    let part = "HTTP/1.1 200 OK\r\nx-shop-version: v2\r\ncontent-length: 9\r\n\r\nabc";
    let server = Server::start(move |_, _| Deed::AnswerAndClose(part)).await;
    let report = check_dropped(server.plan(), DropCause::PartialAnswer).await;
    let version = &report.versions["v2"];
    assert_eq!(
        (version.requests, version.dropped),
        (report.sent, report.sent)
    );
    assert!(version.first_bad.is_some() && version.first_answer.is_none());

    let chunk = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let server = Server::start(move |_, _| Deed::AnswerAndClose(chunk)).await;
    check_dropped(server.plan(), DropCause::PartialAnswer).await;
}

#[tokio::test]
async fn no_answer_on_a_new_connection_is_dropped_and_not_retried() {
    for part in ["", "HTTP/1.1 200 OK\r\nx-shop", "What?\r\n\r\n"] {
        let server = Server::start(move |_, _| Deed::AnswerAndClose(part)).await;
        let report = check_dropped(server.plan(), DropCause::NoAnswer).await;
        assert_eq!(
            (report.retried, server.connections()),
            (0, report.sent),
            "{part:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_connection_is_dropped() {
    // Bound, so that no other test gets the port, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    check_dropped(plan(socket.local_addr().unwrap()), DropCause::Connect).await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_dropped() {
    let hang = Server::start(|_, _| Deed::Hang).await;
    let timeout = Duration::from_millis(50);
    check_dropped(
        LoadPlan {
            timeout,
            ..hang.plan()
        },
        DropCause::Timeout,
    )
    .await;

    let part = "HTTP/1.1 200 OK\r\nx-shop-version: v2\r\ncontent-length: 9\r\n\r\nabc";
    let stall = Server::start(move |_, _| Deed::Answer(part)).await;
    let plan = LoadPlan {
        timeout,
        ..stall.plan()
    };
    let report = check_dropped(plan, DropCause::Timeout).await;
    // One whose head was late, too, has no version.
    assert!(report.versions["v2"].dropped > 0, "{report:?}");
}

#[tokio::test]
async fn a_502_of_the_proxy_is_dropped_and_a_500_of_the_shop_is_not() {
    let proxy = "HTTP/1.1 502 Bad Gateway\r\nproxy-status: haldane; error=connection_refused\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(move |_, _| Deed::Answer(proxy)).await;
    let report = check_dropped(server.plan(), DropCause::ProxyError).await;
    assert_eq!(report.upstream_errors, 0);

    let shop = "HTTP/1.1 500 Oh\r\nx-shop-version: v2\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(move |_, _| Deed::Answer(shop)).await;
    let report = run_fifty(server.plan()).await;
    assert_eq!(
        (report.dropped, report.upstream_errors),
        (0, report.sent),
        "{report:?}"
    );
    assert_eq!(report.answers[&AnswerClass::UpstreamError], report.sent);
    assert_eq!(report.versions["v2"].upstream_errors, report.sent);
}

#[tokio::test]
async fn a_closed_keep_alive_connection_is_replaced_without_a_drop() {
    // The second request of each connection finds it closed, in the very moment of its use.
    let server = Server::start(|index, _| match index {
        0 => Deed::Answer(OK),
        _ => Deed::AnswerAndClose(""),
    })
    .await;
    let report = run_fifty(server.plan()).await;
    assert_eq!(report.completed, report.sent, "{report:?}");
    assert!(report.retried > 0, "{report:?}");

    // This one closes before that: the client hears of it and asks no more there.
    let server = Server::start(|_, _| Deed::AnswerAndClose(OK)).await;
    let report = run_fifty(server.plan()).await;
    assert_eq!(report.completed, report.sent, "{report:?}");
    assert_eq!(server.connections(), report.sent);
}

#[tokio::test]
async fn a_reused_connection_that_breaks_within_an_answer_is_not_retried() {
    let server = Server::start(|index, _| match index {
        0 => Deed::Answer(OK),
        _ => Deed::AnswerAndClose("HTTP/1.1 200"),
    })
    .await;
    let report = run_fifty(server.plan()).await;
    assert!(report.drops[&DropCause::NoAnswer] > 0, "{report:?}");
    assert_eq!(report.retried, 0, "{report:?}");
}

#[tokio::test]
async fn connections_are_kept_unless_one_side_wants_otherwise() {
    let keeping = Server::start(|_, _| Deed::Answer(OK)).await;
    let report = run_fifty(keeping.plan()).await;
    assert!(
        keeping.connections() < report.sent / 2,
        "{} connections",
        keeping.connections()
    );

    let fresh = Server::start(|_, request| {
        assert!(request.contains("connection: close\r\n"), "{request}");
        Deed::Answer(OK)
    })
    .await;
    let plan = LoadPlan {
        fresh_connection_share: 1.0,
        ..fresh.plan()
    };
    let report = run_fifty(plan).await;
    assert_eq!(
        (fresh.connections(), report.dropped),
        (report.sent, 0),
        "{report:?}"
    );

    // It says that it will close, and then takes its time: a second request there would hang.
    let close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let closing = Server::start(move |index, _| match index {
        0 => Deed::Answer(close),
        _ => Deed::Hang,
    })
    .await;
    let report = run_fifty(closing.plan()).await;
    assert_eq!(
        (closing.connections(), report.completed),
        (report.sent, report.sent)
    );
}

#[tokio::test]
async fn requests_follow_the_plan() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Server::start(move |_, request| {
        log.lock().unwrap().push(request.to_owned());
        Deed::Answer(OK)
    })
    .await;
    let paths = ["/a", "/b?c=d"].map(str::to_owned).to_vec();
    let host = Some("shop.test".to_owned());
    run_fifty(LoadPlan {
        post_share: 0.4,
        paths,
        host,
        ..server.plan()
    })
    .await;
    let seen = seen.lock().unwrap();
    let count = |start: &str| {
        seen.iter()
            .filter(|request| request.starts_with(start))
            .count()
    };
    let (a, b) = (
        count("GET /a HTTP/1.1\r\n"),
        count("GET /b?c=d HTTP/1.1\r\n"),
    );
    let posts = count("POST /checkout HTTP/1.1\r\n");
    assert!(a > 0 && b > 0 && posts > 0, "{a} {b} {posts}");
    assert_eq!(a + b + posts, seen.len());
    assert!(
        seen.iter()
            .all(|request| request.contains("\r\nhost: shop.test\r\n"))
    );
    assert!(seen.iter().any(|request| request.len() > 4_096));
}

#[tokio::test]
async fn versions_are_told_apart() {
    let turn = AtomicU64::new(0);
    let server = Server::start(move |_, _| match turn.fetch_add(1, Ordering::SeqCst) % 4 {
        0 => Deed::Answer("HTTP/1.1 200 OK\r\nx-shop-version: v2\r\ncontent-length: 0\r\n\r\n"),
        _ => Deed::Answer(OK),
    })
    .await;
    let report = run_fifty(server.plan()).await;
    assert_eq!(report.versions["v2"].requests, report.sent.div_ceil(4));
    let all = report.observed("v2", Duration::ZERO..Duration::MAX);
    assert_eq!(
        (all.hits, all.requests),
        (report.sent.div_ceil(4), report.sent)
    );
    assert_eq!(report.first_bad, None);
    let (v1, v2) = (&report.versions["v1"], &report.versions["v2"]);
    assert_eq!(v1.requests + v2.requests, report.completed);
    assert!(v2.first_answer.unwrap() < v2.last_started);
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_is_refused() {
    let target = SocketAddr::from(([127, 0, 0, 1], 1));
    let check = |change: fn(&mut LoadPlan), expected: &str| {
        let mut plan = plan(target);
        change(&mut plan);
        let error = LoadRun::start(plan).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(|plan| plan.rate_per_second = 0.0, "a rate of 0");
    check(|plan| plan.rate_per_second = f64::NAN, "a rate of NaN");
    check(|plan| plan.post_share = 1.1, "post_share is 1.1");
    check(
        |plan| plan.fresh_connection_share = -0.1,
        "fresh_connection_share is -0.1",
    );
    check(|plan| plan.paths.clear(), "at least one path");
    check(
        |plan| plan.paths = vec!["cart".to_owned()],
        "\"cart\" is not a path",
    );
    check(
        |plan| plan.paths = vec!["/a b".to_owned()],
        "\"/a b\" is not a path",
    );
    check(
        |plan| plan.host = Some("a\nb".to_owned()),
        "is not a host name",
    );
}
