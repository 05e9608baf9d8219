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
    doc: "Credentials: a token, user and password, Datadog's two keys, or the keys of AWS; and the certificates of TLS.",
    keys: &[
        optional(
            "token",
            Form::Map(&SECRET),
            "A token or key, sent in the provider's own way; `Bearer` for Prometheus.",
        ),
        optional("username", TEXT_OR_SECRET, "The user."),
        optional("password", Form::Map(&SECRET), "The password."),
        optional("apiKey", Form::Map(&SECRET), "Datadog's API key."),
        optional("appKey", Form::Map(&SECRET), "Datadog's application key."),
        optional("accessKeyId", TEXT_OR_SECRET, "The name of the AWS key."),
        optional("secretAccessKey", Form::Map(&SECRET), "The AWS key."),
        optional(
            "sessionToken",
            Form::Map(&SECRET),
            "The token of temporary AWS keys.",
        ),
        optional(
            "ca",
            Form::Map(&SECRET),
            "The certificates (PEM) of the authorities that may vouch for the server, instead of those that this machine trusts.",
        ),
        optional(
            "clientCertificate",
            Form::Map(&SECRET),
            "The certificate (PEM) to show to the server, with those between it and its authority; needs `clientKey`.",
        ),
        optional(
            "clientKey",
            Form::Map(&SECRET),
            "The private key (PEM) of `clientCertificate`.",
        ),
    ],
    exactly_one_of: &[],
};

const PROVIDERS: [&str; 16] = [
    "prometheus",
    "cloudWatch",
    "datadog",
    "dynatrace",
    "google",
    "graphite",
    "influxdb",
    "newRelic",
    "signalFx",
    "splunk",
    "wavefront",
    "command",
    "externalMetrics",
    "keptn",
    "skywalking",
    "web",
];

/// A metric system.
pub(crate) static SOURCE: Table = Table {
    name: "Source",
    doc: "A metric system that is asked about both versions, by the URL at which its API is.",
    keys: &[
        optional(
            "prometheus",
            Form::Url,
            "Prometheus, or what speaks its API: Thanos, Mimir, Cortex, VictoriaMetrics.",
        ),
        optional(
            "cloudWatch",
            Form::Url,
            "Amazon CloudWatch; needs `region`.",
        ),
        optional(
            "datadog",
            Form::Url,
            "Datadog, such as https://api.datadoghq.com.",
        ),
        optional("dynatrace", Form::Url, "Dynatrace."),
        optional(
            "google",
            Form::Url,
            "Google Cloud Monitoring; needs `project`.",
        ),
        optional("graphite", Form::Url, "Graphite."),
        optional(
            "influxdb",
            Form::Url,
            "InfluxDB; needs `org` for Flux, or `database` for SQL.",
        ),
        optional(
            "newRelic",
            Form::Url,
            "New Relic, such as https://api.newrelic.com; needs `account`.",
        ),
        optional("signalFx", Form::Url, "Splunk Observability Cloud."),
        optional("splunk", Form::Url, "Splunk, at its management port."),
        optional("wavefront", Form::Url, "Wavefront."),
        optional(
            "command",
            Form::Any(&[Form::Text, Form::List(&Form::Text)]),
            "A command that writes numbers, run in the service's directory; queries are `[ARGUMENTS] [JSONPATH]`.",
        ),
        optional(
            "externalMetrics",
            Form::Url,
            "Kubernetes' external metrics, by the URL of its API; queries are `[NAMESPACE/]METRIC[?labelSelector=…]`.",
        ),
        optional(
            "keptn",
            Form::Url,
            "Keptn's metrics, by the URL of the Kubernetes API; queries are `keptnmetric/NAMESPACE/NAME`.",
        ),
        optional(
            "skywalking",
            Form::Url,
            "Apache SkyWalking; queries are `SERVICE EXPRESSION`.",
        ),
        optional(
            "web",
            Form::Url,
            "JSON on the web; queries are `[METHOD] [/PATH][?PARAMETERS] [JSONPATH]`, and a body in further lines.",
        ),
        optional(
            "region",
            Form::Text,
            "The AWS region; for Prometheus, Amazon's managed service.",
        ),
        optional("project", Form::Text, "Google's project."),
        optional("account", Form::Scalar, "New Relic's account, a number."),
        optional("org", Form::Text, "InfluxDB's organization."),
        optional("database", Form::Text, "InfluxDB's database."),
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
            "Headers to send along, to Prometheus or the web.",
        ),
        optional(
            "tenant",
            Form::Text,
            "The tenant, sent to Prometheus as `X-Scope-OrgID`.",
        ),
    ],
    exactly_one_of: &PROVIDERS,
};

