//! Findings on Releases and on the groups that they go together in.

use std::collections::BTreeSet;

use haldane_core::Weight;
use serde::Deserialize;

use super::{
    Finding, Remark, mistake,
    object::World,
    place::Places,
    plan::lint_judged_plan,
    rules::{
        GROUP_WITHOUT_ORDER, NO_METRICS, NO_ROLLBACK, PROMOTION_BESIDE_GIT, SHARE_BY_REPLICAS,
        STRAY_MEMBER,
    },
    traffic::Traffic,
};
use crate::{
    manifest::{self, Document, Found, value_of},
    read::Problem,
    release::group::{self, Member, OnFailure, PROMOTION},
    text::parse_weight,
    tree::{Kind, Mark, Node},
};

/// Returns what is to be said of a Release.
pub(super) fn check_release(
    document: Document,
    world: &World,
    traffic: Option<&Traffic<'_>>,
) -> Vec<Finding> {
    let mut out = document.out;
    let root = document.root;
    let found = root
        .as_ref()
        .and_then(|root| manifest::read_release(root, &mut out));
    let steps = std::mem::take(&mut out.steps);
    let problems = out.into_list();
    match (&root, found) {
        (Some(root), Some(found)) if problems.is_empty() => {
            let places = Places {
                root,
                steps: &steps,
            };
            let mut remarks = lint_judged_plan("spec", &found.plan, traffic);
            remarks.extend(lint_release(&found, world));
            remarks
                .into_iter()
                .map(|remark| places.place(remark))
                .collect()
        }
        _ => problems.into_iter().map(mistake).collect(),
    }
}

fn lint_release(found: &Found, world: &World) -> Vec<Remark> {
    let spec = &found.spec;
    let mut remarks = Vec::new();
    let mut add =
        |rule, path: &str, reason: String| remarks.push(Remark::plain(rule, path, reason));
    if !spec.workload.pairs.is_empty() {
        let reason = "promotion writes the canary's image into the stable Deployment";
        add(
            &PROMOTION_BESIDE_GIT,
            "spec.workload.pairs",
            reason.to_owned(),
        );
    }
    if spec.routers.is_empty() {
        let reason = "nobody splits the traffic, so the canary's share is that of its pods";
        add(&SHARE_BY_REPLICAS, "spec.routers", reason.to_owned());
    }
    let rules = found.plan.rules();
    if spec.requests.is_none() && rules.metrics.is_empty() && rules.is_judged() {
        let reason = "it says what is judged, but not where requests are counted";
        add(&NO_METRICS, "spec.requests", reason.to_owned());
    }
    let groups = world.groups.iter();
    for (group, members) in groups {
        let is_member = members.contains(found.name.as_str());
        if is_member && spec.group.as_ref() != Some(group) {
            let reason = format!("the group {group} counts on it, and it does not name that group");
            add(&STRAY_MEMBER, "spec.group", reason);
        }
    }
    remarks
}

/// Returns what is to be said of a ReleaseGroup.
pub(super) fn check_group(document: Document) -> Vec<Finding> {
    let mut problems = document.out.into_list();
    let Some(root) = &document.root else {
        return problems.into_iter().map(mistake).collect();
    };
    let places = Places {
        root,
        steps: &super::StepPlaces::default(),
    };
    let spec = match group_of(root) {
        Ok(spec) => spec,
        Err((mark, message)) => {
            problems.push(Problem {
                line: mark.line,
                column: mark.column,
                path: "spec".to_owned(),
                message,
            });
            return problems.into_iter().map(mistake).collect();
        }
    };
    let remarks = wrong_members(&spec)
        .into_iter()
        .chain(wrong_barriers(&spec))
        .chain(lint_group(&spec));
    let mut findings: Vec<Finding> = problems.into_iter().map(mistake).collect();
    findings.extend(remarks.map(|remark| places.place(remark)));
    findings
}

/// Reads the spec of a group; what is wrong has its place.
pub(super) fn group_of(root: &Node) -> Result<group::Spec, (Mark, String)> {
    let Kind::Map(entries) = &root.kind else {
        return Err((root.mark, "it is no object".to_owned()));
    };
    let spec = entries.iter().find(|entry| entry.key == "spec");
    let Some(spec) = spec.map(|entry| &entry.value) else {
        let message = "it is missing; expected the group's members";
        return Err((root.mark, message.to_owned()));
    };
    group::Spec::deserialize(&value_of(spec)).map_err(|error| {
        let text = error.to_string();
        let key = manifest::unknown_field(&text);
        let mark = key.and_then(|key| manifest::find_key(spec, key));
        (mark.unwrap_or(spec.mark), text)
    })
}

/// Returns what the group's controller would refuse of its members.
fn wrong_members(spec: &group::Spec) -> Vec<Remark> {
    let names: BTreeSet<&str> = spec
        .members
        .iter()
        .map(|one| one.release.as_str())
        .collect();
    let wrong = |index: usize, member: &Member| {
        let path = format!("spec.members[{index}].after");
        let strange = member.after.iter().find_map(|name| {
            let reason = if *name == member.release {
                "it comes after itself".to_owned()
            } else if !names.contains(name.as_str()) {
                format!("{name:?} is no member of the group")
            } else {
                return None;
            };
            Some(reason)
        });
        strange.map(|reason| {
            let fix = "expected the names of other members";
            Remark::new(&super::INVALID, path, reason, fix)
        })
    };
    let members = spec.members.iter().enumerate();
    members
        .filter_map(|(index, member)| wrong(index, member))
        .collect()
}

fn wrong_barriers(spec: &group::Spec) -> Vec<Remark> {
    let barriers = spec.barriers.iter().enumerate();
    let wrong = barriers.filter(|(_, barrier)| {
        barrier.at != PROMOTION && parse_weight(&barrier.at).map_or(true, Weight::is_zero)
    });
    wrong
        .map(|(index, barrier)| {
            Remark::new(
                &super::INVALID,
                format!("spec.barriers[{index}].at"),
                format!("{:?} is no share of traffic", barrier.at),
                "expected one such as 25%, or promotion",
            )
        })
        .collect()
}

fn lint_group(spec: &group::Spec) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if spec.on_failure == OnFailure::Stop {
        remarks.push(Remark::new(
            &NO_ROLLBACK,
            "spec.onFailure",
            "when one member is rolled back, the others stay where they are: versions that belong together are apart",
            "let all of them go back: onFailure: rollBack, the default",
        ));
    }
    let is_ordered = spec.members.iter().any(|member| !member.after.is_empty());
    if spec.barriers.is_empty() && !is_ordered && spec.members.len() > 1 {
        let reason = "nothing says which member waits for which";
        remarks.push(Remark::plain(&GROUP_WITHOUT_ORDER, "spec.members", reason));
    }
    remarks
}
