//! Rollouts from a terminal: what is to be rolled out is noted on the workload, from which any terminal goes on.

use std::time::Duration;

use haldane_api::{
    http::CommandRequest,
    release::{
        COMMAND_ANNOTATION, Image, Spec, Stage, Status, TERMINAL_ANNOTATION,
        TERMINAL_STATUS_ANNOTATION, Terminal, mark,
    },
};
use haldane_core::ServiceName;
use haldane_router::{Kind, ObjectRef};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Cluster, ClusterError, Result, is_without, steer::FIELD_MANAGER, to_value};
use crate::{
    carrier::{ANNOTATIONS_BYTES_MAX, Carrier, KINDS, annotation, annotations_bytes, containers},
    host::{first_record, had},
    kinds::{DEPLOYMENT, RELEASE},
    turn::Key,
};

/// How long a lease is looked at to see whether it is renewed: twice as long as it takes between two renewals.
const RENEWALS: Duration = Duration::from_secs(4);

/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// What a person wants rolled out from a terminal.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What the release is called.
    pub name: ServiceName,
    /// How; none means as the last time, and the first time the Deployment of that name by the default plan.
    pub spec: Option<Spec>,
    /// The plan, where another one than the spec's is wanted.
    pub rollout: Option<Value>,
    /// The image on trial; none where the canary of a pair has its image already.
    pub image: Option<String>,
    /// Who wants it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// The container that gets it; none means the only one, or the one with an image of that name.
    pub container: Option<String>,
}

/// A release that is kept on a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The release's name.
    pub name: ServiceName,
    /// The workload.
    pub target: ObjectRef,
    /// How far it is.
    pub stage: Stage,
    /// Whether a rollout goes on.
    pub is_live: bool,
}

/// Who looks after a release from a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Machine and process.
    pub identity: String,
    /// When it said so last, by its own clock.
    pub renewed: Option<Timestamp>,
}

/// Why nothing can be rolled out from a terminal.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// The cluster's reason.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A controller has it.
    #[error(
        "Release {0} looks after it: change the workload's image, as by `kubectl set image`, and steer with the usual commands"
    )]
    Release(String),
    /// A Release has the workload.
    #[error(
        "{target} belongs to Release {release}: change the image, as by `kubectl set image`, and steer that Release"
    )]
    Claimed {
        /// The workload.
        target: ObjectRef,
        /// Whose it is.
        release: String,
    },
    /// It was begun already.
    #[error(
        "{0} is being rolled out already: `haldane resume {0} --kube` goes on with it, `haldane abort {0} --kube` ends it"
    )]
    GoesOn(ServiceName),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
}

impl Cluster {
    /// Returns where a release is kept that has no object of its own, if one of this name is.
    ///
    /// # Errors
    /// When the workloads can't be read.
    pub async fn carried(&self, namespace: &str, name: &ServiceName) -> Result<Option<Carried>> {
        let found = self.carrier(namespace, name).await?;
        Ok(found.map(|carrier| carrier.carried(name)))
    }

