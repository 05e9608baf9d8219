//! Keys of metric sources and of the metrics that are taken from them.

use super::{Form, Table, default, optional, required};

/// Where a secret is found.
pub(crate) static SECRET: Table = Table {
    name: "Secret",
    doc: "Where a secret is found when it is needed; it is never written into the file.",
    keys: &[
        optional("env", Form::Text, "An environment variable of the daemon."),
        optional(
            "file",
            Form::Text,
            "A file by its absolute path; the line break at its end is left out.",
        ),
    ],
    exactly_one_of: &["env", "file"],
};

const TEXT_OR_SECRET: Form = Form::Any(&[Form::Text, Form::Map(&SECRET)]);

/// Credentials.
pub(crate) static AUTH: Table = Table {
    name: "Auth",
    doc: "Credentials: a token, or user and password.",
    keys: &[
        optional("token", Form::Map(&SECRET), "A token, sent as `Bearer`."),
        optional("username", TEXT_OR_SECRET, "The user."),
        optional("password", Form::Map(&SECRET), "The password."),
    ],
    exactly_one_of: &[],
};

/// A metric system.
pub(crate) static SOURCE: Table = Table {
    name: "Source",
    doc: "A metric system that is asked about both versions.",
    keys: &[
        optional(
            "prometheus",
            Form::Url,
            "The URL of Prometheus, or of what speaks its API: Thanos, Mimir, Cortex, VictoriaMetrics.",
        ),
        default(
            "auth",
            Form::Map(&AUTH),
            "{}",
            "Credentials, if it wants any.",
        ),
        default(
            "headers",
            Form::MapOf(&TEXT_OR_SECRET),
            "{}",
            "Headers to send along.",
        ),
        optional("tenant", Form::Text, "The tenant, sent as `X-Scope-OrgID`."),
    ],
    exactly_one_of: &["prometheus"],
};

/// Each template with the variables that it needs besides the service and the version.
pub(crate) const TEMPLATES: [(&str, &[&str]); 16] = [
    ("apisix", &["namespace"]),
    ("appmesh", &["namespace"]),
    ("contour", &["namespace"]),
    ("gateway-api", &["namespace"]),
    ("gloo", &["namespace"]),
    ("haldane", &[]),
    ("istio", &["namespace"]),
    ("istio-gateway", &["namespace"]),
    ("knative", &["namespace"]),
    ("kuma", &["namespace"]),
    ("linkerd", &["namespace"]),
    ("nginx", &["ingress", "namespace"]),
    ("osm", &["namespace"]),
    ("plain", &[]),
    ("skipper", &["ingress", "namespace"]),
    ("traefik", &["namespace"]),
];

const TEMPLATE_NAMES: [&str; 16] = [
    "apisix",
    "appmesh",
    "contour",
    "gateway-api",
    "gloo",
    "haldane",
    "istio",
    "istio-gateway",
    "knative",
    "kuma",
    "linkerd",
    "nginx",
    "osm",
    "plain",
    "skipper",
    "traefik",
];

/// A metric of another system.
pub(crate) static METRIC: Table = Table {
    name: "Metric",
    doc: "A metric of another system, by which the sequential judge compares the versions; `template`, `query`, or `events` and `exposure` say what is asked. In queries `{{service}}`, `{{version}}`, `{{workload}}`, `{{window}}` and the variables are filled in.",
    keys: &[
        required(
            "kind",
            Form::Choice(&["ratio", "counter", "latency", "gauge", "conversion"]),
            "What it is: some of many (ratio), events in time (counter), latencies in buckets (latency), what each pod uses (gauge), or a share that is not small (conversion).",
        ),
        required(
            "source",
            Form::Text,
            "The name of the metric system to ask, one of `sources`.",
        ),
        optional(
            "template",
            Form::Choice(&TEMPLATE_NAMES),
            "The queries of a known mesh or ingress for failed requests (ratio) or latency; see `haldane metrics show`.",
        ),
        optional(
            "query",
            Form::Text,
            "The buckets of a latency, as raw samples such as `http_seconds_bucket{version=\"{{version}}\"}[{{window}}]`, or one number for each pod of a gauge.",
        ),
        optional(
            "events",
            Form::Text,
            "The counters of what happened, as raw samples such as `failures_total{version=\"{{version}}\"}[{{window}}]`.",
        ),
        optional(
            "exposure",
            Form::Text,
            "The counters of what could have happened, as raw samples. Without it, for kind counter, the time that passed.",
        ),
        default(
            "variables",
            Form::MapOf(&Form::Scalar),
            "{}",
            "What else is filled into the queries, such as the namespace.",
        ),
        default(
            "workload",
            Form::Text,
            "'{{version}}'",
            "What the metric system calls a version, such as `shop-{{version}}`.",
        ),
        default(
            "unit",
            Form::Choice(&["s", "ms", "us"]),
            "s",
            "The unit of the buckets that a query of its own answers.",
        ),
        optional(
            "direction",
            Form::Choice(&["higherIsWorse", "lowerIsWorse"]),
            "Which way is worse. Without it, lower for a conversion, else higher.",
        ),
        optional(
            "harm",
            Form::Limit,
            "From this multiple of stable's rate on the canary does harm. Without it, 1.1x; 0.98x for a conversion, 1.15x for a gauge.",
        ),
        optional(
            "accept",
            Form::Limit,
            "Going on early needs evidence that the canary keeps to this multiple of stable's rate. Without it, 1.5x; 0.9x for a conversion.",
        ),
        optional(
            "acceptPlus",
            Form::Limit,
            "Added to `accept`: a share of what could have happened. Without it, +0.2pp; +0.5pp for a latency, nothing for a conversion or a gauge.",
        ),
        default(
            "weight",
            Form::Count(0),
            "15",
            "The share of the judge's alpha, relative to the other critical metrics; errors have 40, latency has 30.",
        ),
        optional(
            "critical",
            Form::Choice(&["true", "false"]),
            "Whether harm rolls back; else it holds. Without it, true, but false for a gauge.",
        ),
        optional(
            "required",
            Form::Choice(&["true", "false"]),
            "Whether nothing passes without its data. Without it, true for a ratio and a latency, else false.",
        ),
        default(
            "interval",
            Form::Duration,
            "5s",
            "The time between two questions.",
        ),
        default(
            "staleAfter",
            Form::Duration,
            "60s",
            "Data older than this is none; at least two scrapes.",
        ),
    ],
    exactly_one_of: &[],
};
