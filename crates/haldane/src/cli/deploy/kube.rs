//! `haldane deploy --kube`: gives a Release's workload a new image, which its controller rolls out; where there is no Release, rolls it
//! out from this terminal.

use std::{io::Write, path::Path};

use haldane_api::{http::Answer, manifest, release::Spec};

use haldane_controller::client::{Access, Cluster, Given, Mesh, Route, Wanted};
use haldane_core::ServiceName;
use serde_json::json;

use super::{
    Args,
    preflight::{self, Report, Row},
};
use crate::cli::{
    exit::{Exit, UsageError, talk},
    globals::Globals,
    home::HomeError,
    result,
    source::Source,
    terminal::{self, Ending},
    wait,
};

/// The kinds that can be named as routes, with the key of a router and the one of it that takes the name.
const ROUTES: [(&str, &str, &str); 10] = [
    ("httproute", "gateway", "httpRoute"),
    ("grpcroute", "gateway", "grpcRoute"),
    ("tcproute", "gateway", "tcpRoute"),
    ("tlsroute", "gateway", "tlsRoute"),
    ("httpproxy", "contour", "httpProxy"),
    ("ingress", "nginx", "ingress"),
    ("virtualservice", "istio", "virtualService"),
    ("traefikservice", "traefik", "service"),
    ("ingressroute", "traefik", "ingressRoute"),
    ("trafficsplit", "smi", "trafficSplit"),
];

/// What splits the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MeshName {
    /// A VirtualService
    Istio,
    /// A TrafficSplit, or an HTTPRoute on a Service
    Linkerd,
    /// An Ingress of ingress-nginx; of a pair the canary Ingress
    Nginx,
    /// An HTTPRoute, whatever the Gateway
    GatewayApi,
    /// An HTTPProxy, or an HTTPRoute
    Contour,
    /// A TraefikService, or an HTTPRoute
    Traefik,
    /// Nothing but the numbers of pods
    None,
}

impl From<MeshName> for Mesh {
    fn from(name: MeshName) -> Self {
        match name {
            MeshName::Istio => Self::Istio,
            MeshName::Linkerd => Self::Linkerd,
            MeshName::Nginx => Self::Nginx,
            MeshName::GatewayApi => Self::GatewayApi,
            MeshName::Contour => Self::Contour,
            MeshName::Traefik => Self::Traefik,
            MeshName::None => Self::Pods,
        }
    }
}

/// Runs the command.
pub(super) async fn run(
    args: &Args,
    access: &Access,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    args.check_for_cluster()?;
    let cluster = terminal::connect(access).await?;
    let named = args.name.namespace.as_deref();
    let namespace = named.unwrap_or_else(|| cluster.namespace());
    let mut wanted = args.wanted(&globals.actor)?;
    let has_release = cluster.has_release(namespace, &args.name.name).await;
    if has_release.map_err(HomeError::from)? {
        args.check_for_release()?;
        return give(args, (&cluster, namespace, &wanted), globals, out).await;
    }
    args.check_for_terminal()?;
    let found = args.find((&cluster, namespace), &mut wanted).await?;
    if let Some(spec) = &wanted.spec {
        let mut spec = spec.clone();
        if wanted.rollout.is_some() {
            spec.rollout.clone_from(&wanted.rollout);
        }
        let checks = args.look((&cluster, namespace), &spec, globals).await?;
        if args.dry_run {
            return args.show(found, spec, checks, globals, out);
        }
    }
    let prepared = cluster.prepare(namespace, &wanted).await;
    let Some(carried) = prepared.map_err(terminal::usage)? else {
        talk(&format!(
            "{} has this image already; nothing to do",
            args.name
        ));
        return Ok(Exit::Done);
    };
    let ending = Ending::Rollout { is_new: true };
    terminal::go_on(&cluster, access, &carried, ending, globals, out).await
}