/// Each template with the variables that it needs besides the service and the version, and what a version is called in a `Release`
/// unless that says otherwise.
pub(crate) const TEMPLATES: [(&str, &[&str], &str); 16] = [
    ("apisix", &["namespace"], "{{service}}"),
    ("appmesh", &["namespace"], "{{deployment}}"),
    ("contour", &["namespace"], "{{service}}"),
    ("gateway-api", &["namespace"], "{{deployment}}"),
    ("gloo", &["namespace"], "{{service}}"),
    ("haldane", &[], "{{version}}"),
    ("istio", &["namespace"], "{{deployment}}"),
    ("istio-gateway", &["namespace"], "{{service}}"),
    ("knative", &["namespace"], "{{version}}"),
    ("kuma", &["namespace"], "{{service}}"),
    ("linkerd", &["namespace"], "{{deployment}}"),
    ("nginx", &["ingress", "namespace"], "{{side}}"),
    ("osm", &["namespace"], "{{deployment}}"),
    ("plain", &[], "{{side}}"),
    ("skipper", &["ingress", "namespace"], "{{service}}"),
    ("traefik", &["namespace"], "{{service}}"),
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

/// A metric of another system, or of the proxy's own counts.
pub(crate) static METRIC: Table = Table {
    name: "Metric",
    doc: "A metric by which the sequential judge compares the versions: of another system, where `template`, `query`, or `events` and `exposure` say what is asked; or of requests that the proxy counts, `hit` and `of`. In queries `{{service}}`, `{{version}}`, `{{workload}}`, `{{window}}` and the variables are filled in.",
    keys: &[
        required(
            "kind",
            Form::Choice(&["ratio", "counter", "latency", "gauge", "conversion"]),
            "What it is: some of many (ratio), events in time (counter), latencies in buckets (latency), what each pod uses (gauge), or a share that is not small (conversion).",
        ),
        optional(
            "source",
            Form::Text,
            "The name of the metric system to ask, one of `sources`; none for `hit` and `of`, which the proxy counts itself.",
        ),
        optional(
            "hit",
            Form::Text,
            "Requests that the proxy counts as hits, for kind conversion or ratio: `[METHOD] PATH [STATUS]`, such as `POST /checkout 2xx`. `*` stands for any method and for one segment of the path, `**` at its end for the rest; a status is such as `2xx`, `200` or `!5xx`.",
        ),
        optional(
            "of",
            Form::Text,
            "Requests that could lead to a hit, in the same form, such as `GET /cart`.",
        ),
        optional(
            "within",
            Form::Duration,
            "Within which time of `of` nearly all hits come: what is counted sooner than this after a change of the weight is not compared. Without it, 1m; 1s where `hit` is the same request with a certain status.",
        ),
        optional(
            "template",
            Form::Choice(&TEMPLATE_NAMES),
            "The queries of a known mesh or ingress for failed requests (ratio) or latency; see `haldane metrics show`.",
        ),
        optional(
            "query",
            Form::Text,
            "Of Prometheus, the buckets of a latency, as raw samples such as `http_seconds_bucket{version=\"{{version}}\"}[{{window}}]`, or of any system one number for each pod of a gauge.",
        ),
        optional(
            "events",
            Form::Text,
            "What happened: of Prometheus raw samples of counters such as `failures_total{version=\"{{version}}\"}[{{window}}]`, of the web and of commands how many so far, else how many in each step.",
        ),
        optional(
            "exposure",
            Form::Text,
            "What could have happened, in the same form. Without it, for kind counter of Prometheus, the web and commands, the time that passed.",
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
        optional(
            "limit",
            Form::Scalar,
            "What the canary must keep to whatever stable does: a share such as 1%, or of a gauge a number; a conversion must not fall below it. Without it, it is compared with stable alone.",
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
        optional(
            "interval",
            Form::Duration,
            "The time between two questions; of a system other than Prometheus, the length of the steps in which it counts. Without it, 5s for Prometheus, 15s for web and command, else 60s.",
        ),
        optional(
            "staleAfter",
            Form::Duration,
            "Data older than this is none; at least two scrapes, or four steps. Without it, 60s for Prometheus, web and command, `within` and 60s for the proxy, else 5m.",
        ),
    ],
    exactly_one_of: &[],
};

/// Where a release's requests are counted.
pub(crate) static REQUESTS: Table = Table {
    name: "Requests",
    doc: "Where the requests of both versions are counted: in a Prometheus, by the series of a known mesh or ingress (`template`), or by series of your own (`counter`, `select`, `failed`).",
    keys: &[
        required(
            "source",
            Form::Text,
            "The name of a Prometheus, one of `sources`.",
        ),
        optional(
            "template",
            Form::Choice(&TEMPLATE_NAMES),
            "The series of a known mesh or ingress; see `haldane metrics show`.",
        ),
        optional(
            "counter",
            Form::Text,
            "The name of the counter of requests, such as `http_requests_total`.",
        ),
        optional(
            "select",
            Form::Text,
            "The matchers that find a version's series, of the counter and of the histogram, such as `namespace=\"{{namespace}}\",pod=~\"{{replicaset}}-.+\"`.",
        ),
        optional(
            "failed",
            Form::Text,
            "The matcher that tells failed requests, such as `code=~\"5..\"`: one label, with `.` for any character and `|` between alternatives.",
        ),
        optional(
            "latency",
            Form::Text,
            "The name of the histogram of latencies without its suffix, such as `http_request_duration_seconds`. Without it latencies are not known.",
        ),
        default(
            "unit",
            Form::Choice(&["s", "ms", "us"]),
            "s",
            "The unit of the histogram's bounds.",
        ),
        default(
            "variables",
            Form::MapOf(&Form::Scalar),
            "{}",
            "What else is filled in, or instead of what is known: `namespace`, `ingress`, `route`.",
        ),
        optional(
            "workload",
            Form::Text,
            "What the metric system calls a version. Without it, as the template has it: `{{deployment}}` or `{{service}}`.",
        ),
        default(
            "interval",
            Form::Duration,
            "5s",
            "The time between two questions.",
        ),
    ],
    exactly_one_of: &["template", "counter"],
};
