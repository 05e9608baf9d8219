//! Hooks of a rollout with the real controller: a web service that takes its time, a Job of a CronJob, and who is told at the end.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::rig::{Rig, eventually};

const NS: &str = "hooks";

/// A web service that is asked.
struct Service {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Value>>>,
    _tasks: JoinSet<()>,
}

impl Service {
    /// Starts one that gives these answers one after another, and the last one ever after.
    async fn start(answers: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut answers: VecDeque<Value> = answers.iter().cloned().collect();
        let (heard, mut tasks) = (Arc::clone(&asked), JoinSet::new());
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let question = question(&mut stream).await;
                let answer = if answers.len() > 1 {
                    answers.pop_front().unwrap()
                } else {
                    answers[0].clone()
                };
                let body = answer.to_string();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                heard.lock().unwrap().push(question);
            }
        });
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

/// Reads a request; returns its body.
async fn question(stream: &mut TcpStream) -> Value {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes).await.unwrap();
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return body;
        }
        assert!(count > 0, "a request that ends early: {text}");
    }
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "shop", "image": image}]},
            },
        },
    })
}

fn cron_job() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "smoke"},
        "spec": {
            "suspend": true, "schedule": "0 0 1 1 *",
            "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "smoke", "image": "curl:v1", "command": ["sh", "-c", "sleep 1; exit 3"]}],
            }}}},
        },
    })
}

/// A version whose test fails: its rollout waits for the first hook, is rolled back by the Job, and that is told.
pub(crate) async fn a_rollout_asks_its_hooks(rig: &Rig) {
    let first = Service::start(&[
        json!({"status": "InProgress", "retryAfterSeconds": 1}),
        json!({"status": "Succeeded"}),
    ])
    .await;
    let told = Service::start(&[json!({"status": "Succeeded", "message": "noted"})]).await;
    prepare(rig, &first, &told).await;
    let line = format!("controller --namespaces {NS} --lease-namespace {NS} --listen 127.0.0.1:0");
    let mut controller = rig.begin(&line);
    let path = format!("/apis/haldane.dev/v1alpha1/namespaces/{NS}/releases/shop");
    let status = async |what: &str, is: fn(&Value) -> bool| {
        let look = async || {
            let status = rig.try_get(&path).await?["status"].clone();
            is(&status).then_some(status)
        };
        eventually(what, look).await
    };
    let shop = format!("/apis/apps/v1/namespaces/{NS}/deployments/shop");
    eventually("a shop that is taken over", async || {
        let shop = rig.try_get(&shop).await?;
        (shop["spec"]["paused"] == json!(true)).then_some(())
    })
    .await;
    status("its version", |status| status["stable"] == "v1").await;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "shop", "image": "shop:v2"}]}}}});
    rig.patch(&shop, &image).await;
    let ended = status("everybody told of the rollback", |status| {
        let message = status["message"].as_str().unwrap_or_default();
        status["phase"] == "RolledBack" && message.ends_with(": noted")
    })
    .await;
    let message = ended["message"].as_str().unwrap();
    assert!(message.contains("Job shop-1-"), "{message}");
    assert!(
        message.contains("failed: Job has reached the specified backoff limit"),
        "{message}"
    );
    assert!(message.ends_with(": noted"), "{message}");
    let questions = first.asked();
    assert_eq!(questions.len(), 2, "{questions:#?}");
    assert_eq!(questions[0]["key"], questions[1]["key"]);
    assert_eq!(questions[0]["gate"], "webhook before the rollout");
    let questions = told.asked();
    assert_eq!(questions.len(), 1, "{questions:#?}");
    assert_eq!(questions[0]["canary"], "v2");
    let why = questions[0]["why"].as_str().unwrap();
    assert!(why.contains("failed: Job has reached"), "{why}");
    check_job(rig).await;
    controller.kill().await.unwrap();
}

async fn prepare(rig: &Rig, first: &Service, told: &Service) {
    rig.namespace(NS).await;
    let release = json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Release", "metadata": {"name": "shop"},
        "spec": {
            "workload": {"deployment": {"name": "shop"}},
            "rollout": {
                "steps": ["50%"], "hold": "1s", "guards": "none", "deadlines": {"drain": "1s"},
                "hooks": {
                    "beforeRollout": [{"webhook": first.url()}],
                    "eachStep": [{"job": "smoke"}],
                    "afterRollback": [{"webhook": told.url()}],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"},
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    });
    for (path, object) in [
        (
            "/apis/apps/v1/namespaces/hooks/deployments",
            deployment("shop:v1"),
        ),
        ("/api/v1/namespaces/hooks/services", service),
        ("/apis/batch/v1/namespaces/hooks/cronjobs", cron_job()),
        (
            "/apis/haldane.dev/v1alpha1/namespaces/hooks/releases",
            release,
        ),
    ] {
        rig.create(path, &object).await;
    }
}

/// The Job is one of Kubernetes' own: it was tried once and told what it needs to know.
async fn check_job(rig: &Rig) {
    let jobs = rig.try_get("/apis/batch/v1/namespaces/hooks/jobs").await;
    let jobs = jobs.unwrap()["items"].as_array().unwrap().clone();
    assert_eq!(jobs.len(), 1, "{jobs:#?}");
    let job = &jobs[0];
    assert_eq!(job["status"]["failed"], 1);
    assert_eq!(job["metadata"]["labels"]["haldane.dev/release"], "shop");
    let env = job["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
    assert!(
        env.contains(r#"{"name":"HALDANE_CANARY","value":"v2"}"#),
        "{env}"
    );
}
