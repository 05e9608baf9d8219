//! What queries name a version by, in a cluster.

use std::collections::BTreeMap;

use haldane_controller::meter::{Place, Places};
use haldane_source::traffic::Side;

/// Returns what fills the placeholders of queries about one side, besides its Service and its version.
pub(super) fn names(places: &Places, side: Side) -> BTreeMap<String, String> {
    let (word, place) = match side {
        Side::Stable => ("stable", &places.stable),
        Side::Canary => ("canary", &places.canary),
    };
    let Place {
        deployment,
        service: _,
        replica_set,
    } = place;
    let names = [
        ("side", Some(word)),
        ("namespace", Some(places.namespace.as_str())),
        ("deployment", Some(deployment)),
        ("replicaset", replica_set.as_deref()),
        ("ingress", places.ingress.as_deref()),
        ("route", places.route.as_deref()),
    ];
    let names = names.into_iter();
    names
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect()
}
