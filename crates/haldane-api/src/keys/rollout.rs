//! Keys of a rollout: its rules, sampling, deadlines, windows and freezes.

use super::{
    Form, GATE, STEP, Table, default,
    guard::GUARDS_FORM,
    optional, required,
    step::{HOLD_FORM, SCALE_FORM},
};

/// A plan.
pub(crate) static ROLLOUT: Table = Table {
    name: "Rollout",
    doc: "The steps of a rollout and the rules that hold during all of them.",
    keys: &[
        optional(
            "preset",
            Form::Text,
            "The name of a known plan, such as `fast` or `CodeDeployDefault.Linear10PercentEvery1Minute`, instead of steps.",
        ),
        default(
            "steps",
            Form::List(&ONE_STEP),
            "[5%, 25%, 50%, 100%]",
            "What is done, in order; a bare share sets the weight and then holds.",
        ),
        default(
            "hold",
            HOLD_FORM,
            "5m",
            "How long each bare share holds, unless a hold of its own follows it.",
        ),
        default(
            "guards",
            GUARDS_FORM,
            "errorRate: 5%, p99: 1s, p95: 500ms (warn)",
            "The limits that the canary must keep, or `none`: then nothing is judged, unless `judge` is given.",
        ),
        default(
            "judge",
            Form::Any(&[
                Form::Choice(&["sequential", "threshold"]),
                Form::Map(&JUDGE),
            ]),
            "sequential",
            "Whether the canary is also compared with stable by the sequential judge: `sequential`, how sure it must be, or `threshold` for the guards alone.",
        ),
        default(
            "bands",
            Form::Choice(&["learned", "none"]),
            "learned",
            "What is usual at each hour: `learned` from stable and compared with, so that what is unusual is shown and asks a person where a mode is `hybrid`, or `none`.",
        ),
        default(
            "sampling",
            Form::Map(&SAMPLING),
            "{}",
            "How samples are collected.",
        ),
        default(
            "judgeFromStep",
            Form::Count(0),
            "0",
            "The first of the steps, counted from 0, during which the canary is judged.",
        ),
        default(
            "canaryScale",
            SCALE_FORM,
            "full",
            "The canary's size: `full`, `matchWeight`, a share of its full size, or a number.",
        ),
        default(
            "onFailure",
            Form::Choice(&["rollback", "hold", "pauseAtZero"]),
            "rollback",
            "What to do when the canary is judged bad.",
        ),
        default(
            "onInconclusive",
            DOUBT,
            "hold",
            "What to do when the judge can't tell at the end of a wait.",
        ),
        default(
            "onNoData",
            DOUBT,
            "hold",
            "What to do when there is too little data at the end of a wait.",
        ),
        default(
            "advance",
            MODE,
            "auto",
            "Who decides at the end of each step but the last.",
        ),
        default(
            "promote",
            MODE,
            "auto",
            "Who decides at the end of the last step.",
        ),
        default(
            "bake",
            Form::Duration,
            "0s",
            "How long the old version stays warm, and is judged against, after all traffic has moved.",
        ),
        default(
            "deadlines",
            Form::Map(&DEADLINES),
            "{}",
            "How long each kind of wait may last.",
        ),
        default(
            "windows",
            Form::List(&Form::Map(&WINDOW)),
            "[]",
            "When weight may rise; none means always.",
        ),
        default(
            "freezes",
            Form::List(&Form::Map(&FREEZE)),
            "[]",
            "When weight may not rise.",
        ),
        default(
            "hooks",
            Form::Map(&HOOKS),
            "{}",
            "Who is asked at certain moments of every rollout.",
        ),
    ],
    exactly_one_of: &[],
};

const QUESTIONS: Form = Form::List(&Form::Map(&GATE));

/// Questions at certain moments.
pub(crate) static HOOKS: Table = Table {
    name: "Hooks",
    doc: "Who is asked at certain moments of a rollout, one after another; each entry has the keys of a gate.",
    keys: &[
        default(
            "beforeRollout",
            QUESTIONS,
            "[]",
            "Asked before the canary gets its first request; it runs by then.",
        ),
        default(
            "eachStep",
            QUESTIONS,
            "[]",
            "Asked after the steps of each weight, and of test traffic, before the weight rises again.",
        ),
        default(
            "beforePromotion",
            QUESTIONS,
            "[]",
            "Asked after the last step, before a person who is to promote.",
        ),
        default(
            "afterRollback",
            QUESTIONS,
            "[]",
            "Told after the rollout was rolled back; the answers are kept and change nothing.",
        ),
    ],
    exactly_one_of: &[],
};

