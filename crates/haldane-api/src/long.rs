//! The long form: plans and files with every default spelled out, as [`crate::file::parse`] reads them again.
//!
//! Short forms save typing; the long form shows what they mean. Lists stand where order or repetition matters, so that reading a
//! long form gives the same plan.

mod metric;

use std::collections::BTreeMap;

use haldane_core::{
    guard::{Guard, Limit, Metric, Severity},
    plan::{
        Analysis, Arm, Ask, Bands, Deadlines, Experiment, Freeze, Gate, HeaderMatch, HeaderRoute,
        Hold, Mode, OnDoubt, OnFailure, Plan, Rules, Sampling, Scale, Sequential, Step, ValueMatch,
        Window,
    },
};
use serde_json::{Value, json};

use crate::{
    file::{DAYS, File, Health, Limits, Notify, Override, Service, Source, Timeouts, VersionSpec},
    text::{show_bytes, show_duration, show_limit},
};

/// Returns a plan as the value of the key `rollout`.
///
/// ```
/// # use haldane_api::{file, long, yaml};
/// let text = yaml::to_yaml(&long::plan_long(&file::default_plan()));
/// assert!(text.starts_with("steps:\n  - weight: 5%\n  - hold: 5m\n"), "{text}");
/// ```
#[must_use]
pub fn plan_long(plan: &Plan) -> Value {
    let Rules {
        guards,
        judge,
        metrics: _,
        bands,
        sampling,
        judge_from_step,
        canary_scale,
        on_failure,
        on_inconclusive,
        on_no_data,
        advance,
        promote,
        bake,
        deadlines,
        windows,
        freezes,
        after_rollback,
    } = plan.rules();
    json!({
        "steps": plan.steps().iter().map(step).collect::<Value>(),
        "guards": guards.iter().map(guard).collect::<Value>(),
        "judge": judge.as_ref().map_or_else(|| json!("threshold"), judge_long),
        "bands": match bands {
            Bands::Learned => "learned",
            Bands::None => "none",
        },
        "sampling": sampling_long(sampling),
        "judgeFromStep": judge_from_step,
        "canaryScale": scale(*canary_scale),
        "onFailure": match on_failure {
            OnFailure::Rollback => "rollback",
            OnFailure::Hold => "hold",
            OnFailure::PauseAtZero => "pauseAtZero",
        },
        "onInconclusive": on_doubt(*on_inconclusive),
        "onNoData": on_doubt(*on_no_data),
        "advance": mode(*advance),
        "promote": mode(*promote),
        "bake": show_duration(*bake),
        "deadlines": deadlines_long(deadlines),
        "windows": windows.iter().map(window).collect::<Value>(),
        "freezes": freezes.iter().map(freeze).collect::<Value>(),
        // Those of the other moments are steps.
        "hooks": { "afterRollback": after_rollback.iter().map(gate).collect::<Value>() },
    })
}

/// Returns a whole file.
#[must_use]
pub fn file_long(file: &File) -> Value {
    let File {
        notify,
        sources,
        services,
    } = file;
    let told = |one: &Notify| match one {
        Notify::Webhook { url } => json!({ "webhook": url }),
    };
    let services: BTreeMap<&str, Value> = services
        .iter()
        .map(|(name, service)| (name.as_str(), service_long(service)))
        .collect();
    json!({ "version": 1, "notify": notify.iter().map(told).collect::<Value>(), "sources": metric::sources(sources), "services": services })
}

/// Returns a service as the value of its name.
#[must_use]
pub fn service_long(service: &Service) -> Value {
    let Service {
        listen,
        host,
        path,
        stable,
        health,
        stop_grace,
        start_grace,
        overrides,
        unmeasured,
        timeouts,
        limits: Limits { body_bytes },
        plan,
    } = service;
    let Timeouts {
        connect,
        response,
        idle,
    } = timeouts;
    let mut long = json!({
        "listen": listen.iter().map(ToString::to_string).collect::<Value>(),
        "stable": version(stable),
        "health": health_long(health),
        "stopGrace": show_duration(*stop_grace),
        "startGrace": show_duration(*start_grace),
        "override": override_long(overrides),
        "unmeasured": unmeasured,
        "timeouts": {
            "connect": show_duration(*connect),
            "response": show_duration(*response),
            "idle": show_duration(*idle),
        },
        "limits": { "bodyBytes": show_bytes(*body_bytes) },
        "metrics": metric::metrics(&plan.rules().metrics),
        "rollout": plan_long(plan),
    });
    set(&mut long, "host", host.as_ref().map(ToString::to_string));
    set(&mut long, "path", path.clone());
    long
}

