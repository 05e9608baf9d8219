//! What is measured, and what of it is shown.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use haldane_api::release::Spec;
use haldane_controller::{
    client::Access,
    meter::{Place, Places, Watch},
};
use serde_json::{Value, json};

use super::*;
use crate::cli::testing::service_json;

fn view() -> ServiceView {
    let mut view = service_json("Progressing");
    view["namespace"] = json!("web");
    for role in ["stable", "canary"] {
        view[role]["figures"] = json!({"requests": 0});
    }
    let pod = |name: &str| {
        json!({
            "kind": "Pod", "name": name, "ready": 1, "wanted": 1, "owned": [], "leftOut": 0,
        })
    };
    view["objects"] = json!([
        {"kind": "Deployment", "name": "shop", "role": "stable", "ready": 2, "wanted": 2, "leftOut": 0,
         "owned": [pod("a"), pod("b")]},
        {"kind": "Deployment", "name": "shop-v2", "role": "canary", "ready": 1, "wanted": 1, "leftOut": 0, "owned": [pod("c")]},
    ]);
    serde_json::from_value(view).unwrap()
}

fn used(cpu_ppm: u64, memory_bytes: u64) -> Usage {
    Usage {
        cpu_ppm,
        memory_bytes,
    }
}

fn measured(rollout: &str, usage: Used) -> Measured {
    Measured {
        rollout: Some(rollout.parse().unwrap()),
        requests: Some(Err("nobody is there".to_owned())),
        usage: Some(usage),
    }
}

#[test]
fn what_pods_use_is_told_by_version_and_per_replica() {
    let usage = [
        ("a", used(100, 10)),
        ("b", used(300, 30)),
        ("c", used(7, 8)),
    ];
    let usage = usage.map(|(name, used)| (name.to_owned(), used));
    let mut view = view();
    measured("auth-7", Ok(usage.into())).put_into(&mut view);
    let figures = |version: &haldane_api::http::VersionView| {
        (version.figures.cpu_ppm, version.figures.memory_bytes)
    };
    assert_eq!(figures(&view.stable), (Some(200), Some(20)));
    assert_eq!(figures(&view.canary.unwrap()), (Some(7), Some(8)));
    assert_eq!(view.notices, ["no data of requests: nobody is there"]);
}

#[test]
fn figures_of_another_rollout_are_not_shown() {
    let before = view();
    for rollout in ["auth-6", "auth-8"] {
        let mut view = before.clone();
        measured(rollout, Err("no".to_owned())).put_into(&mut view);
        assert_eq!(view, before);
    }
    let mut over = before;
    over.rollout.as_mut().unwrap().is_over = true;
    let mut view = over.clone();
    measured("auth-7", Err("no".to_owned())).put_into(&mut view);
    assert_eq!(view, over);
}

/// What an API server was asked: paths with queries.
type Asked = Arc<Mutex<Vec<String>>>;

/// A cluster whose API server answers by this until the test ends.
async fn cluster(answer: fn(&str) -> (u16, Value)) -> (Cluster, Asked, tempfile::TempDir) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let told = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let Some(Ok(first)) = lines.next() else {
                continue;
            };
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let path = first.split(' ').nth(1).unwrap().to_owned();
            let (status, body) = answer(&path);
            told.lock().unwrap().push(path);
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let mut stream = stream;
            stream.write_all((head + &body).as_bytes()).ok();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let access = Access {
        kubeconfig: Some(kubeconfig),
        ..Access::default()
    };
    let cluster = Cluster::connect(&access, Timestamp::now).await.unwrap();
    (cluster, asked, dir)
}

