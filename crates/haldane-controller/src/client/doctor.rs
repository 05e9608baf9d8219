//! What may keep Haldane from working in a cluster, and what to do about it.

use haldane_api::release::{Condition, GROUP, Spec, VERSION};
use haldane_core::plan::{Ask, Plan, Step};
use haldane_router::ObjectRef;
use jiff::Timestamp;
use k8s_openapi::api::{
    authorization::v1::{
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
        SubjectAccessReview, SubjectAccessReviewSpec,
    },
    coordination::v1::Lease,
    core::v1::ServiceAccount,
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::Value;

use super::{Cluster, ClusterError, Result, terminal::carrier_of};
use crate::release::Release;

/// The namespace that Haldane is installed in.
const HOME: &str = "haldane";

/// The account that the controller has there.
const ACCOUNT: &str = "haldane";

/// What controllers lead by.
const LEASES: &str = "leases";

/// A right: API group, resource (and subresource after a slash) and verbs.
type Need = (&'static str, &'static str, &'static [&'static str]);

const SEE: &[&str] = &["list", "watch"];
const CHANGE: &[&str] = &["list", "watch", "patch"];
const MAKE: &[&str] = &["list", "watch", "create", "patch", "delete"];

/// What the command line needs.
const OF_PERSON: [Need; 4] = [
    (GROUP, "releases", &["get", "list", "watch", "patch"]),
    ("apps", "deployments", SEE),
    ("apps", "replicasets", SEE),
    ("", "pods", SEE),
];

/// What a rollout from a terminal needs, whatever the router.
const OF_TERMINAL: [Need; 7] = [
    ("apps", "deployments", CHANGE),
    ("apps", "replicasets", SEE),
    ("", "pods", SEE),
    ("", "services", SEE),
    ("discovery.k8s.io", "endpointslices", SEE),
    ("", "events", &["create"]),
    ("coordination.k8s.io", LEASES, &["get", "create", "patch"]),
];

/// What it needs, too, where a canary is made: of one Deployment.
const OF_MAKER: [Need; 2] = [
    ("apps", "deployments", &["create", "delete"]),
    ("", "services", &["create", "patch", "delete"]),
];

/// What the controller needs, whatever the release.
const OF_CONTROLLER: [Need; 9] = [
    (GROUP, "releases", &["get", "list", "watch"]),
    (GROUP, "releases/status", &["patch"]),
    ("apps", "deployments", MAKE),
    ("apps", "replicasets", SEE),
    ("", "pods", SEE),
    ("", "services", MAKE),
    ("discovery.k8s.io", "endpointslices", SEE),
    ("", "events", &["create"]),
    ("coordination.k8s.io", LEASES, &["get", "create", "update"]),
];

/// What it needs, too, where StatefulSets are rolled out.
const OF_SETS: [Need; 3] = [
    ("apps", "statefulsets", CHANGE),
    ("apps", "controllerrevisions", SEE),
    ("", "pods", &["delete"]),
];

/// What it needs, too, where gates are Jobs.
const OF_JOBS: [Need; 2] = [
    ("batch", "cronjobs", SEE),
    ("batch", "jobs", &["list", "watch", "create", "delete"]),
];

/// The result of one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// How it went.
    pub health: Health,
    /// What was looked at.
    pub what: &'static str,
    /// What was found, and what to do where it is not well.
    pub text: String,
}

/// How a look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Good,
    /// Worth a look.
    Doubtful,
    /// It keeps Haldane from working.
    Bad,
}

/// Whose rights are looked at.
#[derive(Clone, Copy, Debug)]
enum Who {
    Me,
    Controller,
}

impl Check {
    fn new(health: Health, what: &'static str, text: impl Into<String>) -> Self {
        Self {
            health,
            what,
            text: text.into(),
        }
    }
}

impl Cluster {
    /// Looks at everything that Haldane needs, in one namespace or in all of them.
    pub async fn doctor(&self, namespace: Option<&str>) -> Vec<Check> {
        let version = self.call(self.client.apiserver_version()).await;
        let mut checks = vec![match &version {
            Ok(version) => Check::new(
                Health::Good,
                "API server",
                format!("{} at {}", version.git_version, self.url),
            ),
            Err(error) => Check::new(Health::Bad, "API server", error.to_string()),
        }];
        if version.is_err() {
            return checks;
        }
        checks.push(of_definition(self.definition().await));
        let mine = self.rights("your rights", Who::Me, &OF_PERSON, namespace);
        checks.push(mine.await);
        checks.push(self.rights_of_terminal(namespace).await);
        let of_controller = self.rights_of_controller(namespace).await;
        let can_tell = of_controller.health == Health::Good;
        checks.push(of_controller);
        let leases = self.leases().await;
        checks.push(of_leases(&leases, (self.clock)()));
        match self.releases(namespace).await {
            Ok(releases) => {
                for release in &releases {
                    checks.push(self.of_release(release, can_tell).await);
                }
                if releases.is_empty() {
                    let text = format!(
                        "none {}; -n names another namespace, -A takes all",
                        place(namespace)
                    );
                    checks.push(Check::new(Health::Good, "releases", text));
                }
            }
            Err(error) => checks.push(Check::new(Health::Bad, "releases", error.to_string())),
        }
        checks
    }

