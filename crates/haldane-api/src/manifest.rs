//! Manifests: the objects of a cluster in a file, of which the Releases are read with all their mistakes.
//!
//! Each document is read alone, and each item of a `List` is one. Those of other kinds may have what a release file may not (anchors,
//! tags); what is to be said of them is [lint](crate::lint)'s affair.
//!
//! **Invariant:** what the controller would refuse in a Release is a mistake here, with its line and column.

use haldane_core::{ServiceName, plan::Plan};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use crate::{
    file,
    read::{At, Problem, Problems},
    release::{GROUP, Spec, Workload},
    tree::{self, Kind, Mark, Node},
};

/// The keys of a spec that are a plan and what it is judged by.
const OF_PLAN: [&str; 4] = ["rollout", "metrics", "requests", "sources"];

/// What a manifest has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The Releases that could be read.
    pub releases: Vec<Found>,
    /// The other objects, by kind and name.
    pub others: Vec<String>,
    /// The mistakes of the Releases, in the order of the text.
    pub problems: Vec<Problem>,
}

/// A document of a manifest.
#[derive(Debug)]
pub(crate) struct Document {
    /// What it says; none where it is no YAML.
    pub root: Option<Node>,
    /// Its `apiVersion` and `kind`.
    pub kind: Option<(String, String)>,
    /// Whether it is a Release, as far as it could be read.
    pub is_release: bool,
    /// What its reader found.
    pub out: Problems,
}

/// A Release of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its namespace, where it says one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: ServiceName,
    /// Its plan.
    pub plan: Plan,
    /// What it wants.
    pub spec: Spec,
}

/// Whether a text is a manifest: one of its documents says its kind. A release file does not.
#[must_use]
pub fn is_manifest(text: &str) -> bool {
    let says = |document: &str, key: &str| document.lines().any(|line| line.starts_with(key));
    documents(text).any(|(_, document)| {
        says(document, "apiVersion:") && says(document, "kind:")
            || document.trim_start().starts_with('{')
                && tree::read(document, &mut Problems::default())
                    .is_some_and(|root| kind_of(&root).is_some())
    })
}

/// Reads a manifest.
#[must_use]
pub fn parse(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    for mut document in read_documents(text) {
        if !document.is_release {
            manifest.others.push(document.name());
            continue;
        }
        if let Some(root) = &document.root {
            let found = read_release(root, &mut document.out);
            manifest.releases.extend(found);
        }
        manifest.problems.extend(document.out.into_list());
    }
    manifest.problems.sort();
    manifest
}

/// Returns what stands in a manifest; the lines of each document are those of the whole text.
pub(crate) fn read_documents(text: &str) -> Vec<Document> {
    let documents = documents(text);
    documents
        .filter_map(|(before, document)| read_document(before, document))
        .flat_map(Document::unfolded)
        .collect()
}