/// A Prometheus behind the API server, which counted this for a version in the last half minute; and no metrics of pods.
fn answer(path: &str) -> (u16, Value) {
    let Some((_, query)) =
        path.split_once("/namespaces/mon/services/prom:9090/proxy/base/api/v1/query?")
    else {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
            "message": "the server could not find the requested resource", "reason": "NotFound", "details": {},
        });
        return (404, body);
    };
    let is_canary = query.contains("shop-canary");
    let now = Timestamp::now().as_second();
    let counter = |code: &str, from: u64, to: u64| {
        json!({
            "metric": {
                "__name__": "http_requests_total", "code": code, "instance": "a",
            },
            "values": [[now - 30, from.to_string()], [now, to.to_string()]],
        })
    };
    let result = if is_canary {
        json!([counter("200", 10, 100), counter("500", 0, 10)])
    } else {
        json!([counter("200", 1_000, 1_900)])
    };
    let data = json!({"resultType": "matrix", "result": result});
    (200, json!({"status": "success", "data": data}))
}

fn looked(prometheus: &str) -> Looked {
    let spec = json!({
        "workload": {"deployment": {"name": "shop"}},
        "sources": {"prom": {"prometheus": prometheus}},
        "requests": {
            "source": "prom", "counter": "http_requests_total", "failed": "code=~\"5..\"",
            "select": "service=\"{{service}}\"",
        },
        "rollout": {"steps": ["10%"], "guards": {"errorRate": "5%"}},
    });
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let place = |name: &str| Place {
        deployment: name.to_owned(),
        service: name.to_owned(),
        replica_set: None,
    };
    let watch = Watch {
        rollout: "auth-7".parse().unwrap(),
        stable: "v1".parse().unwrap(),
        canary: "v2".parse().unwrap(),
        weight: haldane_core::Weight::from_percent(10),
        metrics: Vec::new(),
        requests: spec.to_judged_plan().unwrap().requests,
        places: Places {
            namespace: "web".to_owned(),
            ingress: None,
            route: None,
            stable: place("shop"),
            canary: place("shop-canary"),
        },
    };
    Looked {
        view: view(),
        watch: Some(watch),
        since: None,
    }
}

#[tokio::test]
async fn a_prometheus_that_is_not_reached_from_here_is_asked_through_the_api_server() {
    let (cluster, asked, _dir) = cluster(answer).await;
    let looked = looked("http://prom.mon.svc:9090/base");
    let mut gauge = Gauge::new(cluster);
    for _ in 0..2 {
        let measured = gauge.read(&looked).await;
        let mut view = looked.view.clone();
        measured.put_into(&mut view);
        let stable = &view.stable.figures;
        assert_eq!(
            (
                stable.requests,
                stable.request_rate_milli,
                stable.error_rate_ppm
            ),
            (900, Some(30_000), Some(0)),
            "{:?}",
            view.notices
        );
        let canary = &view.canary.unwrap().figures;
        assert_eq!(
            (canary.requests, canary.error_rate_ppm),
            (100, Some(100_000))
        );
        assert_eq!(view.rollout.unwrap().observed_bps, Some(1_000));
        // Why there is nothing is said once, and not asked again.
        let [notice] = view.notices.as_slice() else {
            panic!("{:?}", view.notices);
        };
        assert!(notice.contains("no metrics.k8s.io"), "{notice}");
    }
    let asked = asked.lock().unwrap();
    let of_pods = asked.iter().filter(|path| path.contains("metrics.k8s.io"));
    assert_eq!((of_pods.count(), asked.len()), (1, 5), "{asked:#?}");
}

#[tokio::test]
async fn a_prometheus_that_nobody_reaches_is_no_data_with_the_reason() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let (cluster, asked, _dir) = cluster(answer).await;
    let mut gauge = Gauge::new(cluster);
    let here = format!("http://{}", nobody.unwrap());
    for (address, expected) in [
        (here.as_str(), "prom at 127.0.0.1: "),
        ("http://other.mon.svc:9090", "neither from here ("),
    ] {
        let measured = gauge.read(&looked(address)).await;
        let mut view = view();
        measured.put_into(&mut view);
        assert_eq!(view.stable.figures, FiguresView::default());
        let told = &view.notices[0];
        assert!(
            told.starts_with("no data of requests: ") && told.contains(expected),
            "{told}"
        );
    }
    // An address is no Service's name.
    let proxied = asked.lock().unwrap().clone();
    let proxied = proxied.iter().filter(|path| path.contains("/proxy/"));
    assert_eq!(proxied.count(), 1);
}
