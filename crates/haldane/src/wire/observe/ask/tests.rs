//! Tests of `ask`.

mod tls;

use std::{fs, path::Path};

use haldane_source::Value;

use super::*;
use crate::wire::observe::question::Question;
use crate::wire::web::server::{Act, Server, say};

const ONE: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"pod":"a"},"value":[1700000000,"1.5"]}]}}"#;

/// What a metric system must never be told to repeat.
const TOKEN: &str = "hush-hush-hush";

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

/// A metric of a system at this address.
fn metric(address: &str) -> Metric {
    let text = "sources: { s: { prometheus: http://a } }\nservices: { a: { listen: 0, stable: { version: v1, run: a }, metrics: { m: { kind: ratio, source: s, template: plain } } } }";
    let file = haldane_api::file::parse(text).unwrap();
    let service = file.services.into_values().next().unwrap();
    let mut metric = service.plan.rules().metrics.first().unwrap().clone();
    metric.source.address = address.to_owned();
    metric
}

fn with_auth(mut metric: Metric, name: &str, given: Given) -> Metric {
    metric.source.auth.insert(name.to_owned(), given);
    metric
}

fn with_header(mut metric: Metric, name: &str, given: Given) -> Metric {
    metric.source.headers.insert(name.to_owned(), given);
    metric
}

fn address(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// A client that waits as long as a busy machine needs.
fn patient() -> Asker {
    Asker::new(Duration::from_secs(20), Jobs::alone())
}

async fn ask(act: Act) -> Result<Reading, AskError> {
    let server = Server::start([act]).await;
    patient().ask(&metric(&address(&server)), "up", now()).await
}

#[tokio::test]
async fn a_question_is_sent_with_its_credentials_and_answered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, format!("{TOKEN}\n")).unwrap();
    let server = Server::start([say(200, "", ONE)]).await;
    let token = Given::File(path.display().to_string());
    let asked = with_auth(metric(&address(&server)), "token", token);
    let asked = with_header(asked, "X-Scope-OrgID", Given::Text("shop".to_owned()));
    let dir = Given::Env("CARGO_MANIFEST_DIR".to_owned());
    let asked = with_header(asked, "X-Dir", dir);
    let reading = patient().ask(&asked, "up{a=\"b\"}", now()).await.unwrap();
    let point = reading.points.first().unwrap();
    assert_eq!(point.value, Value::Number(1.5));
    let asked = server.seen().remove(0).as_str().unwrap().to_owned();
    for part in [
        "GET /api/v1/query?query=up%7Ba%3D%22b%22%7D&time=1700000000 HTTP/1.1\r\n",
        &format!("authorization: Bearer {TOKEN}\r\n"),
        "x-scope-orgid: shop\r\n",
        &format!("x-dir: {}\r\n", env!("CARGO_MANIFEST_DIR")),
    ] {
        assert!(
            asked.to_lowercase().contains(&part.to_lowercase()),
            "{part:?} in {asked}"
        );
    }
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_named_and_nothing_is_asked() {
    let server = Server::start([say(200, "", ONE)]).await;
    for given in [
        Given::Env("HALDANE_NO_SUCH_VARIABLE".to_owned()),
        Given::File("/no/such/file".to_owned()),
        Given::File("/dev/zero".to_owned()),
    ] {
        let asked = with_auth(metric(&address(&server)), "token", given.clone());
        let error = patient().ask(&asked, "up", now()).await.unwrap_err();
        let place = match given {
            Given::Env(place) | Given::File(place) | Given::Text(place) => place,
        };
        assert!(error.to_string().contains(&place), "{error}");
        assert_eq!(error.retry(), Retry::Never);
    }
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn what_a_metric_system_repeats_of_a_secret_is_blotted_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, TOKEN).unwrap();
    let file = Given::File(path.display().to_string());
    for code in [401, 400, 500] {
        let body =
            format!("{{\"status\":\"error\",\"errorType\":\"x\",\"error\":\"bad token {TOKEN}\"}}");
        let server = Server::start([say(code, "", &body)]).await;
        for (auth, headers) in [("token", "x"), ("x", "X-Key")] {
            let asked = with_auth(metric(&address(&server)), auth, file.clone());
            let asked = with_header(asked, headers, file.clone());
            let error = patient().ask(&asked, "up", now()).await.unwrap_err();
            let text = format!("{error} {error:?} {asked:?}");
            assert!(text.contains("bad token ***"), "{text}");
            assert!(!text.contains(TOKEN), "{text}");
        }
    }
}

