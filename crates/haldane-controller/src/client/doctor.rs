//! What may keep Haldane from working in a cluster, and what to do about it.

use haldane_api::release::{Condition, GROUP, VERSION};
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

use super::{Cluster, ClusterError, Result};
use crate::release::Release;

/// The namespace that Haldane is installed in.
const HOME: &str = "haldane";

/// The account that the controller has there.
const ACCOUNT: &str = "haldane";

/// What controllers lead by.
const LEASES: &str = "leases";

/// What the command line needs: API group, resource and verbs.
const OF_PERSON: [(&str, &str, &[&str]); 4] = [
    (GROUP, "releases", &["get", "list", "watch", "patch"]),
    ("apps", "deployments", &["list", "watch"]),
    ("apps", "replicasets", &["list", "watch"]),
    ("", "pods", &["list", "watch"]),
];

/// What the controller needs, whatever the router.
const OF_CONTROLLER: [(&str, &str, &[&str]); 8] = [
    (GROUP, "releases", &["get", "list", "watch"]),
    (GROUP, "releases/status", &["patch"]),
    (
        "apps",
        "deployments",
        &["list", "watch", "create", "patch", "delete"],
    ),
    ("apps", "replicasets", &["list", "watch"]),
    ("", "pods", &["list", "watch"]),
    (
        "",
        "services",
        &["list", "watch", "create", "patch", "delete"],
    ),
    ("", "events", &["create"]),
    ("coordination.k8s.io", LEASES, &["get", "create", "update"]),
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
        checks.push(self.rights("your rights", Who::Me, namespace).await);
        checks.push(self.rights_of_controller(namespace).await);
        let leases = self.leases().await;
        checks.push(of_leases(&leases, (self.clock)()));
        match self.releases(namespace).await {
            Ok(releases) => {
                for release in &releases {
                    checks.push(self.of_release(release).await);
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
            Ok(Some(_)) => self.rights(WHAT, Who::Controller, namespace).await,
            Ok(None) => {
                let text =
                    format!("no account {ACCOUNT} in namespace {HOME}: is Haldane installed?");
                Check::new(Health::Doubtful, WHAT, text)
            }
            Err(error) => Check::new(Health::Doubtful, WHAT, format!("can't be told: {error}")),
        }
    }

    async fn rights(&self, what: &'static str, who: Who, namespace: Option<&str>) -> Check {
        let mut missing = Vec::new();
        for (group, resource, verbs) in who.needs() {
            // The lease is at home, whatever the controller looks after.
            let namespace = if *resource == LEASES {
                Some(HOME)
            } else {
                namespace
            };
            for verb in *verbs {
                let wanted = attributes(group, resource, verb, namespace);
                match self.may(who, wanted).await {
                    Ok(true) => {}
                    Ok(false) => missing.push(format!("{verb} {resource}")),
                    Err(error) => {
                        return Check::new(
                            Health::Doubtful,
                            what,
                            format!("can't be told: {error}"),
                        );
                    }
                }
            }
        }
        let place = place(namespace);
        if missing.is_empty() {
            return Check::new(Health::Good, what, format!("complete {place}"));
        }
        let text = format!(
            "missing {place}: {}; ask an administrator for them",
            missing.join(", ")
        );
        Check::new(Health::Bad, what, text)
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

    async fn of_release(&self, release: &Release) -> Check {
        let name = format!("{}/{}", release.namespace, release.name);
        let mut bad = release.problems.clone();
        if let Err(problems) = release.spec.to_plan() {
            bad.extend(
                problems
                    .iter()
                    .map(|one| format!("{}: {}", one.path, one.message)),
            );
        }
        for object in routed(release, &mut bad) {
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
fn routed(release: &Release, bad: &mut Vec<String>) -> Vec<ObjectRef> {
    let mut objects = Vec::new();
    for (index, route) in release.spec.routers.iter().enumerate() {
        match route.router() {
            Ok(router) => objects.extend(router.objects(&release.namespace)),
            Err(error) => bad.push(format!("routers[{index}]: {error}")),
        }
    }
    objects
}

impl Who {
    /// Returns what is needed: API group, resource and verbs.
    const fn needs(self) -> &'static [(&'static str, &'static str, &'static [&'static str])] {
        match self {
            Self::Me => &OF_PERSON,
            Self::Controller => &OF_CONTROLLER,
        }
    }
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
