//! Alertmanager's own tool takes the configuration, and routes alerts as it says.

use std::fs;

use haldane_kit::{
    alertmanager::{Receiver, config},
    watched::{Mesh, Workload},
};

use super::{promtool::output, world::watched};

#[test]
fn alertmanager_takes_each_receiver_and_routes_to_it() {
    let slack = Receiver::Slack {
        channel: "#deployments".to_owned(),
    };
    let email = Receiver::Email {
        to: "ops@example.com".to_owned(),
        from: "alerts@example.com".to_owned(),
        smarthost: "smtp.example.com:587".to_owned(),
    };
    let high = ["alertname=CanaryHighErrorRate", "severity=critical"];
    let slow = ["alertname=CanaryHighLatencyP95", "severity=warning"];
    let other = ["alertname=DiskFull", "severity=critical"];
    for (receiver, alert, expected) in [
        (&slack, high, "canary-slack"),
        (&slack, slow, "canary-slack"),
        (&slack, other, "nobody"),
        (&email, slow, "canary-email"),
        (&Receiver::PagerDuty, high, "canary-pagerduty"),
        (&Receiver::PagerDuty, slow, "nobody"),
    ] {
        check(receiver, "auth-service", alert, expected);
        // What is about others is not for them.
        check(receiver, "shop", alert, "nobody");
    }
}

#[track_caller]
fn check(receiver: &Receiver, service: &str, alert: [&str; 2], expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alertmanager.yaml");
    let value = config(watched(Mesh::Istio, Workload::Pair).names(), receiver);
    fs::write(&path, value.to_string()).unwrap();
    let path = path.to_str().unwrap();
    output("amtool", &["check-config", path]);
    let file = format!("--config.file={path}");
    let service = format!("service={service}");
    let mut args = vec![
        "config",
        "routes",
        "test",
        &file,
        "namespace=orion",
        &service,
    ];
    args.extend(alert);
    assert_eq!(output("amtool", &args).trim(), expected, "{alert:?}");
}
