//! Gates and hooks: who is asked when, by what, and what follows from the answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use haldane_core::{
    RolloutId,
    plan::{Ask, Gate},
    rollout::{GateAnswer, GateKey},
};
use haldane_router::kinds::INGRESS;
use serde_json::{Value, json};

use super::{
    alone::command,
    pairs::set_image,
    routed::begun,
    world::{NS, Silence, World, silent},
};
use crate::{
    asker::{Asker, Subject},
    host::{Ports, ReleaseHost},
    kinds::{CRON_JOB, JOB, RELEASE},
    turn::Key,
};

/// Web services that answer as they are told.
#[derive(Debug, Default)]
struct Services {
    asked: Mutex<BTreeMap<GateKey, (String, Subject)>>,
    answers: Mutex<Vec<GateAnswer>>,
}

impl Services {
    /// Lets the service of this URL answer what it was asked last.
    #[track_caller]
    fn answer(&self, url: &str, is_open: bool, said: &str) {
        let asked = self.asked.lock().unwrap();
        let mut keys = asked.iter().filter(|(_, (known, _))| known == url);
        let (key, _) = keys
            .next_back()
            .unwrap_or_else(|| panic!("{url}: {asked:#?}"));
        self.answers.lock().unwrap().push(GateAnswer {
            key: key.clone(),
            is_open,
            said: said.to_owned(),
        });
    }

    fn asked(&self, url: &str) -> Vec<Subject> {
        let asked = self.asked.lock().unwrap();
        let of = asked.values().filter(|(known, _)| known == url);
        of.map(|(_, subject)| subject.clone()).collect()
    }
}

impl Asker for Services {
    fn ask(&self, _: &Key, key: &GateKey, gate: &Gate, subject: &Subject) {
        if let Ask::Webhook { url } = &gate.ask {
            let asked = (url.clone(), subject.clone());
            self.asked.lock().unwrap().insert(key.clone(), asked);
        }
    }

    fn answers(&self, _: &Key) -> Vec<GateAnswer> {
        self.answers.lock().unwrap().drain(..).collect()
    }

    fn forget(&self, _: &Key, _: &RolloutId) {}

    fn remove(&self, _: &Key) {}
}

/// A pair behind a canary Ingress whose rollouts have these hooks.
fn hooked(hooks: &Value) -> (World, Arc<Services>) {
    let mut world = begun();
    let services = Arc::new(Services::default());
    world.host = Box::new(ReleaseHost::new(Ports {
        meter: Arc::new(Silence),
        asker: services.clone(),
    }));
    world.patch(
        "kubectl",
        &RELEASE,
        "shop",
        &json!({"spec": {"rollout": {"hooks": hooks}}}),
    );
    world.pass(30);
    (world, services)
}

fn cron_job(world: &mut World, is_suspended: bool) {
    let object = json!({"spec": {
        "suspend": is_suspended,
        "schedule": "0 0 1 1 *",
        "jobTemplate": {
            "metadata": {"labels": {"team": "shop"}},
            "spec": {"backoffLimit": 0, "activeDeadlineSeconds": 900, "template": {"spec": {
                "restartPolicy": "Never",
                "initContainers": [{"name": "wait", "image": "curl"}],
                "containers": [{
                    "name": "smoke", "image": "curl", "args": ["$(HALDANE_CANARY_URL)/"],
                    "env": [{"name": "TEAM", "value": "shop"}, {"name": "HALDANE_CANARY", "value": "old"}],
                }],
            }}},
        },
    }});
    world.apply(&CRON_JOB, "smoke", object);
}

/// Returns the Jobs that there are.
fn jobs(world: &World) -> Vec<Value> {
    let all = world.objects.iter();
    all.filter(|(target, _)| *target.kind == JOB)
        .map(|(_, object)| object.clone())
        .collect()
}

/// Lets a Job end.
fn end_job(world: &mut World, name: &str, how: &str, message: &str) {
    let conditions = json!([{"type": how, "status": "True", "message": message}]);
    world.patch(
        "kube-controller-manager",
        &JOB,
        name,
        &json!({"status": {"conditions": conditions}}),
    );
}

fn name_of(job: &Value) -> String {
    job["metadata"]["name"].as_str().unwrap().to_owned()
}

fn weight(world: &World) -> &Value {
    &world.get(&INGRESS, "auth-canary")["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"]
}

#[track_caller]
fn check(world: &World, phase: &str, said: &str) {
    let status = world.status();
    assert_eq!(status["phase"], phase, "{status:#}");
    let message = status["message"].as_str().unwrap();
    assert!(message.contains(said), "{message}");
}

