//! Rules about plans and about the services of a release file.

use super::{Rule, Severity};

/// A release file with one service, to which these lines belong.
macro_rules! service {
    ($lines:literal) => {
        concat!(
            "services:\n  shop:\n    listen: 8080\n    stable: { version: v1, run: ./shop, replicas: 2 }\n    health: { path: /health }\n",
            $lines
        )
    };
}

/// A Release to whose spec these lines belong.
macro_rules! release {
    ($lines:literal) => {
        concat!(
            "apiVersion: haldane.dev/v1alpha1\nkind: Release\nmetadata: { name: shop }\nspec:\n  workload: { deployment: { name: shop } }\n",
            $lines
        )
    };
}

pub(in crate::lint) static INVALID: Rule = Rule {
    id: "invalid",
    severity: Severity::Error,
    title: "What is written is refused",
    why: "An unknown key, a value that can't be read, or values that contradict each other. `haldane up`, `apply` and the \
          controller refuse the whole file, rather than to roll out something other than was meant.",
    fix: "write what is expected there",
    bad: service!("    rollout: { steps: [5%, 500%] }\n"),
    good: service!("    rollout: { steps: [5%, 50%] }\n"),
};

pub(in crate::lint) static BLIND_CANARY: Rule = Rule {
    id: "blind-canary",
    severity: Severity::Warning,
    title: "Nothing judges the canary",
    why: "Users are sent to a new version step by step, but nobody looks: a bad one is promoted like a good one, only later.",
    fix: "give guards such as { errorRate: 5% }, or a gate that a person answers",
    bad: service!("    rollout: { guards: none }\n"),
    good: service!("    rollout: { guards: { errorRate: 5% } }\n"),
};

pub(in crate::lint) static NO_ROLLBACK: Rule = Rule {
    id: "no-rollback-trigger",
    severity: Severity::Warning,
    title: "Nothing rolls a bad canary back",
    why: "Figures that only warn, and verdicts that only wait, leave users on a version that is known to be bad until somebody \
          wakes up.",
    fix: "let a failure roll back (onFailure: rollback, the default; or pauseAtZero), and make at least one guard critical",
    bad: service!("    rollout: { onFailure: hold }\n"),
    good: service!("    rollout: { onFailure: pauseAtZero }\n"),
};

pub(in crate::lint) static NO_METRICS: Rule = Rule {
    id: "no-metrics",
    severity: Severity::Warning,
    title: "Requests are not counted anywhere",
    why: "A Release without `requests` knows nothing of what users get. Its guards and its judge have no data, no data is never \
          good news, and so no rollout of it ends by itself.",
    fix: "name the metric system under sources, and how it counts requests: requests: { source: prom, template: istio }",
    bad: release!("  routers: [{ gateway: { httpRoute: shop } }]\n"),
    good: release!(
        "  routers: [{ gateway: { httpRoute: shop } }]\n  sources: { prom: { prometheus: \"http://prometheus.monitoring:9090\" } }\n  requests: { source: prom, template: contour }\n"
    ),
};

pub(in crate::lint) static NO_BASELINE: Rule = Rule {
    id: "no-baseline",
    severity: Severity::Note,
    title: "The canary is held against fixed limits alone",
    why: "A limit says nothing of what is usual now. When a dependency is down, both versions break it, and a good canary is \
          rolled back; and what is ten times worse than stable, but within the limit, passes.",
    fix: "compare with stable, too: judge: sequential, or a guard such as { errorRate: +1pp }",
    bad: service!("    rollout: { judge: threshold, guards: { errorRate: 5%, p95: 500ms } }\n"),
    good: service!("    rollout: { guards: { errorRate: 5%, p95: 500ms } }\n"),
};

pub(in crate::lint) static ERRORS_UNWATCHED: Rule = Rule {
    id: "errors-unwatched",
    severity: Severity::Note,
    title: "The error rate is not judged",
    why: "A version whose requests fail quickly is fast, uses little, and restarts never.",
    fix: "give a guard on errors, such as { errorRate: 5% }, or judge: sequential",
    bad: service!("    rollout: { judge: threshold, guards: { p95: 500ms, p99: 1s } }\n"),
    good: service!(
        "    rollout: { judge: threshold, guards: { p95: 500ms, p99: 1s, errorRate: 5% } }\n"
    ),
};

pub(in crate::lint) static LATENCY_UNWATCHED: Rule = Rule {
    id: "latency-unwatched",
    severity: Severity::Note,
    title: "Latency is not judged",
    why: "A version that answers everything, but late, loses users all the same.",
    fix: "give a guard on latency, such as { p95: 500ms }, or judge: sequential",
    bad: service!("    rollout: { judge: threshold, guards: { errorRate: 5% } }\n"),
    good: service!("    rollout: { judge: threshold, guards: { errorRate: 5%, p95: 500ms } }\n"),
};