    /// Notes on a workload what is to be rolled out; `None` where that serves already.
    ///
    /// # Errors
    /// When it can't be, or must not be.
    pub async fn prepare(
        &self,
        namespace: &str,
        wanted: &Wanted,
    ) -> Result<Option<Carried>, TerminalError> {
        if self.has_release(namespace, &wanted.name).await? {
            return Err(TerminalError::Release(format!(
                "{namespace}/{}",
                wanted.name
            )));
        }
        let before = self.carrier(namespace, &wanted.name).await?;
        if before
            .as_ref()
            .is_some_and(|one| one.terminal.stage != Stage::Over)
        {
            return Err(TerminalError::GoesOn(wanted.name.clone()));
        }
        let spec = wanted.spec(before.as_ref())?;
        let target = carrier_of(&spec, namespace)?;
        let object = self.need(&target).await?;
        check_claims(&target, &object, &wanted.name)?;
        self.check_releases(namespace, &wanted.name, &spec).await?;
        self.check_routes(&spec, namespace).await?;
        let trial = match spec.workload.pairs.as_slice() {
            [pair] => Some(
                self.need(&DEPLOYMENT.named(namespace, &pair.canary))
                    .await?,
            ),
            [] => None,
            [_, _, ..] if wanted.image.is_none() => None,
            [_, _, ..] => {
                let text = "several pairs have several images: set those of their canaries first, and leave IMAGE out";
                return Err(TerminalError::Usage(text.to_owned()));
            }
        };
        let image = match &wanted.image {
            Some(image) => Some(wanted.trial(image, trial.as_ref().unwrap_or(&object))?),
            None if spec.workload.pairs.is_empty() => {
                let text =
                    "IMAGE is missing; expected the image that is to be tried, such as shop:v2";
                return Err(TerminalError::Usage(text.to_owned()));
            }
            None => None,
        };
        let is_same = image
            .as_ref()
            .is_some_and(|image| crate::carrier::has_image(&object, image));
        if is_same {
            return Ok(None);
        }
        let stage = match &image {
            Some(_) => Stage::Holding,
            None => Stage::Going,
        };
        let terminal = Terminal {
            name: wanted.name.to_string(),
            spec,
            image,
            by: wanted.by.clone(),
            reason: wanted.reason.clone(),
            stage,
        };
        self.note(&target, &object, &terminal).await?;
        Ok(Some(Carried {
            name: wanted.name.clone(),
            target,
            stage,
            is_live: false,
        }))
    }

    /// Ends a release that is kept on a workload before its rollout has begun.
    ///
    /// # Errors
    /// When that can't be written.
    pub async fn give_up(&self, carried: &Carried) -> Result<()> {
        let object = self.need(&carried.target).await?;
        let version = object.pointer("/metadata/resourceVersion").cloned();
        let Some(Ok(carrier)) = Carrier::read(carried.target.kind, object) else {
            return Ok(());
        };
        let terminal = Terminal {
            stage: Stage::Leaving,
            ..carrier.terminal
        };
        let text = serde_json::to_string(&terminal).unwrap_or_default();
        let annotations = json!({TERMINAL_ANNOTATION: text});
        self.annotate(&carried.target, &annotations, version).await
    }