    /// Looks at what a rollout from this terminal needs: rights, routes, and a stable version that is well.
    ///
    /// # Errors
    /// When the cluster can't be asked.
    pub async fn preflight(&self, namespace: &str, spec: &Spec) -> Result<Vec<Check>> {
        let mut bad = Vec::new();
        let objects = routes_of(spec, namespace, &mut bad);
        let mut needs = OF_TERMINAL.to_vec();
        if spec.workload.deployment.is_some() {
            needs.extend(OF_MAKER);
        }
        needs.extend(needs_of(spec, spec.to_plan().as_ref().ok(), &objects));
        let mut checks = vec![
            self.rights("rights", Who::Me, &needs, Some(namespace))
                .await,
        ];
        for object in objects {
            if !self.is_there(&object).await? {
                bad.push(format!("{object} does not exist"));
            }
        }
        checks.push(match (bad.as_slice(), spec.routers.as_slice()) {
            ([], []) => Check::new(
                Health::Good,
                "route",
                "none: the numbers of pods split the traffic",
            ),
            ([], [_, ..]) => Check::new(Health::Good, "route", "there"),
            (bad, _) => Check::new(Health::Bad, "route", bad.join("; ")),
        });
        checks.push(self.of_stable(namespace, spec).await?);
        Ok(checks)
    }

    /// Looks whether the version that serves is well: against a sick one nothing can be judged.
    async fn of_stable(&self, namespace: &str, spec: &Spec) -> Result<Check> {
        const WHAT: &str = "stable";
        let Ok(target) = carrier_of(spec, namespace) else {
            return Ok(Check::new(Health::Bad, WHAT, "no workload is named"));
        };
        let object = self.need(&target).await?;
        let count = |pointer| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let (wanted, ready) = (count("/spec/replicas"), count("/status/readyReplicas"));
        let (health, rest) = match ready {
            0 => (
                Health::Bad,
                "; nobody serves, so there is nothing to compare with",
            ),
            ready if ready < wanted => (Health::Doubtful, ""),
            _ => (Health::Good, ""),
        };
        let text = format!("{target}: {ready} of {wanted} replicas are ready{rest}");
        Ok(Check::new(health, WHAT, text))
    }

    /// Returns the versions of Releases that the cluster serves.
    async fn definition(&self) -> Result<Vec<String>> {
        let groups = self.call(self.client.list_api_groups()).await?;
        let ours = groups.groups.into_iter().find(|group| group.name == GROUP);
        let mut served = Vec::new();
        for version in ours.into_iter().flat_map(|group| group.versions) {
            let resources = self.client.list_api_group_resources(&version.group_version);
            let resources = self.call(resources).await?.resources;
            if resources.iter().any(|one| one.name == "releases") {
                served.push(version.version);
            }
        }
        Ok(served)
    }