pub(in crate::lint) static ALL_AT_ONCE: Rule = Rule {
    id: "all-at-once",
    severity: Severity::Warning,
    title: "All traffic moves at once",
    why: "Whatever is wrong with the canary hits every user, and there is no stable left to compare it with.",
    fix: "begin with a small share such as 5%",
    bad: service!("    rollout: { steps: [100%] }\n"),
    good: service!("    rollout: { steps: [5%, 25%, 50%, 100%] }\n"),
};

pub(in crate::lint) static BIG_FIRST_STEP: Rule = Rule {
    id: "big-first-step",
    severity: Severity::Warning,
    title: "The first step is no trial any more",
    why: "The first step meets the faults that nobody knew of. The fewer users it has, the fewer are hit.",
    fix: "begin with a small share such as 5%",
    bad: service!("    rollout: { steps: [60%, 100%] }\n"),
    good: service!("    rollout: { steps: [5%, 60%, 100%] }\n"),
};

pub(in crate::lint) static JUMP_TO_FULL: Rule = Rule {
    id: "jump-to-full",
    severity: Severity::Warning,
    title: "All traffic follows soon after a small share",
    why: "What breaks under load does not break at 5 %: pools, caches, locks, quotas. Between a small share and all of the \
          traffic belongs a larger one, or more time.",
    fix: "put a step such as 50% between, or hold the small share for ten minutes or more",
    bad: service!("    rollout: { steps: [5%, 100%], hold: 5m }\n"),
    good: service!("    rollout: { steps: [5%, 50%, 100%], hold: 5m }\n"),
};

pub(in crate::lint) static STEPS_DO_NOT_RISE: Rule = Rule {
    id: "steps-do-not-rise",
    severity: Severity::Warning,
    title: "A step has no larger share than the one before",
    why: "It is a slip of the pen, or it sends users who have met the canary back and forth.",
    fix: "let the shares rise from step to step",
    bad: service!("    rollout: { steps: [5%, 25%, 25%, 100%] }\n"),
    good: service!("    rollout: { steps: [5%, 25%, 50%, 100%] }\n"),
};

pub(in crate::lint) static STEP_WITHOUT_HOLD: Rule = Rule {
    id: "step-without-hold",
    severity: Severity::Warning,
    title: "A share is not held",
    why: "The next step follows at once, so that the share shows nothing: it is as if the step were not there.",
    fix: "hold the share for some minutes",
    bad: service!("    rollout: { steps: [5%, { weight: 25% }, 50%, 100%] }\n"),
    good: service!("    rollout: { steps: [5%, 25%, 50%, 100%] }\n"),
};

pub(in crate::lint) static SHORT_HOLD: Rule = Rule {
    id: "short-hold",
    severity: Severity::Warning,
    title: "A step ends before one sampling window has passed",
    why: "Guards are measured over a window. A step that is shorter is judged by what was measured before it.",
    fix: "hold longer, or sample for less",
    bad: service!("    rollout: { hold: 30s }\n"),
    good: service!("    rollout: { hold: 5m }\n"),
};

pub(in crate::lint) static FAST_ROLLOUT: Rule = Rule {
    id: "fast-rollout",
    severity: Severity::Note,
    title: "The whole trial takes less than five minutes",
    why: "Leaks, caches that run full, and jobs that begin on the hour need longer to show, whatever the traffic is.",
    fix: "hold each step for five minutes or more; with { min: 30s, max: 10m } evidence shortens them",
    bad: service!("    rollout: { steps: [5%, 25%, 50%, 100%], hold: 1m }\n"),
    good: service!("    rollout: { steps: [5%, 25%, 50%, 100%], hold: 10m }\n"),
};

pub(in crate::lint) static FEW_REQUESTS: Rule = Rule {
    id: "few-requests",
    severity: Severity::Warning,
    title: "A step has too few requests for its guards (with --rps)",
    why: "Below `requestsMin` a guard has no data, and no data is never good news: the step waits for more, and in the end for \
          a person. The example is checked with `--rps 1`.",
    fix: "hold longer, give it more weight, or lower sampling.requestsMin",
    bad: service!("    rollout: { steps: [1%, 50%], hold: 5m }\n"),
    good: service!("    rollout: { steps: [20%, 50%], hold: 30m }\n"),
};

pub(in crate::lint) static TOO_FAST_FOR_TRAFFIC: Rule = Rule {
    id: "too-fast-for-traffic",
    severity: Severity::Warning,
    title: "The traffic is too little for the judge to find a bad canary in time (with --rps)",
    why: "Evidence is made of requests. Where the steps are over before even the best test could tell a canary that fails ten \
          times as often from a good one, they are a ceremony. The example is checked with `--rps 1`.",
    fix: "hold longer, or give the steps more weight; `haldane simulate` shows what a plan finds",
    bad: service!("    rollout: { steps: [5%, 50%], hold: 2m }\n"),
    good: service!("    rollout: { steps: [20%, 50%], hold: 3h }\n"),
};