#[tokio::test]
async fn no_trouble_is_an_answer() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"status\":\"succ";
    let partial = ONE.replace(
        "\"data\"",
        "\"warnings\":[\"a store did not answer\"],\"data\"",
    );
    for (act, retry) in [
        (say(500, "", "oh no"), Some(5)),
        (say(503, "retry-after: 7\r\n", ""), Some(7)),
        (say(429, "retry-after: 9\r\n", ""), Some(9)),
        (say(200, "", &partial), Some(5)),
        (say(200, "", "<html>Sign in</html>"), Some(0)),
        (say(200, "", ""), Some(0)),
        (Act::Say(half.to_owned()), Some(0)),
        (Act::Close, Some(0)),
        (
            say(400, "", "{\"status\":\"error\",\"error\":\"parse error\"}"),
            None,
        ),
        (say(401, "", ""), None),
        (say(404, "", ""), None),
        (Act::Flood(100_000_000, false), None),
    ] {
        let error = ask(act.clone()).await.unwrap_err();
        let expected = match retry {
            None => Retry::Never,
            Some(0) => Retry::Now,
            Some(seconds) => Retry::After(Duration::from_secs(seconds)),
        };
        assert_eq!(error.retry(), expected, "{act:?}: {error}");
    }
}

#[tokio::test]
async fn silence_and_dripping_end_with_the_time() {
    for act in [Act::Hang, Act::Drip] {
        let server = Server::start([act]).await;
        let quick = Asker::new(Duration::from_millis(200), Jobs::alone());
        let error = quick.ask(&metric(&address(&server)), "up", now()).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, AskError::Web(WebError::Slow(_))),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn no_redirect_and_no_link_local_address_is_followed() {
    let other = Server::start([say(200, "", ONE)]).await;
    let location = format!("location: {}\r\n", address(&other));
    assert!(ask(say(302, &location, "")).await.is_err());
    assert_eq!(other.seen().len(), 0);
    for address in [
        "http://169.254.169.254",
        "http://[::ffff:a9fe:a9fe]",
        "http://0.0.0.0:1",
    ] {
        let error = patient().ask(&metric(address), "up", now()).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, AskError::Web(WebError::Forbidden(_))),
            "{error:?}"
        );
        assert_eq!(error.retry(), Retry::Never);
    }
}

/// The only metric of a file with this source.
fn only(source: &str, metric: &str) -> Metric {
    let text = format!(
        "sources: {{ s: {{ {source} }} }}\nservices: {{ a: {{ listen: 0, stable: {{ version: v1, run: a }}, metrics: {{ m: {{ source: s, {metric} }} }} }} }}"
    );
    let file =
        haldane_api::file::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    let service = file.services.into_values().next().unwrap();
    service.plan.rules().metrics.first().unwrap().clone()
}