const ONE_STEP: Form = Form::Any(&[Form::Weight, Form::Map(&STEP)]);
const DOUBT: Form = Form::Choice(&["advance", "hold", "rollback"]);
const MODE: Form = Form::Choice(&["auto", "manual", "hybrid"]);

/// How sure the sequential judge must be.
pub(crate) static JUDGE: Table = Table {
    name: "Judge",
    doc: "How the sequential judge compares the canary with stable.",
    keys: &[
        default(
            "alpha",
            Form::Limit,
            "1%",
            "The chance to roll back a canary that is no worse, over the whole rollout, is at most this.",
        ),
        default(
            "beta",
            Form::Limit,
            "5%",
            "The chance to go on early with a canary that is worse than `accept` allows is at most this, for each metric.",
        ),
        default(
            "harm",
            Form::Limit,
            "1.1x",
            "From this multiple of stable's rate on the canary does harm.",
        ),
        default(
            "accept",
            Form::Limit,
            "1.5x",
            "Going on early needs evidence that the canary's rate is below this multiple of stable's, ...",
        ),
        default(
            "acceptPlus",
            Form::Limit,
            "+0.2pp",
            "... plus this share of its requests.",
        ),
        default(
            "leeway",
            Form::Limit,
            "10%",
            "A latency of the canary's counts as above a bound only if it is so much above it, ...",
        ),
        default(
            "leewayMin",
            Form::Duration,
            "2ms",
            "... and at least this much, as far as the buckets tell.",
        ),
        default(
            "warmUp",
            Form::Duration,
            "4s",
            "For so long after the canary's first request, and after replicas were added, only latencies far above a bound count; failures always do.",
        ),
    ],
    exactly_one_of: &[],
};

/// How samples are collected.
pub(crate) static SAMPLING: Table = Table {
    name: "Sampling",
    doc: "How samples are collected.",
    keys: &[
        default(
            "window",
            Form::Duration,
            "60s",
            "How far back samples are used.",
        ),
        default(
            "requestsMin",
            Form::Count(1),
            "100",
            "How many requests of a version a verdict on it needs.",
        ),
        default(
            "staleAfter",
            Form::Duration,
            "15s",
            "How old the newest sample may be.",
        ),
    ],
    exactly_one_of: &[],
};

/// How long waits last.
pub(crate) static DEADLINES: Table = Table {
    name: "Deadlines",
    doc: "How long each kind of wait may last.",
    keys: &[
        default("window", Form::Duration, "168h", "For a window to open."),
        default(
            "ready",
            Form::Duration,
            "10m",
            "For a version to become ready.",
        ),
        default(
            "lost",
            Form::Duration,
            "30s",
            "For the canary to come back after its last ready replica was lost.",
        ),
        default(
            "traffic",
            Form::Duration,
            "5m",
            "For traffic to be applied and verified.",
        ),
        default(
            "evidence",
            Form::Duration,
            "1h",
            "For evidence, after the planned wait is over.",
        ),
        default(
            "confirm",
            Form::Duration,
            "5m",
            "For harm to show while stable has half of the traffic again, because the canary looked bad with all of it.",
        ),
        default("person", Form::Duration, "168h", "For a person."),
        default(
            "drain",
            Form::Duration,
            "30s",
            "For requests in flight to end before a version is stopped.",
        ),
    ],
    exactly_one_of: &[],
};

/// A weekly span of time.
pub(crate) static WINDOW: Table = Table {
    name: "Window",
    doc: "A weekly span of time in which weight may rise.",
    keys: &[
        default(
            "days",
            Form::Any(&[Form::Text, Form::List(&Form::Text)]),
            "mon-sun",
            "Days of the week: `mon-fri`, `sat,sun`, or a list.",
        ),
        default(
            "from",
            Form::TimeOfDay,
            "00:00",
            "When it opens, such as 09:00.",
        ),
        default(
            "to",
            Form::TimeOfDay,
            "24:00",
            "When it closes, on the same day, such as 17:00.",
        ),
        default(
            "timeZone",
            Form::Text,
            "UTC",
            "The time zone's IANA name, such as Europe/Berlin.",
        ),
    ],
    exactly_one_of: &[],
};

/// A span of time without rises.
pub(crate) static FREEZE: Table = Table {
    name: "Freeze",
    doc: "A span of time in which weight may not rise.",
    keys: &[
        required(
            "from",
            Form::Timestamp,
            "When it begins, such as 2026-12-20T00:00:00Z.",
        ),
        required(
            "to",
            Form::Timestamp,
            "When it ends, such as 2027-01-02T00:00:00Z.",
        ),
        default("reason", Form::Text, "", "Why, for people."),
    ],
    exactly_one_of: &[],
};