    async fn rights_of_controller(&self, namespace: Option<&str>) -> Check {
        const WHAT: &str = "controller's rights";
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), HOME);
        match self.call(accounts.get_opt(ACCOUNT)).await {
            Ok(Some(_)) => {
                let needs = self.rights(WHAT, Who::Controller, &OF_CONTROLLER, namespace);
                needs.await
            }
            Ok(None) => {
                let text =
                    format!("no account {ACCOUNT} in namespace {HOME}: is Haldane installed?");
                Check::new(Health::Doubtful, WHAT, text)
            }
            Err(error) => Check::new(Health::Doubtful, WHAT, format!("can't be told: {error}")),
        }
    }

    /// Who has none of these rights can still command a controller.
    async fn rights_of_terminal(&self, namespace: Option<&str>) -> Check {
        const WHAT: &str = "rights of a terminal";
        let needs = [OF_TERMINAL.as_slice(), &OF_MAKER].concat();
        let found = self.rights(WHAT, Who::Me, &needs, namespace).await;
        if found.health == Health::Good {
            return found;
        }
        let text = format!("{}; a rollout without a controller needs them", found.text);
        Check::new(Health::Doubtful, WHAT, text)
    }

    async fn rights(
        &self,
        what: &'static str,
        who: Who,
        needs: &[Need],
        namespace: Option<&str>,
    ) -> Check {
        let place = place(namespace);
        match self.lacks(who, needs, namespace).await {
            Ok(missing) if missing.is_empty() => {
                Check::new(Health::Good, what, format!("complete {place}"))
            }
            Ok(missing) => {
                let missing = missing.join(", ");
                let text = format!("missing {place}: {missing}; ask an administrator for them");
                Check::new(Health::Bad, what, text)
            }
            Err(error) => Check::new(Health::Doubtful, what, format!("can't be told: {error}")),
        }
    }

    /// Returns the rights that somebody lacks: `patch deployments`.
    async fn lacks(
        &self,
        who: Who,
        needs: &[Need],
        namespace: Option<&str>,
    ) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for (group, resource, verbs) in needs {
            // The controller's lease is at home, whatever it looks after.
            let is_at_home = *resource == LEASES && matches!(who, Who::Controller);
            let namespace = if is_at_home { Some(HOME) } else { namespace };
            for verb in *verbs {
                let wanted = attributes(group, resource, verb, namespace);
                if !self.may(who, wanted).await? {
                    missing.push(format!("{verb} {resource}"));
                }
            }
        }
        Ok(missing)
    }

    async fn may(&self, who: Who, wanted: ResourceAttributes) -> Result<bool> {
        let params = PostParams::default();
        let status = match who {
            Who::Me => {
                let review = SelfSubjectAccessReview {
                    spec: SelfSubjectAccessReviewSpec {
                        resource_attributes: Some(wanted),
                        non_resource_attributes: None,
                    },
                    ..SelfSubjectAccessReview::default()
                };
                let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
                self.call(api.create(&params, &review)).await?.status
            }
            Who::Controller => {
                let review = SubjectAccessReview {
                    spec: SubjectAccessReviewSpec {
                        resource_attributes: Some(wanted),
                        user: Some(format!("system:serviceaccount:{HOME}:{ACCOUNT}")),
                        groups: Some(vec![
                            "system:serviceaccounts".to_owned(),
                            format!("system:serviceaccounts:{HOME}"),
                            "system:authenticated".to_owned(),
                        ]),
                        ..SubjectAccessReviewSpec::default()
                    },
                    ..SubjectAccessReview::default()
                };
                let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
                self.call(api.create(&params, &review)).await?.status
            }
        };
        Ok(status.is_some_and(|status| status.allowed))
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), HOME);
        Ok(self.call(api.list(&ListParams::default())).await?.items)
    }

    /// Looks at one release, and at what the controller may do for it where its rights can be told.
    async fn of_release(&self, release: &Release, can_tell: bool) -> Check {
        let name = format!("{}/{}", release.namespace, release.name);
        let mut bad = release.problems.clone();
        let plan = release.spec.to_plan();
        if let Err(problems) = &plan {
            bad.extend(
                problems
                    .iter()
                    .map(|one| format!("{}: {}", one.path, one.message)),
            );
        }
        let objects = routes_of(&release.spec, &release.namespace, &mut bad);
        if can_tell {
            let needs = needs_of(&release.spec, plan.as_ref().ok(), &objects);
            let namespace = Some(release.namespace.as_str());
            match self.lacks(Who::Controller, &needs, namespace).await {
                Ok(missing) if missing.is_empty() => {}
                Ok(missing) => bad.push(format!(
                    "the controller lacks rights: {}; set the chart's `routers`, `workloads` and `gates`",
                    missing.join(", ")
                )),
                Err(error) => bad.push(format!("the controller's rights can't be told: {error}")),
            }
        }
        for object in objects {
            match self.is_there(&object).await {
                Ok(true) => {}
                Ok(false) => bad.push(format!(
                    "{object} does not exist; create it, or mend `routers`"
                )),
                Err(error) => bad.push(format!("{object}: {error}")),
            }
        }
        if !bad.is_empty() {
            return Check::new(
                Health::Bad,
                "release",
                format!("{name}: {}", bad.join("; ")),
            );
        }
        of_conditions(&name, release)
    }

    pub(super) async fn is_there(&self, object: &ObjectRef) -> Result<bool> {
        let api = self.api(object.kind, Some(&object.namespace));
        match self.call(api.get_opt(&object.name)).await {
            Ok(found) => Ok(found.is_some()),
            Err(ClusterError::NoDefinition) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns the objects that a release's routers need.
fn routes_of(spec: &Spec, namespace: &str, bad: &mut Vec<String>) -> Vec<ObjectRef> {
    let mut objects = Vec::new();
    for (index, route) in spec.routers.iter().enumerate() {
        match route.router() {
            Ok(router) => objects.extend(router.objects(namespace)),
            Err(error) => bad.push(format!("routers[{index}]: {error}")),
        }
    }
    objects
}

/// Returns what the controller needs for a release, beside what it needs for any.
fn needs_of(spec: &Spec, plan: Option<&Plan>, objects: &[ObjectRef]) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    for object in objects {
        let need = (object.kind.group, object.kind.plural, CHANGE);
        if !needs.contains(&need) {
            needs.push(need);
        }
    }
    if spec.workload.stateful_set.is_some() {
        needs.extend(OF_SETS);
    }
    let has_job = |plan: &Plan| {
        let steps = plan.steps().iter();
        let gates = steps.filter_map(|step| match step {
            Step::Gate(gate) => Some(gate),
            Step::SetWeight(_)
            | Step::TestTraffic
            | Step::Hold(_)
            | Step::ScaleCanary(_)
            | Step::Analysis(_)
            | Step::Experiment(_)
            | Step::HeaderRoute(_)
            | Step::Mirror(_) => None,
        });
        gates
            .chain(&plan.rules().after_rollback)
            .any(|gate| matches!(gate.ask, Ask::Job { .. }))
    };
    if plan.is_some_and(has_job) {
        needs.extend(OF_JOBS);
    }
    needs
}

fn attributes(
    group: &str,
    resource: &str,
    verb: &str,
    namespace: Option<&str>,
) -> ResourceAttributes {
    let (resource, subresource) = resource
        .split_once('/')
        .map_or((resource, None), |(resource, sub)| (resource, Some(sub)));
    ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(
        || "in the whole cluster".to_owned(),
        |namespace| format!("in namespace {namespace}"),
    )
}

fn of_definition(served: Result<Vec<String>>) -> Check {
    let check = |health, text| Check::new(health, "definitions", text);
    match served {
        Ok(served) if served.iter().any(|version| version == VERSION) => {
            check(Health::Good, format!("{GROUP}/{VERSION} is served"))
        }
        Ok(served) if served.is_empty() => {
            check(Health::Bad, ClusterError::NoDefinition.to_string())
        }
        Ok(served) => check(
            Health::Bad,
            format!(
                "the cluster serves {GROUP}/{}, this command needs {VERSION}; install the definitions of this release",
                served.join(", ")
            ),
        ),
        Err(error) => check(Health::Bad, error.to_string()),
    }
}

fn of_leases(leases: &Result<Vec<Lease>>, now: Timestamp) -> Check {
    let check = |health, text| Check::new(health, "controller", text);
    let leases = match leases {
        Ok(leases) => leases,
        Err(error) => {
            return check(
                Health::Doubtful,
                format!("it can't be told whether one runs: {error}"),
            );
        }
    };
    let newest = leases
        .iter()
        .filter_map(|lease| {
            let spec = lease.spec.as_ref()?;
            let holder = spec
                .holder_identity
                .as_deref()
                .filter(|name| !name.is_empty())?;
            let seconds = spec.lease_duration_seconds.unwrap_or(15);
            Some((spec.renew_time.as_ref()?.0, holder, seconds))
        })
        .max();
    let Some((renewed, holder, seconds)) = newest else {
        let text = format!(
            "none leads: no lease in namespace {HOME} is held; install one, or look at its pods with `kubectl get pods -n {HOME}`"
        );
        return check(Health::Bad, text);
    };
    let age = now.duration_since(renewed).as_secs().max(0);
    if age > i64::from(seconds) {
        let text = format!(
            "{holder} has not been heard of for {age} s; look at its pods with `kubectl get pods -n {HOME}`"
        );
        return check(Health::Bad, text);
    }
    check(
        Health::Good,
        format!("{holder} leads, heard of {age} s ago"),
    )
}

fn of_conditions(name: &str, release: &Release) -> Check {
    let bad = |one: &&Condition| match one.r#type.as_str() {
        "Stalled" => one.status == "True",
        "Applied" | "Valid" => one.status == "False",
        _ => false,
    };
    let all = release.status.conditions.iter();
    let bad: Vec<String> = all
        .filter(bad)
        .map(|one| format!("{} ({})", one.message, one.reason))
        .collect();
    if !bad.is_empty() {
        return Check::new(
            Health::Bad,
            "release",
            format!("{name}: {}", bad.join("; ")),
        );
    }
    if release.status.observed_generation.is_none() {
        let text = format!("{name}: no controller has looked at it yet; see `controller` above");
        return Check::new(Health::Doubtful, "release", text);
    }
    Check::new(
        Health::Good,
        "release",
        format!("{name}: {}", release.status.phase),
    )
}

#[cfg(test)]
mod tests;