/// Lets the controller roll it out that looks after the Release.
async fn give(
    args: &Args,
    (cluster, namespace, wanted): (&Cluster, &str, &Wanted),
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let home = globals.home().await?;
    if args.dry_run {
        let spec = cluster.spec(namespace, &args.name.name).await;
        let spec = spec.map_err(HomeError::from)?;
        return args.show(None, spec, Vec::new(), globals, out);
    }
    let before = home.service(&args.name).await?.rollout;
    let given = cluster.give_image(namespace, wanted).await;
    let message = match given.map_err(terminal::usage)? {
        Given::Set(target) => format!(
            "{target} has its new image; Release {} rolls it out",
            args.name
        ),
        Given::Same(target) => {
            let message = format!(
                "{target} has this image already; nothing to do (`haldane retry {} --kube` tries again what was rolled back)",
                args.name
            );
            told(message, globals, out)?;
            return Ok(Exit::Done);
        }
    };
    if args.wait.is_given() {
        talk(&message);
    } else {
        told(message, globals, out)?;
    }
    let before = before.map(|rollout| rollout.id);
    wait::finish_next(&*home, (&args.name, before), &args.wait, globals, out).await
}

fn told(message: String, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    let answer = Answer {
        messages: vec![message],
        rollout: None,
        is_durable: true,
    };
    result::write_answer(globals, out, &answer)
}

impl Args {
    /// Refuses what the Release says itself.
    fn check_for_release(&self) -> Result<(), UsageError> {
        let of_terminal = [
            (self.plan.rollout().is_some(), "an option of the plan"),
            (self.file.is_some(), "-f"),
            (!self.route.is_empty(), "--route"),
            (self.mesh.is_some(), "--mesh"),
            (self.prometheus.is_some(), "--prometheus"),
        ];
        match of_terminal.iter().find(|(is_given, _)| *is_given) {
            Some((_, what)) => Err(UsageError(format!(
                "Release {} says how it is rolled out: leave {what} out, or change its spec",
                self.name
            ))),
            None => Ok(()),
        }
    }

    /// Refuses what needs a controller.
    fn check_for_terminal(&self) -> Result<(), UsageError> {
        if self.wait.is_limited() {
            let text = "--timeout: without a Release this terminal rolls out, and ends when the rollout does; leave it out, or install a controller";
            return Err(UsageError(text.to_owned()));
        }
        Ok(())
    }

    /// Refuses what only this machine's daemon understands.
    fn check_for_cluster(&self) -> Result<(), UsageError> {
        let of_machine = [
            (self.version.is_some(), "--version"),
            (self.run.is_some(), "--run"),
            (!self.url.is_empty(), "--url"),
            (self.replicas.is_some(), "--replicas"),
            (!self.env.is_empty(), "--env"),
            (self.dir.is_some(), "--dir"),
        ];
        match of_machine.iter().find(|(is_given, _)| *is_given) {
            Some((_, what)) => Err(UsageError(format!(
                "{what} is a matter of this machine's daemon; on Kubernetes give the image, as in `haldane deploy {} IMAGE --kube`",
                self.name
            ))),
            None => Ok(()),
        }
    }

    /// Finds what the service consists of, unless that is said, or was the last time; returns it in words.
    async fn find(
        &self,
        (cluster, namespace): (&Cluster, &str),
        wanted: &mut Wanted,
    ) -> anyhow::Result<Option<String>> {
        let name = &self.name.name;
        let mesh = self.mesh.map(Mesh::from);
        let mut found = None;
        let mut template = mesh.map(Mesh::template);
        if wanted.spec.is_none() {
            let is_asked = mesh.is_some() || self.prometheus.is_some() || self.dry_run;
            let carried = cluster.carried(namespace, name).await;
            if !is_asked && carried.map_err(HomeError::from)?.is_some() {
                return Ok(None);
            }
            let detected = cluster.detect(namespace, name, mesh).await;
            let detected = detected.map_err(terminal::usage)?;
            template = Some(detected.mesh.template());
            found = Some(detected.said);
            wanted.spec = Some(detected.spec);
        }
        if let (Some(url), Some(spec)) = (&self.prometheus, &mut wanted.spec) {
            let template = template.ok_or_else(|| {
                UsageError(
                    "--prometheus with --route needs --mesh, which says how it counts requests"
                        .to_owned(),
                )
            })?;
            spec.sources = Some(json!({"prometheus": {"prometheus": url}}));
            spec.requests = Some(json!({"source": "prometheus", "template": template}));
        }
        Ok(found)
    }

