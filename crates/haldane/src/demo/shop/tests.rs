//! The shop over real sockets, its draws without.

use std::collections::BTreeSet;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
};

use super::*;
use crate::demo::load::{Arrivals, LoadPlan, LoadRun};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shop in this process.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinSet<anyhow::Result<()>>,
}

impl Running {
    async fn start(behavior: &str, base: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let mut serving = JoinSet::new();
        serving.spawn(serve_on(listener, args(behavior, base), async {
            stopped.await.ok();
        }));
        Self {
            address,
            stop,
            serving,
        }
    }

    async fn ask(&self, request: &str) -> String {
        let head = format!("{request} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n");
        self.say(&format!("{head}\r\n")).await
    }

    async fn say(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.stop.send(()).ok();
        timeout(PATIENCE, self.serving.join_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }

    fn load(&self) -> LoadRun {
        LoadRun::start(LoadPlan {
            target: self.address,
            host: None,
            rate_per_second: 1_000.0,
            arrivals: Arrivals::Constant,
            fresh_connection_share: 0.1,
            post_share: 0.2,
            timeout: PATIENCE,
            slow: Duration::from_millis(300),
            paths: ["/", "/products", "/products/3", "/cart"]
                .map(str::to_owned)
                .to_vec(),
            seed: 5,
            in_flight_max: 10_000,
        })
        .unwrap()
    }
}

fn args(behavior: &str, base: &str) -> ShopArgs {
    ShopArgs {
        port: 0,
        version: "v2".to_owned(),
        behavior: behavior.parse().unwrap(),
        base: base.parse().unwrap(),
        seed: 11,
    }
}

fn shop(behavior: &str, base: &str) -> Shop {
    Shop::try_new(args(behavior, base)).unwrap()
}

#[tokio::test]
async fn every_page_answers_and_names_its_version() {
    let shop = Running::start("good", "0").await;
    let check = async |request: &str, status: &str, part: &str| {
        let answer = shop.ask(request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
        assert!(
            answer.contains("\r\nx-shop-version: v2\r\n"),
            "{request}: {answer}"
        );
        assert!(answer.contains(part), "{request}: {answer}");
    };
    check("GET /health", "200", "\r\n\r\nok").await;
    check("GET /", "200", "Canary Shop").await;
    check("GET /products", "200", "Safety lamp").await;
    check("GET /products/3?color=yellow", "200", "Canary cage").await;
    check("GET /products/99", "404", "Not Found").await;
    check("GET /cart", "200", "total").await;
    check("GET /checkout", "405", "Method Not Allowed").await;
    check("POST /cart", "405", "Method Not Allowed").await;
    check("GET /admin", "404", "Not Found").await;
    check("POST /checkout", "200", "\"bytes\":0").await;
    shop.end().await.unwrap();
}

#[tokio::test]
async fn a_checkout_tells_how_much_of_the_order_arrived_and_refuses_too_much() {
    let shop = Running::start("good", "0").await;
    let head = "POST /checkout HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n";
    let answer = shop
        .say(&format!("{head}content-length: 5\r\n\r\n12345"))
        .await;
    assert!(answer.contains("\"bytes\":5"), "{answer}");
    let size = BODY_BYTES_MAX + 1;
    let body = "x".repeat(size);
    let answer = shop
        .say(&format!("{head}content-length: {size}\r\n\r\n{body}"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    shop.end().await.unwrap();
}

#[tokio::test]
async fn metrics_count_answers_by_code_and_leave_health_out() {
    let shop = Running::start("errors=1", "0").await;
    for request in ["GET /health", "GET /", "GET /cart", "GET /metrics"] {
        shop.ask(request).await;
    }
    let metrics = shop.ask("GET /metrics").await;
    for line in [
        "http_requests_total{version=\"v2\",code=\"500\"} 2\n",
        "http_request_duration_seconds_count{version=\"v2\"} 2\n",
        "http_request_duration_seconds_bucket{version=\"v2\",le=\"+Inf\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("code=\"200\""), "{metrics}");
    shop.end().await.unwrap();
}

#[tokio::test]
async fn the_share_of_errors_is_the_one_asked_for() {
    let shop = Running::start("errors=0.3", "0").await;
    let load = shop.load();
    let deadline = Instant::now() + PATIENCE;
    while load.snapshot().completed < 2_000 {
        assert!(Instant::now() < deadline, "{:?}", load.snapshot());
        sleep(Duration::from_millis(20)).await;
    }
    let report = load.stop(PATIENCE).await;
    shop.end().await.unwrap();
    // Five standard errors of a share of 0.3 over 2,000 requests.
    let share = report.upstream_errors as f64 / report.completed as f64;
    assert!((share - 0.3).abs() < 0.052, "{share}");
    assert_eq!(
        (report.dropped, report.abandoned, report.not_sent),
        (0, 0, 0),
        "{report:?}"
    );
    assert_eq!(report.versions["v2"].requests, report.sent);
}

#[test]
fn the_base_share_fails_in_every_behavior_and_adds_to_its_errors() {
    let check = |behavior: &str, base: &str, expected: f64| {
        let shop = shop(behavior, base);
        let errors = (0..20_000)
            .filter(|&n| shop.fate(&mut Chance::new(3, n)).is_error)
            .count();
        let share = errors as f64 / 20_000.0;
        // Four standard errors of the widest of these shares.
        assert!(
            (share - expected).abs() < 0.0145,
            "{behavior} {base}: {share}"
        );
    };
    for behavior in ["good", "slow", "crash"] {
        check(behavior, "0", 0.0);
        check(behavior, "5%", 0.05);
    }
    check("errors", "0", 0.5);
    check("errors=10%", "10%", 0.19);
    check("errors=1", "0", 1.0);
}

#[test]
fn slow_delays_most_requests_and_the_others_none() {
    let works = |behavior: &str| {
        let shop = shop(behavior, "0");
        let mut works: Vec<_> = (0..2_000)
            .map(|n| shop.fate(&mut Chance::new(3, n)).work.as_millis())
            .collect();
        works.sort_unstable();
        works
    };
    for behavior in ["good", "errors", "crash"] {
        let works = works(behavior);
        assert!(
            (5..10).contains(&works[1_000]),
            "{behavior}: median {}",
            works[1_000]
        );
        assert!(
            (9..20).contains(&works[1_900]),
            "{behavior}: p95 {}",
            works[1_900]
        );
        assert!(works[1_999] <= 60, "{behavior}: longest {}", works[1_999]);
    }
    let works = works("slow");
    let slow = works
        .iter()
        .filter(|&&ms| (400..=960).contains(&ms))
        .count();
    assert!((1_740..=1_860).contains(&slow), "{slow}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_waits_for_the_first_request_and_then_some_seconds() {
    let (crashing, good) = (shop("crash", "0"), shop("good", "0"));
    good.has_request.notify_one();
    let hour = Duration::from_secs(3_600);
    assert!(timeout(hour, crash(&crashing)).await.is_err());
    assert!(timeout(hour, crash(&good)).await.is_err());
    crashing.has_request.notify_one();
    let armed = Instant::now();
    timeout(hour, crash(&crashing)).await.unwrap();
    assert!(
        (2..=4).contains(&armed.elapsed().as_secs()),
        "{:?}",
        armed.elapsed()
    );
}

#[tokio::test]
async fn a_crash_is_an_error_and_breaks_what_is_in_flight() {
    let mut shop = Running::start("crash", "0").await;
    // An order whose body never ends is in flight at whatever moment the shop crashes.
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    let order = "POST /checkout HTTP/1.1\r\nhost: shop\r\ncontent-length: 9\r\n\r\n1234";
    stream.write_all(order.as_bytes()).await.unwrap();
    let ended = timeout(PATIENCE, shop.serving.join_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(ended.unwrap_err().downcast_ref::<Crashed>(), Some(&Crashed));
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .ok();
    assert!(answer.is_empty(), "{answer:?}");
    assert!(TcpStream::connect(shop.address).await.is_err());
}

#[tokio::test]
async fn a_stopped_shop_refuses_new_connections_and_answers_what_it_has() {
    let mut shop = Running::start("good", "0").await;
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    let head = "POST /checkout HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut interim))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");

    shop.stop.send(()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(shop.address).await.is_ok() {
        assert!(Instant::now() < deadline, "the shop still listens");
        sleep(Duration::from_millis(5)).await;
    }
    assert!(
        shop.serving.try_join_next().is_none(),
        "the shop left a request behind"
    );
    stream.write_all(b"123456789").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"bytes\":9"),
        "{answer}"
    );
    timeout(PATIENCE, shop.serving.join_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = serve(
        ShopArgs {
            port,
            ..args("good", "0")
        },
        pending(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), format!("listening on 127.0.0.1:{port}"));
}

#[test]
fn shares_and_behaviors_are_read_as_people_write_them() {
    for (text, expected) in [
        ("0.5", 0.5),
        ("50%", 0.5),
        ("0.1 %", 0.001),
        ("1", 1.0),
        ("0", 0.0),
    ] {
        assert_eq!(text.parse::<Share>().unwrap(), Share(expected), "{text}");
    }
    for text in ["", "%", "-1", "1.5", "150%", "NaN", "inf", "half"] {
        assert!(text.parse::<Share>().is_err(), "{text:?}");
    }
    for text in ["good", "errors=0.25", "slow", "slow=1.5x", "crash"] {
        assert_eq!(text.parse::<Behavior>().unwrap().to_string(), text);
    }
    assert_eq!("errors".parse(), Ok(Behavior::Errors(Share(0.5))));
    for text in [
        "",
        "bad",
        "slow=1",
        "slow=0.5x",
        "slow=x",
        "slow=101x",
        "errors=",
        "errors=2",
    ] {
        assert!(text.parse::<Behavior>().is_err(), "{text:?}");
    }
}

#[test]
fn the_flags_have_the_documented_names_and_defaults() {
    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: ShopArgs,
    }
    let parse = |flags: &str| {
        let flags = std::iter::once("shop").chain(flags.split_whitespace());
        <Command as clap::Parser>::try_parse_from(flags).map(|command| command.args)
    };
    let args = parse("--port 8081 --version v2").unwrap();
    assert_eq!(
        (args.port, args.version.as_str(), args.seed),
        (8081, "v2", 1)
    );
    assert_eq!((args.behavior, args.base), (Behavior::Good, Share::NONE));
    let args = parse("--port 1 --version v --behavior errors=20% --base 0.1% --seed 9").unwrap();
    assert_eq!(
        (args.behavior, args.base),
        (Behavior::Errors(Share(0.2)), Share(0.001))
    );
    let mistakes = [
        "--port 1",
        "--version v",
        "--port 1 --version v --behavior odd",
    ];
    let found: BTreeSet<_> = mistakes
        .iter()
        .filter(|flags| parse(flags).is_err())
        .collect();
    assert_eq!(found.len(), mistakes.len());
}
