//! The kinds of objects that every release needs.

use haldane_api::release::{GROUP, VERSION};
use haldane_router::Kind;

/// What people write.
pub const RELEASE: Kind = Kind {
    group: GROUP,
    kind: "Release",
    plural: "releases",
    versions: &[VERSION],
};

/// Releases that go together.
pub const RELEASE_GROUP: Kind = Kind {
    group: GROUP,
    kind: "ReleaseGroup",
    plural: "releasegroups",
    versions: &[VERSION],
};

/// What runs the versions.
pub const DEPLOYMENT: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    versions: &["v1"],
};

/// What a Deployment makes of each of its templates.
pub const REPLICA_SET: Kind = Kind {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    versions: &["v1"],
};

/// What runs pods that keep their names.
pub const STATEFUL_SET: Kind = Kind {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    versions: &["v1"],
};

/// What a StatefulSet keeps of each of its templates.
pub const CONTROLLER_REVISION: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    versions: &["v1"],
};

/// What runs somewhere; of these only what tells how they are is kept.
pub const POD: Kind = Kind {
    group: "",
    kind: "Pod",
    plural: "pods",
    versions: &["v1"],
};

/// What pods use, where the cluster measures it.
pub const POD_METRICS: Kind = Kind {
    group: "metrics.k8s.io",
    kind: "PodMetrics",
    plural: "pods",
    versions: &["v1beta1"],
};

/// What selects the pods of a version.
pub const SERVICE: Kind = Kind {
    group: "",
    kind: "Service",
    plural: "services",
    versions: &["v1"],
};

/// What runs a pod to its end.
pub const JOB: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    versions: &["v1"],
};

/// What Jobs are made of.
pub const CRON_JOB: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    versions: &["v1"],
};

/// The addresses of a Service's pods.
pub const ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    versions: &["v1"],
};

/// What runs a pod on each node; it is only shown.
pub const DAEMON_SET: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    versions: &["v1"],
};