/// Sets a key that is left out where there is no value.
fn set(long: &mut Value, key: &str, value: Option<String>) {
    if let (Some(map), Some(value)) = (long.as_object_mut(), value) {
        map.insert(key.to_owned(), Value::String(value));
    }
}

fn version(spec: &VersionSpec) -> Value {
    let VersionSpec { version, source } = spec;
    match source {
        Source::Urls(urls) => {
            json!({ "version": version.as_str(), "urls": urls.iter().map(ToString::to_string).collect::<Value>() })
        }
        Source::Run {
            argv,
            env,
            dir,
            user,
            replicas,
        } => {
            let mut long = json!({ "version": version.as_str(), "run": argv, "env": env, "dir": dir, "replicas": replicas });
            set(&mut long, "user", user.clone());
            long
        }
    }
}

fn health_long(health: &Health) -> Value {
    let Health {
        path,
        interval,
        timeout,
        healthy_after,
        unhealthy_after,
    } = health;
    let mut long = json!({
        "interval": show_duration(*interval),
        "timeout": show_duration(*timeout),
        "healthyAfter": healthy_after,
        "unhealthyAfter": unhealthy_after,
    });
    set(&mut long, "path", path.clone());
    long
}

fn override_long(overrides: &Override) -> Value {
    let Override {
        header,
        cookie,
        query,
    } = overrides;
    let way = |name: &Option<String>| name.clone().unwrap_or_else(|| "off".to_owned());
    json!({ "header": way(header), "cookie": way(cookie), "query": way(query) })
}

fn step(step: &Step) -> Value {
    match step {
        Step::SetWeight(weight) => json!({ "weight": weight.to_string() }),
        Step::TestTraffic => json!({ "testTraffic": true }),
        Step::Hold(hold) => json!({ "hold": hold_long(*hold) }),
        Step::ScaleCanary(size) => json!({ "scaleCanary": scale(*size) }),
        Step::Analysis(one) => json!({ "analysis": analysis(one) }),
        Step::Experiment(one) => json!({ "experiment": experiment(one) }),
        Step::HeaderRoute(HeaderRoute { name, matches }) => {
            json!({ "headerRoute": { "name": name, "match": matches.iter().map(header_match).collect::<Value>() } })
        }
        Step::Mirror(share) => json!({ "mirror": share.to_string() }),
        Step::Gate(one) => json!({ "gate": gate(one) }),
    }
}

fn hold_long(hold: Hold) -> Value {
    match hold {
        Hold::For(time) => json!(show_duration(time)),
        Hold::UntilResumed => json!("untilResumed"),
        Hold::UntilEvidence { min, max } => {
            json!({ "min": show_duration(min), "max": show_duration(max) })
        }
    }
}

fn scale(scale: Scale) -> Value {
    match scale {
        Scale::Full => json!("full"),
        Scale::MatchWeight => json!("matchWeight"),
        Scale::ShareOfFull(share) => json!(share.to_string()),
        Scale::Replicas(count) => json!(count),
    }
}

fn analysis(analysis: &Analysis) -> Value {
    let Analysis {
        name,
        duration,
        guards,
    } = analysis;
    json!({ "name": name, "duration": show_duration(*duration), "guards": guards.iter().map(guard).collect::<Value>() })
}

fn experiment(one: &Experiment) -> Value {
    let arm = |arm: &haldane_core::plan::ExperimentArm| {
        let of = match arm.of {
            Arm::Stable => "stable",
            Arm::Canary => "canary",
        };
        json!({ "name": arm.name, "of": of, "replicas": arm.replicas, "weight": arm.weight.to_string() })
    };
    json!({ "arms": one.arms.iter().map(arm).collect::<Value>(), "analysis": analysis(&one.analysis) })
}

