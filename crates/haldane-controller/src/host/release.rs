//! A release as it is read from its object.

use std::collections::BTreeSet;

use haldane_api::release::{COMMAND_ANNOTATION, CommandError, CommandNote, Spec, Status};
use haldane_core::rollout::Actor;
use haldane_router::ObjectRef;
use serde_json::Value;

use super::{
    json,
    record::Glance,
    routes::{self, Routes},
    site::{Blocked, Site},
};
use crate::turn::Key;

/// What keeps a release from being gone before its objects are as they were.
pub(crate) const FINALIZER: &str = "haldane.dev/restore";

/// A release.
#[derive(Clone, Debug)]
pub(super) struct Release {
    /// The object.
    pub object: Value,
    /// What a person wants, or why that can't be carried out; see [`Release::fall_back`].
    pub spec: Result<Spec, Blocked>,
    /// Why what a person wants can't be carried out, where `spec` is what was carried out last.
    pub fault: Option<Blocked>,
    /// What is true of it.
    pub status: Status,
    /// Where it is kept.
    pub home: Home,
}

/// Where a release is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// In a Release; it stays until somebody deletes it.
    Own,
    /// On a workload of the user's, by a terminal; it ends with its rollout.
    Carried {
        /// The workload.
        by: ObjectRef,
        /// Who wants the version to be tried that they are asked for.
        actor: Actor,
        /// Whether the objects have the version that is to be tried.
        is_offered: bool,
        /// Whether the terminal put that version there, and takes it away again where it was not good.
        is_put: bool,
    },
}

impl Release {
    /// Reads an object.
    pub(super) fn read(object: Value, key: &Key) -> Self {
        let spec = object.get("spec").cloned().unwrap_or_default();
        let spec: Result<Spec, Blocked> = serde_json::from_value(spec).map_err(|error| Blocked {
            reason: "Invalid",
            message: format!("spec: {error}"),
        });
        let status = object.get("status").cloned();
        let status = status.and_then(|status| serde_json::from_value(status).ok());
        Self {
            spec: spec.and_then(|spec| parts(&spec, key).map(drop).map(|()| spec)),
            fault: None,
            status: status.unwrap_or_default(),
            object,
            home: Home::Own,
        }
    }

    /// Reads one that is kept on a workload.
    pub(super) fn carried(object: Value, key: &Key, home: Home) -> Self {
        Self {
            home,
            ..Self::read(object, key)
        }
    }

    /// Goes on with what was carried out last, if anything was: what is there must still be looked after, and put back in the end.
    pub(super) fn fall_back(&mut self, fault: Blocked) {
        match self.kept() {
            Some(kept) => {
                self.spec = Ok(kept);
                self.fault = Some(fault);
            }
            None => self.spec = Err(fault),
        }
    }

    /// Returns what was carried out last: of the spec what runs the versions and what splits the traffic.
    pub(super) fn kept(&self) -> Option<Spec> {
        let glance = Glance::of(self.status.record.as_ref()?)?;
        serde_json::from_str(&glance.kept?).ok()
    }

    /// Whether its objects were taken over.
    pub(super) fn is_taken_over(&self) -> bool {
        let record = self.status.record.as_ref();
        record.is_some_and(|text| Glance::of(text).is_none_or(|glance| glance.stable.is_some()))
    }

    /// Returns its uid.
    pub(super) fn uid(&self) -> &str {
        json::uid(&self.object)
    }

    /// Returns the generation of its spec.
    pub(super) fn generation(&self) -> Option<i64> {
        self.object.pointer("/metadata/generation")?.as_i64()
    }

    /// Whether somebody deleted it.
    pub(super) fn is_deleted(&self) -> bool {
        self.object.pointer("/metadata/deletionTimestamp").is_some()
    }

    /// Returns its finalizers.
    pub(super) fn finalizers(&self) -> Vec<String> {
        let found = self.object.pointer("/metadata/finalizers");
        let found = found.and_then(Value::as_array).into_iter().flatten();
        found
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    }

    /// Returns the last command that was given, if there is one.
    pub(super) fn command(&self) -> Option<Result<CommandNote, (String, CommandError)>> {
        let text = json::annotation(&self.object, COMMAND_ANNOTATION)?;
        Some(CommandNote::parse(text).map_err(|error| (text.to_owned(), error)))
    }
}

/// Returns what a spec consists of.
pub(super) fn parts<'a>(spec: &'a Spec, key: &Key) -> Result<(Site, Routes<'a>), Blocked> {
    let site = Site::of(spec)?;
    let routes = Routes::of(spec, key, site.backends())?;
    Ok((site, routes))
}

/// Returns of a spec what [`Release::kept`] reads, as text.
pub(super) fn to_keep(spec: &Spec) -> Option<String> {
    let kept = Spec {
        workload: spec.workload.clone(),
        routers: spec.routers.clone(),
        ask_by: spec.ask_by.clone(),
        rollout: None,
        metrics: None,
        requests: None,
        sources: None,
        group: spec.group.clone(),
        suspend: false,
    };
    serde_json::to_string(&kept).ok()
}

/// Returns the objects that a release with this spec changes and shares with no other.
pub(super) fn named(spec: &Spec, key: &Key) -> BTreeSet<ObjectRef> {
    let Ok((site, routes)) = parts(spec, key) else {
        return BTreeSet::new();
    };
    let mut named = BTreeSet::from_iter(site.workloads(key));
    if !spec.routers.is_empty() {
        named.extend(routes::services(site.backends(), key));
        named.extend(routes.undivided());
    }
    named
}