#[tokio::test]
async fn every_provider_is_asked_in_its_own_way() {
    let aws = "region: eu-west-1, auth: { accessKeyId: AKID, secretAccessKey: { env: CARGO_MANIFEST_DIR } }";
    let token = "auth: { token: { env: CARGO_PKG_NAME } }";
    let queries = r#"[{"Id":"m","Expression":"SUM(METRICS())","Label":"{{version}}"}]"#;
    let plain = "a {{version}}";
    for (source, query, line, header) in [
        (format!("cloudWatch: URL, {aws}"), queries, "POST / ", "authorization: AWS4-HMAC-SHA256 Credential=AKID/"),
        ("datadog: URL, auth: { apiKey: { env: CARGO_PKG_NAME }, appKey: { env: CARGO_PKG_VERSION } }".to_owned(), plain, "GET /api/v1/query?", "dd-api-key: haldane"),
        (format!("dynatrace: URL, {token}"), plain, "GET /api/v2/metrics/query?", "authorization: Api-Token haldane"),
        (format!("google: URL, project: p, {token}"), plain, "POST /v3/projects/p/timeSeries:query", "authorization: Bearer haldane"),
        ("graphite: URL".to_owned(), plain, "GET /render?", "accept: application/json"),
        (format!("influxdb: URL, org: o, {token}"), plain, "POST /api/v2/query?", "authorization: Token haldane"),
        (format!("newRelic: URL, account: 7, {token}"), plain, "POST /graphql", "api-key: haldane"),
        (format!("signalFx: URL, {token}"), plain, "POST /v2/signalflow/execute", "x-sf-token: haldane"),
        (format!("splunk: URL, {token}"), plain, "POST /services/search", "authorization: Bearer haldane"),
        (format!("wavefront: URL, {token}"), plain, "GET /api/v2/chart/api?", "authorization: Bearer haldane"),
        (format!("externalMetrics: URL, {token}"), "shop/queue-{{version}}", "GET /apis/external.metrics.k8s.io/v1beta1/namespaces/shop/queue-", "authorization: Bearer haldane"),
        (format!("keptn: URL, {token}"), "keptnmetric/shop/p99-{{version}}", "GET /apis/metrics.keptn.sh/v1beta1/namespaces/shop/keptnmetrics/p99-", "authorization: Bearer haldane"),
        ("skywalking: URL".to_owned(), "shop-{{version}} service_cpm", "POST /graphql", "content-type: application/json"),
        (format!("web: URL, {token}, headers: {{ X-Team: shop }}"), "PUT /kpi?v={{version}} $.sold", "PUT /kpi?v=", "x-team: shop"),
    ] {
        let server = Server::start([say(500, "", "no")]).await;
        let source = source.replace("URL", &address(&server));
        let asked = if source.starts_with("keptn") || source.starts_with("external") {
            format!("kind: gauge, query: '{query}'")
        } else {
            format!("kind: ratio, events: '{query}', exposure: '{query}'")
        };
        let metric = only(&source, &asked);
        let query = query.replace("{{version}}", "v2");
        let error = patient().ask(&metric, &query, now()).await.unwrap_err();
        assert!(matches!(error.retry(), Retry::After(_)), "{source}: {error}");
        let seen = server.seen();
        let head = seen.first().unwrap().as_str().unwrap().to_lowercase();
        assert!(head.starts_with(&line.to_lowercase()), "{source}: {head}");
        assert!(head.contains(&header.to_lowercase()), "{source}: {header} in {head}");
    }
}

/// Runs a command of a shell, with further arguments, in a directory.
async fn run(script: &str, arguments: &str, dir: Option<&Path>) -> Result<Reading, AskError> {
    let metric = only(
        &format!("command: [sh, -c, {script:?}, shop]"),
        "kind: gauge, query: a",
    );
    let variables = [("VERSION", "v2"), ("SERVICE", "shop")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let asker = patient().in_dir(dir.map(Path::to_owned));
    asker
        .run(&metric, arguments, &variables.into(), now())
        .await
}

#[tokio::test]
async fn what_a_command_writes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("v2.json"), r#"{"sold": [3, 4]}"#).unwrap();
    let values = |reading: Reading| -> Vec<Value> {
        let points = reading.points.into_iter();
        points.map(|point| point.value).collect()
    };
    for (script, arguments, expected) in [
        ("echo counting; echo 2.5", "", &[2.5][..]),
        ("echo $#", "a 'b c'", &[2.0]),
        (
            "test $VERSION = v2 && test $SERVICE = shop && echo 1",
            "",
            &[1.0],
        ),
        ("cat $1.json", "$VERSION $.sold[*]", &[3.0, 4.0]),
    ] {
        let reading = run(script, arguments, Some(dir.path())).await;
        let reading = reading.unwrap_or_else(|error| panic!("{script}: {error}"));
        let expected: Vec<Value> = expected.iter().copied().map(Value::Number).collect();
        assert_eq!(values(reading), expected, "{script}");
    }
}