fn header_match(one: &HeaderMatch) -> Value {
    let HeaderMatch { header, value } = one;
    match value {
        ValueMatch::Exact(text) => json!({ "header": header, "exact": text }),
        ValueMatch::Prefix(text) => json!({ "header": header, "prefix": text }),
        ValueMatch::Regex(text) => json!({ "header": header, "regex": text }),
        ValueMatch::Present => json!({ "header": header, "present": true }),
    }
}

fn gate(gate: &Gate) -> Value {
    let Gate { name, ask, timeout } = gate;
    let timeout = show_duration(*timeout);
    match ask {
        Ask::Approval => json!({ "name": name, "approval": true, "timeout": timeout }),
        Ask::Webhook { url } => json!({ "name": name, "webhook": url, "timeout": timeout }),
        Ask::Run { argv } => json!({ "name": name, "run": argv, "timeout": timeout }),
        Ask::Job { cron_job } => json!({ "name": name, "job": cron_job, "timeout": timeout }),
    }
}

fn guard(guard: &Guard) -> Value {
    let Guard {
        metric,
        pass,
        fail,
        failures,
        severity,
    } = guard;
    json!({
        "metric": metric.name(),
        "continue": show_limit(*metric, *pass),
        "rollback": show_limit(*metric, *fail),
        "failures": failures,
        "severity": match severity {
            Severity::Warn => "warn",
            Severity::Critical => "critical",
        },
    })
}

fn judge_long(judge: &Sequential) -> Value {
    let Sequential {
        alpha_ppm,
        beta_ppm,
        harm_permille,
        accept_permille,
        accept_ppm,
        leeway_ppm,
        leeway_min,
        warm_up,
    } = *judge;
    let show = |limit| show_limit(Metric::ErrorRate, limit);
    json!({
        "alpha": show(Limit::Absolute(u64::from(alpha_ppm))),
        "beta": show(Limit::Absolute(u64::from(beta_ppm))),
        "harm": show(Limit::Times(harm_permille)),
        "accept": show(Limit::Times(accept_permille)),
        "acceptPlus": show(Limit::Points(accept_ppm)),
        "leeway": show(Limit::Absolute(u64::from(leeway_ppm))),
        "leewayMin": show_duration(leeway_min),
        "warmUp": show_duration(warm_up),
    })
}

fn sampling_long(sampling: &Sampling) -> Value {
    let Sampling {
        window,
        requests_min,
        stale_after,
    } = sampling;
    json!({ "window": show_duration(*window), "requestsMin": requests_min, "staleAfter": show_duration(*stale_after) })
}

fn deadlines_long(deadlines: &Deadlines) -> Value {
    let Deadlines {
        window,
        ready,
        lost,
        traffic,
        evidence,
        confirm,
        person,
        drain,
    } = deadlines;
    json!({
        "window": show_duration(*window),
        "ready": show_duration(*ready),
        "lost": show_duration(*lost),
        "traffic": show_duration(*traffic),
        "evidence": show_duration(*evidence),
        "confirm": show_duration(*confirm),
        "person": show_duration(*person),
        "drain": show_duration(*drain),
    })
}

fn window(window: &Window) -> Value {
    let Window {
        days,
        from_minute,
        to_minute,
        time_zone,
    } = window;
    let name = |day: &u8| DAYS.get(usize::from(*day).saturating_sub(1)).copied();
    let time = |minute: &u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    json!({
        "days": days.iter().filter_map(name).collect::<Value>(),
        "from": time(from_minute),
        "to": time(to_minute),
        "timeZone": time_zone,
    })
}

fn freeze(freeze: &Freeze) -> Value {
    let Freeze { from, to, reason } = freeze;
    json!({ "from": from.to_string(), "to": to.to_string(), "reason": reason })
}

fn on_doubt(on_doubt: OnDoubt) -> &'static str {
    match on_doubt {
        OnDoubt::Advance => "advance",
        OnDoubt::Hold => "hold",
        OnDoubt::Rollback => "rollback",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto",
        Mode::Manual => "manual",
        Mode::Hybrid => "hybrid",
    }
}

#[cfg(test)]
mod tests;