/// Returns the documents of a text, each with how many lines stand before it. A line that begins with `---` can be nothing else.
fn documents(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_end = |line: &str| line == "---" || line.starts_with("--- ") || line == "...";
    let mut rest = Some(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut before = 0_usize;
    std::iter::from_fn(move || {
        let all = rest.take()?;
        let (mut bytes, mut lines) = (0_usize, 0_usize);
        for line in all.split_inclusive('\n') {
            let next = bytes.saturating_add(line.len());
            if is_end(line.trim_end()) {
                rest = all.get(next..);
                break;
            }
            (bytes, lines) = (next, lines.saturating_add(1));
        }
        let document = (before, all.get(..bytes).unwrap_or_default());
        before = before.saturating_add(lines).saturating_add(1);
        Some(document)
    })
}

fn read_document(before: usize, document: &str) -> Option<Document> {
    let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if document.lines().all(is_empty) {
        return None;
    }
    let mut out = Problems::default();
    // So that its lines are those of the whole text.
    let padded = format!("{}{document}", "\n".repeat(before));
    let root = tree::read(&padded, &mut out);
    let kind = root.as_ref().and_then(kind_of);
    let is_release = match &kind {
        Some(kind) => is_release(kind),
        // It could not be read so far.
        None => document.contains(GROUP) && document.contains("kind: Release"),
    };
    Some(Document {
        root,
        kind,
        is_release,
        out,
    })
}

fn is_release((version, kind): &(String, String)) -> bool {
    kind == "Release" && version.split('/').next() == Some(GROUP)
}

impl Document {
    /// Returns the items of a list as documents of their own, as `kubectl get -o yaml` writes them; of all else itself.
    fn unfolded(self) -> Vec<Self> {
        let is_list = self.kind.as_ref().is_some_and(|(_, kind)| kind == "List");
        let items = match &self.root {
            Some(Node {
                kind: Kind::Map(entries),
                ..
            }) if is_list => entries.iter().find(|entry| entry.key == "items"),
            Some(_) | None => None,
        };
        let Some(Kind::List(items)) = items.map(|entry| &entry.value.kind) else {
            return vec![self];
        };
        let item = |node: &Node| {
            let kind = kind_of(node);
            Self {
                is_release: kind.as_ref().is_some_and(is_release),
                kind,
                root: Some(node.clone()),
                out: Problems::default(),
            }
        };
        items.iter().map(item).collect()
    }

    /// Returns kind and name.
    pub(crate) fn name(&self) -> String {
        let root = self.root.as_ref();
        let name = root.and_then(|root| text_at(root, &["metadata", "name"]));
        let kind = self.kind.as_ref().map(|(_, kind)| kind.as_str());
        let kind = kind.unwrap_or("something without a kind");
        format!("{kind} {}", name.unwrap_or_default())
            .trim_end()
            .to_owned()
    }
}

/// Reads a Release.
pub(crate) fn read_release(root: &Node, out: &mut Problems) -> Option<Found> {
    let mark = root.mark;
    let namespace = text_at(root, &["metadata", "namespace"]);
    let name = match text_at(root, &["metadata", "name"]) {
        Some(name) => name
            .parse::<ServiceName>()
            .map_err(|error| out.add_at(mark, "metadata.name", error.to_string()))
            .ok(),
        None => {
            out.add_at(mark, "metadata.name", "it is missing; expected a name");
            None
        }
    };
    let Kind::Map(entries) = &root.kind else {
        return None;
    };
    let spec = entries.iter().find(|entry| entry.key == "spec");
    let Some(spec) = spec.map(|entry| &entry.value) else {
        out.add_at(
            mark,
            "spec",
            "it is missing; expected what the release runs",
        );
        return None;
    };
    let mark = spec.mark;
    let value = value_of(spec);
    let read = match Spec::deserialize(&value) {
        Ok(read) => {
            check_spec(&read, mark, out);
            Some(read)
        }
        Err(error) => {
            let text = error.to_string();
            let at = unknown_field(&text).and_then(|key| find_key(spec, key));
            out.add_at(at.unwrap_or(mark), "spec", text);
            None
        }
    };
    let plan = read_plan(spec, out);
    Some(Found {
        namespace,
        name: name?,
        plan: plan?,
        spec: read?,
    })
}

/// Checks what serde can't.
fn check_spec(spec: &Spec, mark: Mark, out: &mut Problems) {
    let Workload {
        deployment,
        pairs,
        stateful_set,
        daemon_set,
    } = &spec.workload;
    let given = [
        deployment.is_some(),
        !pairs.is_empty(),
        stateful_set.is_some(),
        daemon_set.is_some(),
    ];
    let given = given.into_iter().filter(|is_given| *is_given).count();
    if given != 1 {
        let message = format!(
            "{given} given; expected exactly one of deployment, pairs, statefulSet, daemonSet"
        );
        out.add_at(mark, "spec.workload", message);
    }
    for (index, route) in spec.routers.iter().enumerate() {
        if let Err(error) = route.router() {
            out.add_at(mark, &format!("spec.routers[{index}]"), error.to_string());
        }
    }
    for (index, pair) in pairs.iter().enumerate() {
        if pair.stable == pair.canary {
            let message = format!("stable and canary are both {}", pair.stable);
            out.add_at(mark, &format!("spec.workload.pairs[{index}]"), message);
        }
    }
}

/// Reads the plan from the keys that are its own, with their places.
fn read_plan(spec: &Node, out: &mut Problems) -> Option<Plan> {
    let Kind::Map(entries) = &spec.kind else {
        return None;
    };
    let of_plan = entries
        .iter()
        .filter(|entry| OF_PLAN.contains(&entry.key.as_str()))
        .cloned();
    let node = Node {
        mark: spec.mark,
        kind: Kind::Map(of_plan.collect()),
    };
    let at = At {
        node: &node,
        path: "spec".to_owned(),
    };
    file::read_judged(&at, out).map(|judged| judged.plan)
}

/// Returns `apiVersion` and `kind`.
fn kind_of(root: &Node) -> Option<(String, String)> {
    Some((text_at(root, &["apiVersion"])?, text_at(root, &["kind"])?))
}

pub(crate) fn text_at(root: &Node, path: &[&str]) -> Option<String> {
    let mut here = root;
    for key in path {
        let Kind::Map(entries) = &here.kind else {
            return None;
        };
        here = &entries.iter().find(|entry| entry.key == *key)?.value;
    }
    match &here.kind {
        Kind::Text(text) => Some(text.text.clone()),
        Kind::Null | Kind::List(_) | Kind::Map(_) | Kind::Broken => None,
    }
}

/// Returns a node as the API server reads it: what is not quoted may be a number or a truth value.
pub(crate) fn value_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Null | Kind::Broken => Value::Null,
        Kind::Text(text) if text.inset == Some(0) => match text.text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            plain => plain
                .parse::<Number>()
                .map_or_else(|_| Value::String(plain.to_owned()), Value::Number),
        },
        Kind::Text(text) => Value::String(text.text.clone()),
        Kind::List(items) => items.iter().map(value_of).collect(),
        Kind::Map(entries) => {
            let entries = entries
                .iter()
                .map(|entry| (entry.key.clone(), value_of(&entry.value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// Returns the key that serde does not know.
pub(crate) fn unknown_field(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("unknown field `")?;
    Some(rest.split_once('`')?.0)
}

/// Returns where a key stands first, outside of the plan.
pub(crate) fn find_key(node: &Node, key: &str) -> Option<Mark> {
    match &node.kind {
        Kind::Map(entries) => {
            let ours = || {
                entries
                    .iter()
                    .filter(|entry| !OF_PLAN.contains(&entry.key.as_str()))
            };
            let here = ours().find(|entry| entry.key == key);
            here.map(|entry| entry.mark)
                .or_else(|| ours().find_map(|entry| find_key(&entry.value, key)))
        }
        Kind::List(items) => items.iter().find_map(|item| find_key(item, key)),
        Kind::Null | Kind::Text(_) | Kind::Broken => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "\
# The shop.
apiVersion: apps/v1
kind: Deployment
metadata: &meta { name: shop }
---
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata:
  name: shop
  namespace: web
spec:
  workload:
    deployment: { name: shop }
  rollout:
    steps: [5%, 50%]
    hold: 30s
";

    fn problems(text: &str) -> Vec<String> {
        parse(text)
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_releases_of_a_manifest_are_read_and_other_kinds_named() {
        let manifest = parse(SHOP);
        assert_eq!(manifest.problems, []);
        assert_eq!(manifest.others, ["Deployment shop"]);
        let [shop] = manifest.releases.as_slice() else {
            panic!("{manifest:?}");
        };
        assert_eq!(
            (shop.name.as_str(), shop.namespace.as_deref()),
            ("shop", Some("web"))
        );
        assert_eq!(shop.plan.step_count(), 4);
    }

    #[test]
    fn mistakes_have_the_lines_of_the_whole_text() {
        let text = SHOP.replace("50%", "500%").replace("hold:", "holt:");
        let found = problems(&text);
        assert!(
            found[0].starts_with("15:17: spec.rollout.steps[1]: "),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("16:5: spec.rollout.holt: unknown key"),
            "{found:?}"
        );
        for (from, to, expected) in [
            (
                "    deployment: { name: shop }",
                "    deploiment: { name: shop }",
                "13:5: spec: unknown field `deploiment`",
            ),
            (
                "    deployment: { name: shop }",
                "    {}",
                "12:3: spec.workload: 0 given; expected exactly one",
            ),
            ("  name: shop\n", "", "6:1: metadata.name: it is missing"),
            (
                "  name: shop\n",
                "  name: sh.op\n",
                "6:1: metadata.name: \"sh.op\" is not",
            ),
            (
                "  workload:",
                "  routers: [{}]\n  workload:",
                "12:3: spec.routers[0]: expected exactly one router",
            ),
        ] {
            let found = problems(&SHOP.replacen(from, to, 1));
            assert!(
                found.iter().any(|one| one.starts_with(expected)),
                "{expected}: {found:?}"
            );
        }
    }

    #[test]
    fn a_release_that_is_no_yaml_is_a_mistake_and_another_kind_is_not() {
        let found = problems("apiVersion: haldane.dev/v1alpha1\nkind: Release\nspec: [\n");
        assert!(found[0].contains("this is not YAML"), "{found:?}");
        assert_eq!(
            problems("apiVersion: v1\nkind: Secret\ndata: !!binary x\nspec: [\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_item_of_a_list_is_an_object() {
        let release = SHOP.split("---\n").nth(1).unwrap();
        let items = release.lines().map(|line| format!("    {line}\n"));
        let items: String = items.collect::<String>().replacen("    api", "  - api", 1);
        let text = format!(
            "apiVersion: v1\nkind: List\nitems:\n  - {{ apiVersion: v1, kind: Service, metadata: {{ name: shop }} }}\n{items}"
        );
        let manifest = parse(&text);
        assert_eq!(manifest.problems, []);
        assert_eq!(manifest.others, ["Service shop"]);
        assert_eq!(manifest.releases[0].name.as_str(), "shop");
        let found = problems(&text.replace("50%", "500%"));
        assert!(
            found[0].starts_with("14:21: spec.rollout.steps[1]: "),
            "{found:?}"
        );
    }

    #[test]
    fn a_pair_has_two_members() {
        let text = SHOP.replace(
            "deployment: { name: shop }",
            "pairs: [{ stable: shop, canary: shop-canary }]",
        );
        assert_eq!(parse(&text).problems, []);
        let text = text.replace("shop-canary", "shop");
        assert!(problems(&text)[0].contains("both shop"));
    }

    #[test]
    fn a_release_file_is_no_manifest() {
        assert!(is_manifest(SHOP));
        assert!(is_manifest(
            r#"{"apiVersion": "haldane.dev/v1alpha1", "kind": "Release"}"#
        ));
        assert!(!is_manifest("services:\n  auth: { listen: 1 }\n"));
        assert!(!is_manifest("{\"services\": {}}"));
    }
}
