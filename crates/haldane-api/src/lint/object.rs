//! Findings on the objects of a manifest.
//!
//! Of other kinds than Haldane's own only what a rule is about is read; what can't be read is not complained of.

mod canary;
mod pods;
mod rollout;
mod spot;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};

use self::spot::Spot;
use super::{
    Edit, Finding, Report,
    release::{check_group, check_release, group_of},
    rules::{Rule, UNQUOTED_ANNOTATION},
    traffic::Traffic,
};
use crate::{
    manifest::{self, Document, text_at},
    release::GROUP,
    tree::{Kind, Node},
};

/// What the objects of a manifest know of each other.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Whether something in it moves traffic and judges it.
    pub is_judged: bool,
    /// Workloads whose size somebody else sets, by name.
    pub scaled: BTreeSet<String>,
    /// Deployments that are the canary of a pair.
    pub canaries: BTreeSet<String>,
    /// The access modes of claims by name.
    pub claims: BTreeMap<String, Vec<String>>,
    /// The members of groups by the group's name.
    pub groups: BTreeMap<String, BTreeSet<String>>,
}

/// Checks the objects of a manifest.
pub(super) fn check(text: &str, traffic: Option<&Traffic<'_>>) -> Report {
    let documents = manifest::read_documents(text);
    let world = World::of(&documents);
    let mut report = Report::default();
    for document in documents {
        let name = document.name();
        let texts = document.root.as_ref().map(unquoted);
        report.findings.extend(texts.into_iter().flatten());
        match check_one(document, &world, traffic) {
            Some(findings) => report.findings.extend(findings),
            None => report.ignored.push(name),
        }
    }
    report
}

/// Returns what is to be said of an object; `None` where no rule is about its kind.
fn check_one(
    document: Document,
    world: &World,
    traffic: Option<&Traffic<'_>>,
) -> Option<Vec<Finding>> {
    if document.is_release {
        return Some(check_release(document, world, traffic));
    }
    let (version, kind) = document.kind.clone()?;
    let group = version.split_once('/').map_or("", |(group, _)| group);
    if group == GROUP && kind == "ReleaseGroup" {
        return Some(check_group(document));
    }
    let root = Spot::root(document.root.as_ref()?);
    Some(match (group, kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet") => {
            pods::check_workload(&root, &kind, world)
        }
        ("argoproj.io", "Rollout") => {
            let mut findings = pods::check_workload(&root, &kind, world);
            findings.extend(rollout::check_rollout(&root));
            findings
        }
        ("argoproj.io", "AnalysisTemplate" | "ClusterAnalysisTemplate") => {
            rollout::check_template(&root)
        }
        ("flagger.app", "Canary") => canary::check_canary(&root),
        ("networking.k8s.io", "Ingress") => traffic::check_ingress(&root, world),
        ("", "Service") => traffic::check_service(&root),
        ("networking.istio.io", "VirtualService") => traffic::check_virtual_service(&root, world),
        ("gateway.networking.k8s.io" | "policy.linkerd.io", "HTTPRoute") => {
            traffic::check_http_route(&root, world)
        }
        ("split.smi-spec.io", "TrafficSplit") => traffic::check_split(&root, world),
        _ => return None,
    })
}

/// Returns the annotations and labels that are no texts.
fn unquoted(root: &Node) -> Vec<Finding> {
    let root = Spot::root(root);
    let template = root.at(&["spec", "template"]);
    let owners = std::iter::once(root).chain(template);
    let maps =
        owners.flat_map(|owner| ["annotations", "labels"].map(|key| owner.at(&["metadata", key])));
    let values = maps.flatten().flat_map(|map| map.entries());
    values
        .filter_map(|(_, value)| {
            let text = value.plain()?;
            let is_other =
                matches!(text, "true" | "false") || text.parse::<serde_json::Number>().is_ok();
            is_other.then(|| {
                let mut finding = value.say(
                    &UNQUOTED_ANNOTATION,
                    format!("{text} is no text to the API server"),
                );
                finding.fix = format!("write \"{text}\"");
                finding.edit = Some(Edit {
                    line: value.node.mark.line,
                    column: value.node.mark.column,
                    remove: text.chars().count(),
                    insert: format!("\"{text}\""),
                });
                finding
            })
        })
        .collect()
}

impl World {
    fn of(documents: &[Document]) -> Self {
        let mut world = Self::default();
        for document in documents {
            let (Some((version, kind)), Some(root)) = (&document.kind, &document.root) else {
                continue;
            };
            let group = version.split('/').next().unwrap_or_default();
            world.learn(group, kind, root);
        }
        world
    }

    fn learn(&mut self, group: &str, kind: &str, root: &Node) {
        let spot = Spot::root(root);
        let name = || text_at(root, &["metadata", "name"]).unwrap_or_default();
        match (group, kind) {
            (GROUP, "Release") => {
                self.is_judged = true;
                let pairs = spot.at(&["spec", "workload", "pairs"]);
                let pairs = pairs.iter().flat_map(Spot::items);
                let canaries =
                    pairs.filter_map(|pair| Some(pair.at(&["canary"])?.text()?.to_owned()));
                self.canaries.extend(canaries);
            }
            (GROUP, "ReleaseGroup") => {
                let spec = group_of(root).ok();
                let members = spec.into_iter().flat_map(|spec| spec.members);
                let members = members.map(|member| member.release).collect();
                self.groups.insert(name(), members);
            }
            ("argoproj.io", "Rollout") | ("flagger.app", "Canary") => self.is_judged = true,
            ("autoscaling" | "keda.sh", _) => {
                self.scaled
                    .extend(text_at(root, &["spec", "scaleTargetRef", "name"]));
            }
            ("v1", "PersistentVolumeClaim") => {
                let modes = spot.at(&["spec", "accessModes"]);
                let modes = modes.iter().flat_map(Spot::items);
                let modes = modes.filter_map(|mode| mode.text().map(str::to_owned));
                self.claims.insert(name(), modes.collect());
            }
            _ => {}
        }
    }
}

impl Spot<'_> {
    /// Says that a rule is broken here; its fix is the rule's.
    fn say(&self, rule: &'static Rule, reason: impl Into<String>) -> Finding {
        Finding {
            rule,
            line: self.mark.line,
            column: self.mark.column,
            path: self.path.clone(),
            reason: reason.into(),
            fix: rule.fix.to_owned(),
            edit: None,
        }
    }

    /// Says that a rule is broken by what is missing here.
    fn say_missing(&self, key: &str, rule: &'static Rule, reason: impl Into<String>) -> Finding {
        let mut finding = self.say(rule, reason);
        finding.path = crate::tree::join(&self.path, key);
        finding
    }
}

/// Whether a node may have keys that are not seen: it is an alias, or merges one.
fn is_veiled(node: &Node) -> bool {
    match &node.kind {
        Kind::Broken => true,
        Kind::Map(entries) => entries.iter().any(|entry| entry.key == "<<"),
        Kind::Null | Kind::Text(_) | Kind::List(_) => false,
    }
}