pub(in crate::lint) static LATE_JUDGE: Rule = Rule {
    id: "late-judge",
    severity: Severity::Note,
    title: "Users are on the canary before it is judged",
    why: "What happens in the steps before `judgeFromStep` rolls nothing back.",
    fix: "leave judgeFromStep out, so that the first user counts",
    bad: service!("    rollout: { steps: [5%, 50%, 100%], judgeFromStep: 1 }\n"),
    good: service!("    rollout: { steps: [5%, 50%, 100%] }\n"),
};

pub(in crate::lint) static PASSES_WITHOUT_DATA: Rule = Rule {
    id: "passes-without-data",
    severity: Severity::Warning,
    title: "The rollout goes on without evidence",
    why: "Metrics are missing most often when something is wrong: the exporter hangs with the service, or nobody reaches it.",
    fix: "leave it out, so that the rollout waits for evidence",
    bad: service!("    rollout: { onNoData: advance }\n"),
    good: service!("    rollout: { onNoData: hold }\n"),
};

pub(in crate::lint) static LOOSE_THRESHOLD: Rule = Rule {
    id: "loose-threshold",
    severity: Severity::Warning,
    title: "A limit that only a disaster breaks",
    why: "A guard is there for what is bad, and not only for what everybody sees. With --rps and --base a limit is also held \
          against what chance does to stable's own rate.",
    fix: "set it to a few times what stable has, such as 1%, or compare with stable: +1pp",
    bad: service!("    rollout: { guards: { errorRate: 30%, p95: 500ms } }\n"),
    good: service!("    rollout: { guards: { errorRate: 2%, p95: 500ms } }\n"),
};

pub(in crate::lint) static NARROW_THRESHOLD: Rule = Rule {
    id: "narrow-threshold",
    severity: Severity::Warning,
    title: "A limit that chance breaks (with --rps)",
    why: "In a window with few requests the share of failed ones jumps about. A limit within that noise rolls good canaries \
          back. The example is checked with `--rps 1`.",
    fix: "allow more, or sample for longer; the sequential judge takes care of chance by itself",
    bad: service!("    rollout: { steps: [20%, 50%], hold: 3h, guards: { errorRate: 0.2% } }\n"),
    good: service!("    rollout: { steps: [20%, 50%], hold: 3h, guards: { errorRate: 5% } }\n"),
};

pub(in crate::lint) static MULTIPLE_OF_NOTHING: Rule = Rule {
    id: "multiple-of-nothing",
    severity: Severity::Warning,
    title: "A multiple of stable's errors",
    why: "A good stable has minutes without a single failure, and any multiple of nothing is nothing.",
    fix: "use points such as +1pp, or a fixed share",
    bad: service!("    rollout: { steps: [5%, 50%], guards: { errorRate: 2x } }\n"),
    good: service!("    rollout: { steps: [5%, 50%], guards: { errorRate: +1pp } }\n"),
};

pub(in crate::lint) static NO_COMPARISON: Rule = Rule {
    id: "no-comparison",
    severity: Severity::Warning,
    title: "A guard against stable where stable has no traffic",
    why: "At 100 % stable serves nobody. A limit against it has no data there, and a rollout that must keep it never ends.",
    fix: "give a fixed limit such as 5% or 500ms, or judge at a smaller share",
    bad: service!("    rollout: { steps: [5%, 50%, 100%], guards: { p95: 2x } }\n"),
    good: service!("    rollout: { steps: [5%, 50%, { weight: 100% }], guards: { p95: 2x } }\n"),
};

pub(in crate::lint) static UNMEASURED_GUARD: Rule = Rule {
    id: "unmeasured-guard",
    severity: Severity::Warning,
    title: "A guard on what is not measured",
    why: "Processor, memory and restarts are those of processes that are started here. Of servers behind a URL nothing is known \
          of them.",
    fix: "start it with run, or leave the guard out",
    bad: "services:\n  shop:\n    listen: 8080\n    stable: { version: v1, url: \"http://127.0.0.1:9001\" }\n    health: { path: /health }\n    rollout: { guards: { errorRate: 5%, cpu: 80% } }\n",
    good: "services:\n  shop:\n    listen: 8080\n    stable: { version: v1, url: \"http://127.0.0.1:9001\" }\n    health: { path: /health }\n    rollout: { guards: { errorRate: 5% } }\n",
};

