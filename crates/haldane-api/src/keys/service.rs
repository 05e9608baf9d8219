//! Keys of the file, its services and their versions.

use super::{
    Form, METRIC, REQUESTS, ROLLOUT, SOURCE, Table, default, optional, required, step::COMMAND,
};

/// The whole file.
pub(crate) static FILE: Table = Table {
    name: "File",
    doc: "Services, their stable versions, and how new versions of them are rolled out.",
    keys: &[
        default("version", Form::One, "1", "The version of this format."),
        default(
            "notify",
            ONE_OR_MORE_NOTIFY,
            "[]",
            "Who is told of what happens: one or a list.",
        ),
        default(
            "sources",
            Form::MapOf(&Form::Map(&SOURCE)),
            "{}",
            "The metric systems by name, for the services' metrics.",
        ),
        required(
            "services",
            Form::MapOf(&Form::Map(&SERVICE)),
            "The services by name (a-z, 0-9 and '-').",
        ),
    ],
    exactly_one_of: &[],
};

/// What of a service's rollout a `Release` says by the same keys.
pub(crate) static JUDGED_PLAN: Table = Table {
    name: "JudgedPlan",
    doc: "A plan, and what it is judged by.",
    keys: &[
        optional(
            "sources",
            Form::MapOf(&Form::Map(&SOURCE)),
            "The metric systems by name.",
        ),
        optional(
            "metrics",
            Form::MapOf(&Form::Map(&METRIC)),
            "What is measured beside requests, by name.",
        ),
        optional(
            "requests",
            Form::Map(&REQUESTS),
            "Where requests are counted.",
        ),
        optional(
            "rollout",
            Form::Map(&ROLLOUT),
            "How new versions are rolled out.",
        ),
    ],
    exactly_one_of: &[],
};

const ONE_OR_MORE_NOTIFY: Form = Form::Any(&[Form::Map(&NOTIFY), Form::List(&Form::Map(&NOTIFY))]);

/// Who is told.
pub(crate) static NOTIFY: Table = Table {
    name: "Notify",
    doc: "Somebody or something that is told of what happens.",
    keys: &[required(
        "webhook",
        Form::Url,
        "The URL to which each event is posted as JSON.",
    )],
    exactly_one_of: &[],
};

/// A service.
pub(crate) static SERVICE: Table = Table {
    name: "Service",
    doc: "A service: where it listens, its stable version, and how new versions are rolled out.",
    keys: &[
        required(
            "listen",
            Form::Any(&[Form::Listen, Form::List(&Form::Listen)]),
            "An address such as 0.0.0.0:8080, or a list; `:8080` and `8080` mean all IPv4 interfaces.",
        ),
        optional(
            "host",
            Form::Text,
            "The host that requests must name: exact, or `*.example.com` for the hosts one level below. Without it, any.",
        ),
        optional(
            "path",
            Form::Text,
            "The prefix that the path of requests must have, whole segments, such as `/auth`. Without it, any.",
        ),
        required(
            "stable",
            Form::Map(&STABLE),
            "The version that serves users at first.",
        ),
        default(
            "health",
            Form::Map(&HEALTH),
            "{}",
            "How a replica's health is told.",
        ),
        default(
            "stopGrace",
            Form::Duration,
            "10s",
            "How long a process may take to end before it is killed.",
        ),
        default(
            "startGrace",
            Form::Duration,
            "60s",
            "How long a process may take to become healthy before it is started again.",
        ),
        default(
            "override",
            Form::Any(&[Form::Choice(&["off"]), Form::Map(&OVERRIDE)]),
            "{}",
            "How a request asks for one of the versions itself, or `off`.",
        ),
        optional(
            "unmeasured",
            Form::Any(&[Form::Text, Form::List(&Form::Text)]),
            "Paths whose requests are not measured. Without it, the health path.",
        ),
        default(
            "timeouts",
            Form::Map(&TIMEOUTS),
            "{}",
            "How long the proxy waits.",
        ),
        default(
            "limits",
            Form::Map(&LIMITS),
            "{}",
            "What the proxy accepts.",
        ),
        default(
            "metrics",
            Form::MapOf(&Form::Map(&METRIC)),
            "{}",
            "What other systems measure of the service, by name; the judge compares the versions by it, too.",
        ),
        default(
            "rollout",
            Form::Map(&ROLLOUT),
            "{}",
            "How a new version is rolled out.",
        ),
    ],
    exactly_one_of: &[],
};