#[tokio::test]
async fn a_command_that_fails_is_no_answer() {
    for (script, arguments, expected) in [
        (
            "echo 5; echo no route >&2; exit 3",
            "",
            "the command failed: exit code 3\n5\nno route",
        ),
        ("kill -KILL $$", "", "the command failed: ended by signal 9"),
        (
            "yes 1 | head -c 100000",
            "",
            "the command failed: it wrote more than 64 KiB",
        ),
        ("echo many", "", "expected a number, found \"many\""),
        ("echo many", "$.sold", "expected JSON"),
        ("echo 1", "'", "the quote ' is not closed"),
    ] {
        let error = run(script, arguments, None).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{script}: {error}");
    }
    let nowhere = run("echo 1", "", Some(Path::new("/no/such/dir"))).await;
    let error = nowhere.unwrap_err().to_string();
    assert!(error.contains("/no/such/dir is missing"), "{error}");
    let quick = Asker::new(Duration::from_millis(200), Jobs::alone());
    let metric = only("command: sleep 60", "kind: gauge, query: '60'");
    let late = quick.run(&metric, "60", &BTreeMap::new(), now()).await;
    let error = late.unwrap_err();
    assert!(error.to_string().contains("its time was over"), "{error}");
    assert_eq!(error.retry(), Retry::Never);
}

/// Returns the examples of a page as whole files; metrics alone belong to a service.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let whole = blocks.map(|block| match block.split_once("\nmetrics:\n") {
        None => block.to_owned(),
        Some((sources, metrics)) => {
            let metrics: String = metrics
                .lines()
                .map(|line| format!("    {line}\n"))
                .collect();
            format!(
                "{sources}\nservices:\n  shop:\n    listen: 8080\n    stable: {{ version: v1, run: a }}\n    metrics:\n{metrics}"
            )
        }
    });
    whole.collect()
}

#[test]
fn every_example_of_the_page_is_true() {
    let mut asked = std::collections::BTreeSet::new();
    for text in examples(include_str!("../../../../../../docs/metrics.md")) {
        let file = haldane_api::file::parse(&text);
        let file = file.unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        let found = haldane_api::lint::check(&text, None).findings.into_iter();
        let found =
            found.filter(|one| one.path.contains("metrics") || one.path.starts_with("sources"));
        assert_eq!(found.collect::<Vec<_>>(), [], "{text}");
        let (name, service) = file.services.into_iter().next().unwrap();
        for metric in &service.plan.rules().metrics {
            let [stable, canary] = ["v1", "v2"].map(|name| name.parse().unwrap());
            let question = Question::try_new(metric, &name, &stable, Some(&canary)).unwrap();
            let queries = [&question.stable, question.canary.as_ref().unwrap()];
            let texts = queries
                .into_iter()
                .flat_map(|one| [Some(&one.events), one.exposure.as_ref()]);
            for text in texts.flatten() {
                asked.insert(metric.source.provider.name());
                if metric.source.provider == Provider::Command {
                    let line = format!("{} {text}", metric.source.address);
                    assert!(!haldane_api::command::split(&line).unwrap().is_empty());
                    continue;
                }
                let query = query(
                    metric.into(),
                    &BTreeMap::new(),
                    text,
                    prometheus::Form::Instant,
                );
                let query = query.unwrap_or_else(|error| panic!("{text}: {error}"));
                let window = Window::try_new(now() - window(metric), now(), metric.interval);
                // What stands before the credentials must be right; they are nobody's here.
                match query.request(&window.unwrap(), &Auth::None) {
                    Ok(_) | Err(Error::Credentials { .. }) => {}
                    Err(error) => panic!("{text}: {error}"),
                }
            }
        }
    }
    assert!(asked.len() >= 16, "{asked:?}");
}