    /// Looks whether anything is missing, and refuses to go on then.
    async fn look(
        &self,
        (cluster, namespace): (&Cluster, &str),
        spec: &Spec,
        globals: &Globals,
    ) -> anyhow::Result<Vec<Row>> {
        if self.skip_validation {
            return Ok(Vec::new());
        }
        let rows = preflight::checks(cluster, namespace, spec, self.prometheus.as_deref()).await?;
        if self.dry_run {
            return Ok(rows);
        }
        let mut table = Vec::new();
        preflight::write(&rows, globals, &mut table)?;
        talk(String::from_utf8_lossy(&table).trim_end());
        let failed = preflight::failed(&rows);
        anyhow::ensure!(
            failed.is_empty(),
            "not begun: {}; --skip-validation begins all the same",
            failed.join(", ")
        );
        Ok(rows)
    }

    /// Shows what would be done.
    fn show(
        &self,
        found: Option<String>,
        spec: Spec,
        checks: Vec<Row>,
        globals: &Globals,
        out: &mut impl Write,
    ) -> anyhow::Result<Exit> {
        let plan = spec.to_plan().map_err(|problems| {
            let all = problems
                .iter()
                .map(|one| format!("{}: {}", one.path, one.message));
            UsageError(all.collect::<Vec<_>>().join("; "))
        })?;
        let report = Report {
            found,
            image: self.image.clone(),
            spec,
            plan: haldane_api::long::plan_long(&plan),
            checks,
        };
        let is_ready = preflight::failed(&report.checks).is_empty();
        report.write(&plan, globals, out)?;
        Ok(if is_ready { Exit::Done } else { Exit::Failed })
    }

    fn wanted(&self, by: &str) -> anyhow::Result<Wanted> {
        let spec = match (&self.file, self.route.as_slice()) {
            (Some(path), _) => Some(spec(path, &self.name.name)?),
            (None, []) => None,
            (None, routes) => Some(routed(&self.name.name, routes)),
        };
        Ok(Wanted {
            name: self.name.name.clone(),
            spec,
            rollout: self.plan.rollout(),
            image: self.image.clone(),
            by: by.to_owned(),
            reason: self.reason.clone(),
            container: self.container.clone(),
        })
    }
}

/// Returns the Deployment of this name behind its routes.
fn routed(name: &ServiceName, routes: &[Route]) -> Spec {
    let mut spec = Spec::of_deployment(name.as_str());
    spec.routers = routes.to_vec();
    spec
}

/// Reads the Release of this name in a manifest.
fn spec(path: &Path, name: &ServiceName) -> anyhow::Result<Spec> {
    let source = Source::read(path)?;
    let shown = source.name();
    let manifest = manifest::parse(&source.text);
    if !manifest.problems.is_empty() {
        let problems = manifest.problems.iter();
        let all: Vec<String> = problems.map(|one| format!("{shown}:{one}")).collect();
        return Err(UsageError(all.join("\n")).into());
    }
    let mut found = manifest.releases.into_iter();
    let found = found.find(|release| release.name == *name);
    let found = found.ok_or_else(|| UsageError(format!("{shown} has no Release {name}")))?;
    Ok(found.spec)
}

/// Reads `KIND/NAME`.
pub(super) fn route(text: &str) -> Result<Route, String> {
    let kinds = || ROUTES.map(|(kind, _, _)| kind).join(", ");
    let expected = || format!("expected KIND/NAME with one of the kinds {}", kinds());
    let (kind, name) = text.split_once('/').ok_or_else(expected)?;
    let kind = kind.to_ascii_lowercase();
    let found = ROUTES.iter().find(|(known, _, _)| *known == kind);
    let (_, router, key) = found.filter(|_| !name.is_empty()).ok_or_else(expected)?;
    serde_json::from_value(json!({*router: {*key: name}})).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_route_can_be_named() {
        for (kind, router, key) in ROUTES {
            let route = route(&format!("{kind}/shop")).unwrap();
            assert!(route.router().is_ok(), "{kind}");
            let value = serde_json::to_value(&route).unwrap();
            assert_eq!(value[router][key], "shop", "{kind}");
        }
        assert!(route("HTTPRoute/shop").is_ok());
        for text in ["shop", "service/shop", "httproute/"] {
            assert!(route(text).unwrap_err().contains("httpproxy"), "{text}");
        }
    }
}