/// A version and where it comes from.
pub(crate) static STABLE: Table = Table {
    name: "Stable",
    doc: "A version, and the program that is started for it or the URLs where it runs already.",
    keys: &[
        required(
            "version",
            Form::Scalar,
            "The version's name: letters, digits, dots, dashes and underscores.",
        ),
        optional(
            "run",
            COMMAND,
            "The program and its arguments, as a command line or a list, with `$PORT` for the port to listen on.",
        ),
        optional(
            "url",
            Form::Url,
            "The http:// URL where the version runs already.",
        ),
        optional(
            "urls",
            Form::List(&Form::Url),
            "The http:// URLs where replicas of the version run already.",
        ),
        default(
            "replicas",
            Form::Count(1),
            "1",
            "How many processes to start; with `run` only.",
        ),
        default(
            "env",
            Form::MapOf(&Form::Scalar),
            "{}",
            "Environment variables; with `run` only.",
        ),
        default(
            "dir",
            Form::Text,
            ".",
            "The working directory, relative to this file; with `run` only.",
        ),
        optional(
            "user",
            Form::Text,
            "The user to run as; with `run` only. Without it, the daemon's.",
        ),
    ],
    exactly_one_of: &["run", "url", "urls"],
};

/// Health checks.
pub(crate) static HEALTH: Table = Table {
    name: "Health",
    doc: "How a replica's health is told.",
    keys: &[
        optional(
            "path",
            Form::Text,
            "The path that answers 2xx when healthy. Without it, an accepted connection is enough.",
        ),
        default(
            "interval",
            Form::Duration,
            "1s",
            "The time between two checks.",
        ),
        default(
            "timeout",
            Form::Duration,
            "1s",
            "How long a check may take.",
        ),
        default(
            "healthyAfter",
            Form::Count(1),
            "1",
            "How many good checks in a row make a replica healthy.",
        ),
        default(
            "unhealthyAfter",
            Form::Count(1),
            "3",
            "How many bad checks in a row make a replica unhealthy.",
        ),
    ],
    exactly_one_of: &[],
};

/// Asking for a version.
pub(crate) static OVERRIDE: Table = Table {
    name: "Override",
    doc: "How a request asks for one of the versions itself; each way can be `off`.",
    keys: &[
        default("header", Form::Text, "x-canary", "The header's name."),
        default("cookie", Form::Text, "canary", "The cookie's name."),
        default("query", Form::Text, "canary", "The query parameter's name."),
    ],
    exactly_one_of: &[],
};

/// Waits of the proxy.
pub(crate) static TIMEOUTS: Table = Table {
    name: "Timeouts",
    doc: "How long the proxy waits.",
    keys: &[
        default(
            "connect",
            Form::Duration,
            "3s",
            "For a connection to a replica.",
        ),
        default(
            "response",
            Form::Duration,
            "30s",
            "For the head of a replica's answer.",
        ),
        default(
            "idle",
            Form::Duration,
            "60s",
            "For the next bytes on an idle connection.",
        ),
    ],
    exactly_one_of: &[],
};

/// Limits of the proxy.
pub(crate) static LIMITS: Table = Table {
    name: "Limits",
    doc: "What the proxy accepts.",
    keys: &[default(
        "bodyBytes",
        Form::Bytes,
        "10MiB",
        "The largest body of a request.",
    )],
    exactly_one_of: &[],
};
