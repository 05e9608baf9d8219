//! What runs in a pod right now, as its status tells it: pure, so that every case is a row of a test.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

use crate::pod::behavior::{Behavior, Problem};

/// The port of a container that names none.
const PORT_DEFAULT: u16 = 8080;

/// Which run of which container: a restarted container is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub pod: String,
    pub container: String,
    pub restarts: i32,
}

/// One running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub id: Id,
    pub namespace: String,
    pub pod_name: String,
    pub ip: IpAddr,
    pub ports: Vec<u16>,
    /// What it does, or why that is unknown.
    pub behavior: Result<Behavior, Vec<Problem>>,
    /// How long after now it gets SIGTERM, if the pod is being deleted.
    pub ends_in: Option<Duration>,
}

/// Returns the containers of `pod` that run.
pub(super) fn instances(pod: &Pod) -> Vec<Instance> {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else {
        return Vec::new();
    };
    let Some(ip) = status.pod_ip.as_ref().and_then(|ip| ip.parse().ok()) else {
        return Vec::new();
    };
    let statuses = status.container_statuses.iter().flatten();
    let running = statuses
        .filter(|status| is_running(status))
        .filter_map(|status| {
            let container = spec
                .containers
                .iter()
                .find(|container| container.name == status.name)?;
            Some(Instance {
                id: Id {
                    pod: pod.metadata.uid.clone()?,
                    container: container.name.clone(),
                    restarts: status.restart_count,
                },
                namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                pod_name: pod.metadata.name.clone().unwrap_or_default(),
                ip,
                ports: ports(container),
                behavior: behavior(container),
                ends_in: pod
                    .metadata
                    .deletion_timestamp
                    .as_ref()
                    .map(|_| pre_stop(container)),
            })
        });
    running.collect()
}

fn is_running(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    state.is_some_and(|state| state.running.is_some()) && status.started == Some(true)
}

fn ports(container: &Container) -> Vec<u16> {
    let named = container.ports.iter().flatten();
    let tcp = named.filter(|port| port.protocol.as_deref().is_none_or(|name| name == "TCP"));
    let mut ports: Vec<u16> = tcp
        .filter_map(|port| port.container_port.try_into().ok())
        .collect();
    if ports.is_empty() {
        ports.push(PORT_DEFAULT);
    }
    ports
}

/// Variables that refer to something else (`valueFrom`) are none of ours.
fn behavior(container: &Container) -> Result<Behavior, Vec<Problem>> {
    let env = container.env.iter().flatten();
    let plain = env.filter_map(|var| Some((var.name.clone(), var.value.clone()?)));
    let image = container.image.as_deref().unwrap_or_default();
    Behavior::try_new(image, &plain.collect::<Vec<_>>())
}

/// A `preStop` hook that sleeps comes before SIGTERM.
fn pre_stop(container: &Container) -> Duration {
    let hook = container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let Some(hook) = hook else {
        return Duration::ZERO;
    };
    let command = hook
        .exec
        .as_ref()
        .and_then(|exec| exec.command.clone())
        .unwrap_or_default();
    let words = command.join(" ");
    let slept = words.split("sleep ").nth(1).map(|rest| {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..digits)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0)
    });
    let named = hook
        .sleep
        .as_ref()
        .map(|sleep| sleep.seconds.try_into().unwrap_or(0));
    Duration::from_secs(slept.or(named).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "shop-1", "namespace": "default", "uid": "u1"},
            "spec": {"containers": [{"name": "shop", "image": "shop:v1"}]},
            "status": {"podIP": "10.244.0.3", "containerStatuses": [{
                "name": "shop", "image": "shop:v1", "imageID": "", "ready": false, "started": true,
                "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }]},
        })
    }

    fn read(change: impl FnOnce(&mut Value)) -> Vec<Instance> {
        let mut pod = pod();
        change(&mut pod);
        instances(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_container_that_runs_serves_whether_ready_or_not() {
        let instances = read(|_| ());
        assert_eq!(instances.len(), 1);
        assert_eq!(instances[0].ports, [8080]);
        assert_eq!(instances[0].ends_in, None);
        assert_eq!(instances[0].behavior.as_ref().unwrap().version, "v1");
    }

    #[test]
    fn what_does_not_run_does_not_serve() {
        let status = "/status/containerStatuses/0";
        assert!(read(|pod| pod["status"]["podIP"] = Value::Null).is_empty());
        assert!(read(|pod| pod.pointer_mut(status).unwrap()["started"] = json!(false)).is_empty());
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        assert!(read(|pod| pod.pointer_mut(status).unwrap()["state"] = waiting).is_empty());
    }

    #[test]
    fn a_restarted_container_is_another_one() {
        let restarted = read(|pod| {
            pod.pointer_mut("/status/containerStatuses/0").unwrap()["restartCount"] = json!(1);
        });
        assert_ne!(restarted[0].id, read(|_| ())[0].id);
    }

    #[test]
    fn every_tcp_port_is_served() {
        let ports = json!([{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 9090, "protocol": "TCP"}]);
        let instances = read(|pod| pod["spec"]["containers"][0]["ports"] = ports);
        assert_eq!(instances[0].ports, [80, 9090]);
    }

    #[test]
    fn a_deleted_pod_ends_after_its_hook() {
        for (hook, seconds) in [
            (Value::Null, 0),
            (
                json!({"exec": {"command": ["sh", "-c", "sleep 3 && nginx -s quit"]}}),
                3,
            ),
            (json!({"sleep": {"seconds": 5}}), 5),
            (json!({"httpGet": {"port": 80}}), 0),
        ] {
            let instances = read(|pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
                pod["spec"]["containers"][0]["lifecycle"] = json!({"preStop": hook});
            });
            assert_eq!(instances[0].ends_in, Some(Duration::from_secs(seconds)));
        }
    }
}