#[test]
fn a_rollout_waits_for_its_first_hook_before_any_request() {
    let (mut world, services) = hooked(&json!({"beforeRollout": [{"webhook": "http://hook/"}]}));
    set_image(&mut world, "auth:v2");
    world.pass(20);
    check(
        &world,
        "Progressing",
        "webhook before the rollout: waits for an answer",
    );
    assert_eq!(weight(&world), "0");
    let asked = services.asked("http://hook/");
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].canary_url.as_deref(),
        Some("http://auth-canary.prod.svc")
    );
    // It is asked again as long as it is undecided, and answers without anything else changing.
    services.answer("http://hook/", true, "fine");
    world.pass(3);
    assert_eq!(weight(&world), "25");
    world.pass(200);
    assert_eq!(world.status()["phase"], "Completed");
}

#[test]
fn a_job_is_made_of_a_suspended_cron_job_and_its_end_decides() {
    let (mut world, _) = hooked(&json!({"eachStep": [{"job": "smoke"}]}));
    cron_job(&mut world, true);
    set_image(&mut world, "auth:v2");
    world.pass(30);
    let made = jobs(&world);
    assert_eq!(made.len(), 1, "{made:#?}");
    let job = &made[0];
    assert_eq!(
        job["metadata"]["labels"],
        json!({"team": "shop", "haldane.dev/release": "shop"})
    );
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "shop");
    assert_eq!(job["spec"]["backoffLimit"], 0);
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 86_400);
    let deadline = job["spec"]["activeDeadlineSeconds"].as_i64().unwrap();
    assert!((290..=300).contains(&deadline), "{deadline}");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["env"],
        json!([
            {"name": "HALDANE_ROLLOUT", "value": "shop-1"},
            {"name": "HALDANE_STABLE", "value": "v1"},
            {"name": "HALDANE_CANARY", "value": "v2"},
            {"name": "HALDANE_STABLE_URL", "value": "http://auth-stable.prod.svc"},
            {"name": "HALDANE_CANARY_URL", "value": "http://auth-canary.prod.svc"},
            {"name": "TEAM", "value": "shop"},
        ])
    );
    assert_eq!(pod["initContainers"][0]["env"][0]["value"], "shop-1");
    // While it runs nothing is written.
    let writes = world.log.len();
    world.pass(100);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
    assert_eq!(weight(&world), "25");
    end_job(&mut world, &name_of(job), "Complete", "");
    world.pass(30);
    assert_eq!(weight(&world), "50");
    let second = jobs(&world)
        .into_iter()
        .find(|one| name_of(one) != name_of(job))
        .unwrap();
    end_job(
        &mut world,
        &name_of(&second),
        "Failed",
        "Job has reached the specified backoff limit",
    );
    world.pass(30);
    check(
        &world,
        "RolledBack",
        "failed: Job has reached the specified backoff limit",
    );
    assert_eq!(jobs(&world).len(), 2);
    assert_eq!(
        world.status()["record"]
            .as_str()
            .unwrap()
            .matches(r#""jobs""#)
            .count(),
        0
    );
}

#[test]
fn what_a_job_waits_for_is_told_until_the_time_is_over() {
    let hook = json!({"beforeRollout": [{"job": "smoke", "timeout": "2m"}]});
    let (mut world, _) = hooked(&hook);
    set_image(&mut world, "auth:v2");
    world.pass(20);
    check(
        &world,
        "Progressing",
        "job before the rollout: CronJob smoke does not exist",
    );
    cron_job(&mut world, false);
    world.pass(20);
    check(&world, "Progressing", "CronJob smoke is not suspended");
    assert_eq!(jobs(&world).len(), 0);
    world.pass(90);
    check(
        &world,
        "RolledBack",
        "no answer in time: CronJob smoke is not suspended",
    );
    command(&mut world, "1", &json!({"name": "retry"}));
    world.pass(20);
    cron_job(&mut world, true);
    world.pass(5);
    let made = jobs(&world);
    assert_eq!(made.len(), 1);
    end_job(&mut world, &name_of(&made[0]), "Complete", "");
    world.pass(10);
    assert_eq!(weight(&world), "25");
}

#[test]
fn nobody_waits_for_a_job_on_abort_and_it_ends() {
    let (mut world, _) = hooked(&json!({"eachStep": [{"job": "smoke"}]}));
    cron_job(&mut world, true);
    set_image(&mut world, "auth:v2");
    world.pass(30);
    assert_eq!(jobs(&world).len(), 1);
    command(&mut world, "1", &json!({"name": "abort"}));
    world.settle();
    assert_eq!(weight(&world), "0");
    world.pass(30);
    check(&world, "RolledBack", "aborted by");
    assert_eq!(jobs(&world).len(), 0, "{:#?}", world.log);
}

