//! Findings on the services of a release file.

use haldane_core::guard::Metric;

use super::{
    Remark,
    plan::lint_judged_plan,
    rules::{NO_HEALTH_CHECK, NOBODY_TOLD, SINGLE_REPLICA, UNMEASURED_GUARD},
    traffic::Traffic,
};
use crate::file::{File, Service, Source};

/// Returns what is to be said of a file as a whole.
pub(super) fn lint_file(file: &File) -> Option<Remark> {
    let reason = "nobody is told when a rollout begins, ends or waits for a person";
    file.notify
        .is_empty()
        .then(|| Remark::plain(&NOBODY_TOLD, "notify", reason))
}

/// Returns what is to be said of a service.
pub(super) fn lint_service(
    path: &str,
    service: &Service,
    traffic: Option<&Traffic<'_>>,
) -> Vec<Remark> {
    let mut remarks = lint_judged_plan(path, &service.plan, traffic);
    if service.health.path.is_none() {
        let reason = "a replica counts as healthy as soon as it accepts connections";
        remarks.push(Remark::plain(
            &NO_HEALTH_CHECK,
            format!("{path}.health"),
            reason,
        ));
    }
    match &service.stable.source {
        Source::Run { replicas: 1, .. } => {
            let reason =
                "one process serves all users of a version, and none while it starts again";
            let path = format!("{path}.stable.replicas");
            remarks.push(Remark::plain(&SINGLE_REPLICA, path, reason));
        }
        Source::Run { .. } => {}
        Source::Urls(_) => {
            let guards = service.plan.rules().guards.iter();
            let unseen = guards.filter(|guard| is_of_process(guard.metric));
            remarks.extend(unseen.map(|guard| {
                let reason =
                    "not measured for a version that is not started here, so the guard never has data";
                let path = format!("{path}.rollout.guards.{}", guard.metric);
                Remark::plain(&UNMEASURED_GUARD, path, reason)
            }));
        }
    }
    remarks
}

fn is_of_process(metric: Metric) -> bool {
    match metric {
        Metric::Cpu | Metric::Memory | Metric::Restarts => true,
        Metric::ErrorRate
        | Metric::SuccessRate
        | Metric::Mean
        | Metric::P50
        | Metric::P95
        | Metric::P99
        | Metric::Ready => false,
    }
}