    /// Gives a command to whoever goes on with a release next.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn annotate_command(
        &self,
        carried: &Carried,
        request: &CommandRequest,
    ) -> Result<()> {
        let text = self.note_text(request)?.1;
        let annotations = json!({COMMAND_ANNOTATION: text});
        self.annotate(&carried.target, &annotations, None).await
    }

    /// Returns who looks after a release from a terminal, or did last without saying that it is done.
    ///
    /// # Errors
    /// When the lease can't be read.
    pub async fn holder(&self, namespace: &str, name: &ServiceName) -> Result<Option<Holder>> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let lease = self.call(api.get_opt(&lease_name(name))).await?;
        let spec = lease.and_then(|lease| lease.spec);
        let holder = spec.and_then(|spec| {
            let identity = spec.holder_identity.filter(|name| !name.is_empty())?;
            let renewed = spec.renew_time.map(|time| time.0);
            Some(Holder { identity, renewed })
        });
        Ok(holder)
    }

    /// Whether a terminal looks after a release now: it renews its lease all the time, so that it must be looked at for a while.
    ///
    /// # Errors
    /// When the lease can't be read.
    pub async fn is_attended(&self, namespace: &str, name: &ServiceName) -> Result<bool> {
        let Some(first) = self.holder(namespace, name).await? else {
            return Ok(false);
        };
        let end = Instant::now() + RENEWALS;
        while Instant::now() < end {
            sleep(LOOK).await;
            match self.holder(namespace, name).await? {
                Some(now) if now == first => {}
                Some(_) => return Ok(true),
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Whether there is a Release of this name; who may not look is told that there is none.
    ///
    /// # Errors
    /// When that can't be told.
    pub async fn has_release(&self, namespace: &str, name: &ServiceName) -> Result<bool> {
        let api = self.api(&RELEASE, Some(namespace));
        match self.call(api.get_opt(name.as_str())).await {
            Ok(found) => Ok(found.is_some()),
            Err(ClusterError::NoDefinition | ClusterError::Forbidden(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the workload that carries the release of this name, if one does.
    pub(super) async fn carrier(
        &self,
        namespace: &str,
        name: &ServiceName,
    ) -> Result<Option<Carrier>> {
        let all = self.carriers(Some(namespace)).await?;
        let mut all = all.into_iter();
        Ok(all.find(|carrier| carrier.terminal.name == name.as_str()))
    }

    /// Returns the workloads that carry releases; those whose annotation can't be read are left out.
    pub(super) async fn carriers(&self, namespace: Option<&str>) -> Result<Vec<Carrier>> {
        let mut found = Vec::new();
        for kind in KINDS {
            let listed = match self.list(kind, namespace).await {
                Ok(listed) => listed,
                // Who may not see StatefulSets can have Deployments.
                Err(ClusterError::Forbidden(_)) if *kind != DEPLOYMENT => continue,
                Err(error) => return Err(error),
            };
            let read = listed
                .into_iter()
                .filter_map(|one| Carrier::read(kind, one)?.ok());
            found.extend(read);
        }
        Ok(found)
    }

    /// Refuses what a Release has; who may not see Releases is told of none.
    async fn check_releases(
        &self,
        namespace: &str,
        name: &ServiceName,
        spec: &Spec,
    ) -> Result<(), TerminalError> {
        let releases = match self.list(&RELEASE, Some(namespace)).await {
            Ok(releases) => releases,
            Err(error) if is_without(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let key = Key {
            namespace: namespace.to_owned(),
            name: name.to_string(),
        };
        had(spec, &key, releases).map_or(Ok(()), |(target, release)| {
            Err(TerminalError::Claimed { target, release })
        })
    }

    /// Refuses routes that do not exist: nobody would get the canary by them.
    async fn check_routes(&self, spec: &Spec, namespace: &str) -> Result<(), TerminalError> {
        for route in &spec.routers {
            let router = route.router();
            let router = router.map_err(|error| TerminalError::Usage(error.to_string()))?;
            for object in router.objects(namespace) {
                if !self.is_there(&object).await? {
                    return Err(TerminalError::Usage(format!("{object} does not exist")));
                }
            }
        }
        Ok(())
    }

    pub(super) async fn need(&self, target: &ObjectRef) -> Result<Value> {
        let api = self.api(target.kind, Some(&target.namespace));
        match self.call(api.get_opt(&target.name)).await? {
            Some(object) => Ok(to_value(object, target.kind)),
            None => Err(ClusterError::Other(format!("{target} does not exist"))),
        }
    }

    async fn note(
        &self,
        target: &ObjectRef,
        object: &Value,
        terminal: &Terminal,
    ) -> Result<(), TerminalError> {
        let before = Carrier::read(target.kind, object.clone());
        let before = before.and_then(std::result::Result::ok);
        let history = before.map(|carrier| carrier.status().history);
        let mut status = Status {
            history: history.unwrap_or_default(),
            ..Status::default()
        };
        status.record = Some(first_record(&status));
        let text = |result: serde_json::Result<String>| result.unwrap_or_default();
        let annotations = json!({
            TERMINAL_ANNOTATION: text(serde_json::to_string(terminal)),
            TERMINAL_STATUS_ANNOTATION: text(serde_json::to_string(&status)),
            COMMAND_ANNOTATION: null,
        });
        let own = annotations_bytes(&json!({"metadata": {"annotations": annotations}}));
        let bytes = annotations_bytes(object).saturating_add(own);
        // Half of what there is stays for what the judges remember.
        if bytes > ANNOTATIONS_BYTES_MAX / 2 {
            return Err(TerminalError::Usage(format!(
                "the annotations of {target} would have {bytes} bytes, too many to keep a rollout there: let a controller roll it out"
            )));
        }
        let version = object.pointer("/metadata/resourceVersion").cloned();
        Ok(self.annotate(target, &annotations, version).await?)
    }

    async fn annotate(
        &self,
        target: &ObjectRef,
        annotations: &Value,
        version: Option<Value>,
    ) -> Result<()> {
        let mut metadata = json!({ "annotations": annotations });
        if let (Some(map), Some(version)) = (metadata.as_object_mut(), version) {
            map.insert("resourceVersion".to_owned(), version);
        }
        let api = self.api(target.kind, Some(&target.namespace));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        self.call(api.patch(&target.name, &params, &patch)).await?;
        Ok(())
    }
}

impl Carrier {
    /// Returns what it carries, for those who only name it.
    pub(super) fn carried(&self, name: &ServiceName) -> Carried {
        Carried {
            name: name.clone(),
            target: self.target.clone(),
            stage: self.terminal.stage,
            is_live: self.is_live(),
        }
    }
}

impl Wanted {
    /// Returns how it is rolled out, from what is given and what was wanted the last time.
    fn spec(&self, before: Option<&Carrier>) -> Result<Spec, TerminalError> {
        let last = before.map(|carrier| carrier.terminal.spec.clone());
        let mut spec = match self.spec.clone().or(last) {
            Some(spec) => spec,
            None => Spec::of_deployment(self.name.as_str()),
        };
        if self.rollout.is_some() {
            spec.rollout.clone_from(&self.rollout);
        }
        let refused = [
            (
                spec.group.is_some(),
                "spec.group: a terminal rolls one release out alone; leave it out",
            ),
            (
                spec.suspend,
                "spec.suspend: nothing would be rolled out; leave it out",
            ),
        ];
        if let Some((_, text)) = refused.iter().find(|(is_given, _)| *is_given) {
            return Err(TerminalError::Usage((*text).to_owned()));
        }
        let told = |problems: Vec<haldane_api::file::Problem>| {
            let all = problems
                .iter()
                .map(|one| format!("{}: {}", one.path, one.message));
            TerminalError::Usage(all.collect::<Vec<_>>().join("; "))
        };
        let plan = spec.to_plan().map_err(told)?;
        let rules = plan.rules();
        if rules.is_judged() && rules.metrics.is_empty() && spec.requests.is_none() {
            let text = "nothing to judge by: give -f with a Release that has `requests` or `metrics`, or --skip-analysis --reason TEXT";
            return Err(TerminalError::Usage(text.to_owned()));
        }
        Ok(spec)
    }

    /// Returns the image with the container of a workload that gets it.
    pub(super) fn trial(&self, image: &str, object: &Value) -> Result<Image, TerminalError> {
        let all = containers(object);
        let of = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let names: Vec<String> = all.iter().map(|one| of(one, "name")).collect();
        let found = match (&self.container, names.as_slice()) {
            (Some(name), _) => names.iter().find(|one| *one == name).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => {
                let mut alike = all
                    .iter()
                    .filter(|one| repository(&of(one, "image")) == repository(image));
                match (alike.next(), alike.next()) {
                    (Some(one), None) => Some(of(one, "name")),
                    _ => None,
                }
            }
        };
        let container = found.ok_or_else(|| {
            TerminalError::Usage(format!(
                "which container gets {image}? give --container with one of {}",
                names.join(", ")
            ))
        })?;
        Ok(Image {
            container,
            image: image.to_owned(),
        })
    }
}

/// Returns the name of the lease by which one terminal of several looks after a release.
pub(crate) fn lease_name(name: &ServiceName) -> String {
    format!("haldane-{name}")
}

pub(super) fn carrier_of(spec: &Spec, namespace: &str) -> Result<ObjectRef, TerminalError> {
    let found = spec.workload.carrier().and_then(|(kind, name)| {
        let kind: &&Kind = KINDS.iter().find(|one| one.kind == kind)?;
        Some((*kind).named(namespace, name))
    });
    found.ok_or_else(|| {
        let text = "spec.workload: expected exactly one of deployment, pairs, statefulSet";
        TerminalError::Usage(text.to_owned())
    })
}

fn check_claims(
    target: &ObjectRef,
    object: &Value,
    name: &ServiceName,
) -> Result<(), TerminalError> {
    if let Some(Ok(other)) = Carrier::read(target.kind, object.clone())
        && other.terminal.stage != Stage::Over
    {
        let other = other.terminal.name.parse().unwrap_or_else(|_| name.clone());
        return Err(TerminalError::GoesOn(other));
    }
    match annotation(object, mark::CLAIM) {
        Some(release) => Err(TerminalError::Claimed {
            target: target.clone(),
            release: release.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Returns an image without its tag or digest.
pub(super) fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let slash = image.rfind('/').map_or(0, |at| at.saturating_add(1));
    let last = image.get(slash..).unwrap_or_default();
    let colon = last.find(':').map(|at| slash.saturating_add(at));
    colon.and_then(|at| image.get(..at)).unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(container: Option<&str>) -> Wanted {
        Wanted {
            name: "shop".parse().unwrap(),
            spec: None,
            rollout: None,
            image: None,
            by: "ann".to_owned(),
            reason: None,
            container: container.map(str::to_owned),
        }
    }

    fn trial(
        images: &[(&str, &str)],
        container: Option<&str>,
        image: &str,
    ) -> Result<String, String> {
        let containers: Vec<Value> = images
            .iter()
            .map(|(name, image)| json!({"name": name, "image": image}))
            .collect();
        let object = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let found = wanted(container).trial(image, &object);
        found
            .map(|found| found.container)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_container_is_the_only_one_or_the_one_with_that_image() {
        let two = [("web", "ghcr.io:443/a/shop:v1"), ("proxy", "envoy:1.33")];
        let check = |images: &[_], container, image, expected: &str| {
            assert_eq!(trial(images, container, image).unwrap(), expected);
        };
        check(&[("web", "a:1")], None, "b:2", "web");
        check(&two, None, "ghcr.io:443/a/shop:v2", "web");
        check(&two, None, "ghcr.io:443/a/shop@sha256:00", "web");
        check(&two, Some("proxy"), "b:2", "proxy");
        for (container, image) in [(None, "b:2"), (Some("nobody"), "envoy:2")] {
            let told = trial(&two, container, image).unwrap_err();
            assert!(told.contains("one of web, proxy"), "{told}");
        }
    }

    #[test]
    fn a_plan_that_can_not_be_followed_is_told_before_anything_is_written() {
        let told = wanted(None).spec(None).unwrap_err().to_string();
        assert!(told.contains("nothing to judge by"), "{told}");
        let rollout = Some(json!({"steps": ["x"], "guards": "none"}));
        let told = Wanted {
            rollout,
            ..wanted(None)
        }
        .spec(None)
        .unwrap_err()
        .to_string();
        assert!(told.contains("rollout.steps"), "{told}");
        let rollout = Some(json!({"steps": ["50%"], "guards": "none", "judge": "threshold"}));
        let spec = Wanted {
            rollout,
            ..wanted(None)
        }
        .spec(None)
        .unwrap();
        assert_eq!(spec.workload.carrier(), Some(("Deployment", "shop")));
    }

    #[test]
    fn what_only_a_controller_can_heed_is_refused() {
        let told = |spec: Value| {
            let spec = serde_json::from_value(spec).unwrap();
            let wanted = Wanted {
                spec: Some(spec),
                ..wanted(None)
            };
            wanted.spec(None).unwrap_err().to_string()
        };
        let workload = json!({"deployment": {"name": "shop"}});
        let grouped = told(json!({"workload": workload, "group": "all"}));
        assert!(grouped.contains("spec.group"), "{grouped}");
        let suspended = told(json!({"workload": workload, "suspend": true}));
        assert!(suspended.contains("spec.suspend"), "{suspended}");
    }

    #[test]
    fn what_a_release_names_is_left_to_it_though_nothing_on_the_object_says_so() {
        let pair = json!({"pairs": [{"stable": "shop", "canary": "shop-canary"}]});
        let release = json!({"metadata": {"name": "web"}, "spec": {"workload": pair}});
        let key = Key {
            namespace: "prod".to_owned(),
            name: "shop".to_owned(),
        };
        let found = had(&Spec::of_deployment("shop"), &key, vec![release.clone()]);
        let expected = (DEPLOYMENT.named("prod", "shop"), "web".to_owned());
        assert_eq!(found, Some(expected));
        let others = Spec::of_deployment("other");
        assert_eq!(had(&others, &key, vec![release]), None);
    }

    #[test]
    fn what_a_release_has_is_left_to_it() {
        let target = DEPLOYMENT.named("prod", "shop");
        let object = json!({"metadata": {"annotations": {"haldane.dev/claimed-by": "shop"}}});
        let error = check_claims(&target, &object, &"shop".parse().unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("belongs to Release shop"),
            "{error}"
        );
    }
}