#[test]
fn hooks_after_a_rollback_are_told_one_after_another() {
    let hooks = json!({"afterRollback": [{"webhook": "http://first/"}, {"job": "smoke"}, {"name": "last", "webhook": "http://last/", "timeout": "1m"}]});
    let (mut world, services) = hooked(&hooks);
    cron_job(&mut world, true);
    set_image(&mut world, "auth:v2");
    world.pass(10);
    assert!(services.asked("http://first/").is_empty());
    command(&mut world, "1", &json!({"name": "abort", "by": "ann"}));
    world.pass(15);
    assert_eq!(world.status()["phase"], "RolledBack");
    let asked = services.asked("http://first/");
    let why = asked[0].why.as_deref().unwrap();
    assert!(why.contains("aborted by ann"), "{why}");
    assert_eq!(jobs(&world).len(), 0);
    services.answer("http://first/", false, "nobody there");
    world.pass(3);
    let made = jobs(&world);
    assert_eq!(made.len(), 1);
    end_job(&mut world, &name_of(&made[0]), "Complete", "");
    world.pass(3);
    assert_eq!(services.asked("http://last/").len(), 1);
    world.pass(90);
    check(
        &world,
        "RolledBack",
        "; webhook after a rollback: nobody there; job after a rollback: Job shop-1-",
    );
    check(&world, "RolledBack", "completed; last: no answer in time");
    let told = world
        .events
        .iter()
        .filter(|event| event.reason == "AfterRollback");
    let warnings: Vec<bool> = told.map(|event| event.is_warning).collect();
    assert_eq!(warnings, [true, false, true]);
    // It is over: nothing is written or told any more.
    let writes = world.log.len();
    world.pass(600);
    assert_eq!(world.log.len(), writes, "{:#?}", &world.log[writes..]);
}

#[test]
fn a_new_rollout_does_not_wait_for_who_is_told_of_the_last_one() {
    let hooks = json!({"afterRollback": [{"webhook": "http://told/"}], "beforeRollout": [{"webhook": "http://first/"}]});
    let (mut world, services) = hooked(&hooks);
    set_image(&mut world, "auth:v2");
    world.pass(10);
    services.answer("http://first/", false, "no");
    world.pass(20);
    assert_eq!(services.asked("http://told/").len(), 1);
    set_image(&mut world, "auth:v3");
    world.pass(10);
    check(
        &world,
        "Progressing",
        "webhook before the rollout: waits for an answer",
    );
    services.answer("http://told/", true, "noted");
    services.answer("http://first/", true, "fine");
    world.pass(5);
    assert_eq!(weight(&world), "25");
    let history = world.status()["history"].as_array().unwrap();
    let past = history[0]["message"].as_str().unwrap();
    assert!(
        past.ends_with("; webhook after a rollback: noted"),
        "{past}"
    );
}

#[test]
fn jobs_are_the_same_however_often_the_host_dies() {
    let hooks = json!({"eachStep": [{"job": "smoke"}], "afterRollback": [{"job": "smoke"}]});
    for writes in 0..40 {
        let (mut world, _) = hooked(&hooks);
        cron_job(&mut world, true);
        world.writes_left = Some(writes);
        set_image(&mut world, "auth:v2");
        // A hold whose beginning was not kept yet begins anew.
        world.pass(45);
        let made = jobs(&world);
        assert_eq!(made.len(), 1, "after {writes} writes: {:#?}", world.log);
        end_job(&mut world, &name_of(&made[0]), "Failed", "because");
        world.pass(30);
        let told = jobs(&world)
            .into_iter()
            .find(|one| name_of(one) != name_of(&made[0]))
            .unwrap_or_else(|| panic!("after {writes} writes: {:#?}", world.log));
        assert_eq!(
            jobs(&world).len(),
            2,
            "after {writes} writes: {:#?}",
            world.log
        );
        end_job(&mut world, &name_of(&told), "Complete", "");
        world.pass(30);
        check(
            &world,
            "RolledBack",
            "because; job after a rollback: Job shop-1-",
        );
        if world.deaths == 0 {
            assert!(writes > 5);
            return;
        }
    }
    panic!("the host wrote more than expected");
}

#[test]
fn a_job_of_somebody_else_is_not_believed() {
    let (mut world, _) = hooked(&json!({"eachStep": [{"job": "smoke"}]}));
    cron_job(&mut world, true);
    set_image(&mut world, "auth:v2");
    world.pass(30);
    let name = name_of(&jobs(&world)[0]);
    world.delete(&JOB, &name);
    let forged = json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}});
    world.apply(&JOB, &name, forged);
    world.pass(10);
    check(&world, "Progressing", "that is not of this Release");
    assert_eq!(weight(&world), "25");
    world.host = silent();
    world.pass(400);
    check(&world, "RolledBack", "no answer in time");
    assert_eq!(
        world
            .objects
            .keys()
            .filter(|one| one.namespace == NS && one.name == name)
            .count(),
        1
    );
}
