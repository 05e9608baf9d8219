//! Keys of the steps of a plan.

use super::{Form, Table, default, guard::GUARDS_FORM, optional, required};

/// How long to wait.
pub(super) const HOLD_FORM: Form = Form::Any(&[
    Form::Duration,
    Form::Choice(&["untilResumed"]),
    Form::Map(&HOLD),
]);

/// A size of the canary.
pub(super) const SCALE_FORM: Form = Form::Any(&[
    Form::Choice(&["full", "matchWeight"]),
    Form::Weight,
    Form::Count(1),
]);

/// A program and its arguments.
pub(super) const COMMAND: Form = Form::Any(&[Form::Text, Form::List(&Form::Scalar)]);

/// A step.
pub(crate) static STEP: Table = Table {
    name: "Step",
    doc: "One step of a plan.",
    keys: &[
        optional(
            "weight",
            Form::Weight,
            "Send this share of traffic to the canary.",
        ),
        optional(
            "testTraffic",
            Form::True,
            "Open the canary to requests that ask for it, at weight 0.",
        ),
        optional(
            "hold",
            HOLD_FORM,
            "Wait: for a time, until resumed, or for evidence with `min` and `max`.",
        ),
        optional("scaleCanary", SCALE_FORM, "Change the canary's size."),
        optional(
            "analysis",
            Form::Map(&ANALYSIS),
            "Judge for a while with guards of its own.",
        ),
        optional(
            "experiment",
            Form::Map(&EXPERIMENT),
            "Run fresh copies of versions beside each other and judge them.",
        ),
        optional(
            "headerRoute",
            Form::Map(&HEADER_ROUTE),
            "Send requests with certain headers to the canary.",
        ),
        optional(
            "mirror",
            Form::Weight,
            "Copy a share of stable's requests to the canary and drop its answers; 0% ends it.",
        ),
        optional(
            "gate",
            Form::Map(&GATE),
            "Ask somebody or something whether to go on.",
        ),
    ],
    exactly_one_of: &[
        "weight",
        "testTraffic",
        "hold",
        "scaleCanary",
        "analysis",
        "experiment",
        "headerRoute",
        "mirror",
        "gate",
    ],
};

/// A wait for evidence.
pub(crate) static HOLD: Table = Table {
    name: "Hold",
    doc: "A wait until the judge has seen enough.",
    keys: &[
        required("min", Form::Duration, "The shortest wait."),
        required("max", Form::Duration, "The longest wait."),
    ],
    exactly_one_of: &[],
};

/// A judged step.
pub(crate) static ANALYSIS: Table = Table {
    name: "Analysis",
    doc: "A judged step.",
    keys: &[
        default("name", Form::Text, "analysis", "The name shown to people."),
        required(
            "duration",
            Form::Duration,
            "How long to collect samples before the verdict.",
        ),
        required("guards", GUARDS_FORM, "The limits to keep."),
    ],
    exactly_one_of: &[],
};

/// Copies judged beside each other.
pub(crate) static EXPERIMENT: Table = Table {
    name: "Experiment",
    doc: "Fresh copies of versions, judged beside each other.",
    keys: &[
        required(
            "arms",
            Form::List(&Form::Map(&ARM)),
            "The copies to run, as a list.",
        ),
        required("analysis", Form::Map(&ANALYSIS), "How they are judged."),
    ],
    exactly_one_of: &[],
};

/// A copy.
pub(crate) static ARM: Table = Table {
    name: "Arm",
    doc: "One copy in an experiment.",
    keys: &[
        required("name", Form::Text, "The name shown to people."),
        required(
            "of",
            Form::Choice(&["stable", "canary"]),
            "Which version is copied: stable or canary.",
        ),
        default("replicas", Form::Count(0), "1", "How many replicas it has."),
        default("weight", Form::Weight, "0%", "Its share of traffic."),
    ],
    exactly_one_of: &[],
};

/// A route by header.
pub(crate) static HEADER_ROUTE: Table = Table {
    name: "HeaderRoute",
    doc: "A rule that sends matching requests to the canary.",
    keys: &[
        required(
            "name",
            Form::Text,
            "The rule's name; the same name again replaces the rule.",
        ),
        default(
            "match",
            Form::List(&Form::Map(&HEADER_MATCH)),
            "[]",
            "What must all match; empty removes the rule.",
        ),
    ],
    exactly_one_of: &[],
};

/// A condition on a header.
pub(crate) static HEADER_MATCH: Table = Table {
    name: "HeaderMatch",
    doc: "A condition on one header.",
    keys: &[
        required("header", Form::Text, "The header's name."),
        optional("exact", Form::Scalar, "The value is exactly this."),
        optional("prefix", Form::Scalar, "The value begins with this."),
        optional(
            "regex",
            Form::Scalar,
            "The whole value matches this regular expression (RE2 syntax).",
        ),
        optional(
            "present",
            Form::True,
            "The header is there, with any value.",
        ),
    ],
    exactly_one_of: &["exact", "prefix", "regex", "present"],
};

/// A question.
pub(crate) static GATE: Table = Table {
    name: "Gate",
    doc: "A question whose answer lets the rollout go on or ends it.",
    keys: &[
        optional(
            "name",
            Form::Text,
            "The name shown to people. Without it, the kind of question.",
        ),
        optional("approval", Form::True, "A person is asked."),
        optional("webhook", Form::Url, "A web service is asked: 2xx goes on."),
        optional(
            "run",
            COMMAND,
            "A command is asked: exit code 0 goes on. `$CANARY_URL`, `$STABLE_URL` and `$VERSION` are replaced.",
        ),
        optional(
            "job",
            Form::Text,
            "On Kubernetes: a Job made of the suspended CronJob of this name is asked; when it completes, the rollout goes on.",
        ),
        optional(
            "timeout",
            Form::Duration,
            "How long to wait; no answer by then is a no. Without it, 168h for a person and 5m for the others.",
        ),
    ],
    exactly_one_of: &["approval", "webhook", "run", "job"],
};