pub(in crate::lint) static UNSEEN_CONVERSION: Rule = Rule {
    id: "unseen-conversion",
    severity: Severity::Warning,
    title: "A step is over before conversions count",
    why: "After each change of the weight a conversion waits for `within`, as what is bought then was begun before. A step that \
          is shorter shows nothing of it.",
    fix: "hold longer, or give a shorter within",
    bad: service!(
        "    rollout: { hold: 1m, sampling: { window: 10s } }\n    metrics: { sales: { kind: conversion, hit: POST /buy, of: GET /cart, within: 5m } }\n"
    ),
    good: service!(
        "    rollout: { hold: 10m }\n    metrics: { sales: { kind: conversion, hit: POST /buy, of: GET /cart, within: 5m } }\n"
    ),
};

pub(in crate::lint) static STALE_TOO_SOON: Rule = Rule {
    id: "stale-too-soon",
    severity: Severity::Warning,
    title: "One late answer makes a metric old",
    why: "What is old is no data, and nothing passes on no data. One answer may always be late.",
    fix: "let staleAfter be at least twice the interval",
    bad: "sources: { prom: { prometheus: \"https://prometheus.example.com\" } }\nservices:\n  shop:\n    listen: 8080\n    stable: { version: v1, run: ./shop, replicas: 2 }\n    health: { path: /health }\n    metrics:\n      mesh: { kind: ratio, source: prom, template: istio, variables: { namespace: shop }, interval: 30s, staleAfter: 40s }\n",
    good: "sources: { prom: { prometheus: \"https://prometheus.example.com\" } }\nservices:\n  shop:\n    listen: 8080\n    stable: { version: v1, run: ./shop, replicas: 2 }\n    health: { path: /health }\n    metrics:\n      mesh: { kind: ratio, source: prom, template: istio, variables: { namespace: shop }, interval: 30s, staleAfter: 2m }\n",
};

pub(in crate::lint) static UNUSED_SOURCE: Rule = Rule {
    id: "unused-source",
    severity: Severity::Warning,
    title: "A metric system from which nothing is taken",
    why: "A metric was meant to be judged and is not, or something is left over.",
    fix: "leave it out, or name it as the source of a metric",
    bad: "sources: { prom: { prometheus: \"https://prometheus.example.com\" } }\nservices:\n  shop: { listen: 8080, stable: { version: v1, run: ./shop }, health: { path: /health } }\n",
    good: "services:\n  shop: { listen: 8080, stable: { version: v1, run: ./shop }, health: { path: /health } }\n",
};

pub(in crate::lint) static PLAIN_CREDENTIALS: Rule = Rule {
    id: "plain-credentials",
    severity: Severity::Warning,
    title: "Credentials go over the network unencrypted",
    why: "Everybody on the way can read them.",
    fix: "use https",
    bad: "sources: { prom: { prometheus: \"http://prometheus.example.com\", auth: { token: { env: TOKEN } } } }\nservices:\n  shop: { listen: 8080, stable: { version: v1, run: ./shop }, health: { path: /health } }\n",
    good: "sources: { prom: { prometheus: \"https://prometheus.example.com\", auth: { token: { env: TOKEN } } } }\nservices:\n  shop: { listen: 8080, stable: { version: v1, run: ./shop }, health: { path: /health } }\n",
};

pub(in crate::lint) static NOBODY_TOLD: Rule = Rule {
    id: "nobody-told",
    severity: Severity::Note,
    title: "Nobody is told of rollouts",
    why: "A rollback that nobody hears of is tried again tomorrow, and a rollout that waits for a person waits for long.",
    fix: "name somebody who is told: a webhook under notify, for Flagger analysis.alerts",
    bad: service!(""),
    good: concat!(
        "notify: [{ webhook: \"https://hooks.example.com/team\" }]\n",
        service!("")
    ),
};

pub(in crate::lint) static NO_HEALTH_CHECK: Rule = Rule {
    id: "no-health-check",
    severity: Severity::Warning,
    title: "A replica's health is not asked for",
    why: "A process that accepts connections may answer each with an error: its database is missing, its files are not there yet.",
    fix: "give a path that answers 2xx when it works: health: { path: /health }",
    bad: "services:\n  shop: { listen: 8080, stable: { version: v1, run: ./shop } }\n",
    good: "services:\n  shop: { listen: 8080, stable: { version: v1, run: ./shop }, health: { path: /health } }\n",
};

pub(in crate::lint) static SINGLE_REPLICA: Rule = Rule {
    id: "single-replica",
    severity: Severity::Note,
    title: "One replica serves everybody",
    why: "While it starts again nobody is served, and its failures look like those of the version.",
    fix: "run two or more",
    bad: "services:\n  shop: { listen: 8080, stable: { version: v1, run: ./shop }, health: { path: /health } }\n",
    good: "services:\n  shop: { listen: 8080, stable: { version: v1, run: ./shop, replicas: 2 }, health: { path: /health } }\n",
};
