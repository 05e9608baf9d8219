//! Which tables there are: the scenarios that the judges are compared on.

use haldane_core::Weight;

use super::{Row, Shows, Table, percent};
use crate::judges::{
    Clumps, Cold, Connections, Conversion, Incident, Judge, Latency, Pods, Scenario, Schedule,
};

/// Returns every table.
#[must_use]
pub fn all() -> Vec<Table> {
    vec![
        healthy(),
        regressions(
            "regressions-0.1",
            "Errors rise from 0.1 %: half after / 95 % after, seconds · excess errors",
            0.001,
        ),
        regressions(
            "regressions-1",
            "Errors rise from 1 %: half after / 95 % after, seconds · excess errors",
            0.01,
        ),
        robust(),
        late(),
        clumps(),
        latency(),
        cold_table(),
        connections(),
        adaptive(),
        conversion(),
        pods(),
        power(),
        time(),
    ]
}

/// Returns 5, 25, 50 and 100 % for five minutes each.
#[must_use]
pub fn usual_schedule() -> Schedule {
    held(&[5, 25, 50, 100], 300)
}

/// Returns weights that rise and fall each minute.
#[must_use]
pub fn changing_schedule() -> Schedule {
    let minutes = [
        5, 50, 10, 80, 2, 30, 60, 20, 90, 5, 70, 40, 15, 85, 25, 50, 1, 95, 33, 66,
    ];
    held(&minutes, 60)
}

/// The requests per second of the tables.
pub const RATES: [u32; 3] = [10, 100, 1_000];

/// Returns a trouble of both versions: 15 in a hundred requests more fail from one minute to another.
#[must_use]
pub const fn incident(from_minute: u32, to_minute: u32) -> Option<Incident> {
    Some(Incident {
        from: from_minute.saturating_mul(60),
        to: to_minute.saturating_mul(60),
        share: 0.15,
    })
}

/// Returns what the row of errors from one share to another is called.
#[must_use]
pub fn errors_name(stable: f64, canary: f64, rps: u32) -> String {
    format!("{} → {}, {rps} rps", percent(stable), percent(canary))
}

/// The judges that others have.
pub(in crate::judges) const PEERS: [Judge; 5] = [
    Judge::Flagger,
    Judge::FlaggerTuned,
    Judge::Argo,
    Judge::FixedWindow,
    Judge::Kayenta,
];

fn with_peers(ours: &[Judge]) -> Vec<Judge> {
    ours.iter().copied().chain(PEERS).collect()
}

fn held(percents: &[u8], hold: u32) -> Schedule {
    Schedule {
        steps: percents.iter().map(|&of| weight(of)).collect(),
        hold,
    }
}

fn weight(percent: u8) -> Weight {
    Weight::from_percent(percent)
}

fn errors(stable: f64, canary: f64, rps: u32) -> Row {
    Row {
        name: errors_name(stable, canary, rps),
        scenario: Scenario::errors(f64::from(rps), stable, canary),
        schedule: usual_schedule(),
    }
}

fn healthy() -> Table {
    let bases = [0.001, 0.01, 0.2];
    let rows = bases
        .into_iter()
        .flat_map(|base| RATES.map(|rps| errors(base, base, rps)));
    Table {
        name: "healthy",
        title: "Healthy canaries rolled back by mistake",
        shows: Shows::Mistakes,
        judges: with_peers(&[
            Judge::Sequential,
            Judge::Scraped,
            Judge::Strict,
            Judge::Adaptive,
            Judge::Threshold,
        ]),
        rows: rows.collect(),
    }
}

/// Returns what a canary may fail that should fail `base`.
#[must_use]
pub fn regressed(base: f64) -> Vec<f64> {
    let ten_times = (base < 0.01).then_some(10.0 * base);
    let multiples = [1.5, 2.0, 5.0].map(|multiple| multiple * base);
    multiples
        .into_iter()
        .chain(ten_times)
        .chain([0.1, 0.5])
        .collect()
}

fn regressions(name: &'static str, title: &'static str, base: f64) -> Table {
    let rows = regressed(base)
        .into_iter()
        .flat_map(|canary| RATES.map(|rps| errors(base, canary, rps)));
    Table {
        name,
        title,
        shows: Shows::Detection,
        judges: with_peers(&[
            Judge::Sequential,
            Judge::Scraped,
            Judge::Strict,
            Judge::Threshold,
        ]),
        rows: rows.collect(),
    }
}

fn robust() -> Table {
    let healthy = |name: &str, schedule: Schedule, incident: Option<Incident>| Row {
        name: name.to_owned(),
        scenario: Scenario {
            incident,
            ..Scenario::errors(100.0, 0.001, 0.001)
        },
        schedule,
    };
    Table {
        name: "robust",
        title: "Healthy canaries rolled back while something else is wrong (0.1 %, 100 rps)",
        shows: Shows::Mistakes,
        judges: with_peers(&[
            Judge::Sequential,
            Judge::Scraped,
            Judge::Strict,
            Judge::Adaptive,
        ]),
        rows: vec![
            healthy(
                "15 % more errors of both, minutes 2 to 8",
                usual_schedule(),
                incident(2, 8),
            ),
            healthy(
                "15 % more errors at 100 %, minutes 16 to 18",
                usual_schedule(),
                incident(16, 18),
            ),
            healthy("weights that change each minute", changing_schedule(), None),
            healthy(
                "the same, with 15 % more errors of both, minutes 2 to 8",
                changing_schedule(),
                incident(2, 8),
            ),
        ],
    }
}

fn late() -> Table {
    let from = |minute: u32, canary: f64| {
        let mut row = errors(0.001, canary, 100);
        row.scenario.onset = minute.saturating_mul(60);
        row.name = format!("{} from minute {minute} on", row.name);
        row
    };
    Table {
        name: "late",
        title: "Faults that begin late: half after / 95 % after, seconds · excess errors",
        shows: Shows::Detection,
        judges: with_peers(&[Judge::Sequential, Judge::Scraped]),
        rows: vec![from(7, 0.01), from(12, 0.1), from(16, 0.01), from(16, 0.1)],
    }
}

/// Returns the clumps of the tables, with their names.
#[must_use]
pub const fn kinds_of_clumps() -> [(&'static str, Clumps); 3] {
    [
        ("alone", Clumps::Alone),
        ("by tens", Clumps::Of(10)),
        ("in threes on average", Clumps::Geometric(3.0)),
    ]
}

fn clumps() -> Table {
    let rows = kinds_of_clumps().into_iter().flat_map(|(kind, clumps)| {
        [0.01, 0.05].map(|canary| {
            let mut row = errors(0.01, canary, 100);
            row.scenario.clumps = clumps;
            row.name = format!("failures {kind}, {}", row.name);
            row
        })
    });
    Table {
        name: "clumps",
        title: "Failures that come together: half after / 95 % after, seconds · excess errors",
        shows: Shows::Detection,
        judges: vec![
            Judge::Sequential,
            Judge::Scraped,
            Judge::FlaggerTuned,
            Judge::Kayenta,
        ],
        rows: rows.collect(),
    }
}

/// Returns versions that never fail, with the canary's latencies scaled, and with a share of them ten times as long.
#[must_use]
pub fn slower(rps: u32, scale: f64, tail: f64, bounds_us: Vec<u64>) -> Scenario {
    Scenario {
        latency: Some(Latency {
            scale,
            tail,
            ..Latency::usual(bounds_us)
        }),
        ..Scenario::errors(f64::from(rps), 0.0, 0.0)
    }
}

fn latency() -> Table {
    let kinds = [
        ("alike", 1.0, 0.0),
        ("× 1.2", 1.2, 0.0),
        ("× 1.5", 1.5, 0.0),
        ("× 2", 2.0, 0.0),
        ("2 % of requests × 10", 1.0, 0.02),
    ];
    let row = |name: &str, rps: u32, scenario: Scenario| Row {
        name: format!("{name}, {rps} rps"),
        scenario,
        schedule: usual_schedule(),
    };
    let classic = kinds.into_iter().flat_map(|(name, scale, tail)| {
        RATES.map(|rps| row(name, rps, slower(rps, scale, tail, Latency::istio())))
    });
    let native = kinds.into_iter().map(|(name, scale, tail)| {
        let scenario = slower(100, scale, tail, Latency::native());
        row(&format!("native buckets: {name}"), 100, scenario)
    });
    Table {
        name: "latency",
        title: "Latency, log-normal with a median of 100 ms and a 99th percentile of 404 ms: half after / 95 % after, seconds",
        shows: Shows::Detection,
        judges: vec![
            Judge::Sequential,
            Judge::Scraped,
            Judge::Flagger,
            Judge::FixedWindow,
            Judge::Kayenta,
        ],
        rows: classic.chain(native).collect(),
    }
}

/// Returns a canary that is slow at first, and again with each replica that is added, with steps of a minute.
#[must_use]
pub fn cold(rps: u32, seconds: f64, latency: Latency) -> Row {
    let cold = Cold {
        factor: 3.0,
        seconds,
    };
    Row {
        name: format!("{} ms, {seconds} s, {rps} rps", latency.median_us / 1_000.0),
        scenario: Scenario {
            latency: Some(Latency {
                cold: Some(cold),
                ..latency
            }),
            ..Scenario::errors(f64::from(rps), 0.0, 0.0)
        },
        schedule: held(&[5, 25, 50, 100], 60),
    }
}

/// Returns latencies of a few milliseconds that hardly differ, of a canary that takes one more, in the proxy's buckets.
#[must_use]
pub fn narrow() -> Latency {
    Latency {
        median_us: 7_500.0,
        sigma: 0.06,
        shift_us: 1_000.0,
        ..Latency::usual(Latency::proxy())
    }
}

fn cold_table() -> Table {
    let kinds = [Latency::usual(Latency::istio()), narrow()];
    let rows = kinds.into_iter().flat_map(|latency| {
        [1.0, 2.0, 5.0].into_iter().flat_map(move |seconds| {
            let latency = latency.clone();
            RATES.map(move |rps| cold(rps, seconds, latency.clone()))
        })
    });
    Table {
        name: "cold",
        title: "Healthy canaries taken back because they are three times as slow at first, and a third of that after so many seconds",
        shows: Shows::Mistakes,
        judges: vec![Judge::Sequential, Judge::Patient, Judge::Kayenta],
        rows: rows.collect(),
    }
}

/// Returns versions whose requests share connections by `requests`, one in twenty of them four times as slow.
#[must_use]
pub fn connected(scale: f64, requests: u32) -> Scenario {
    let mut scenario = slower(100, scale, 0.0, Latency::istio());
    if let Some(latency) = &mut scenario.latency {
        latency.connections = Some(Connections {
            requests,
            slow: 0.05,
            factor: 4.0,
        });
    }
    scenario
}

fn connections() -> Table {
    let rows = [1.0, 1.5, 2.0].into_iter().flat_map(|scale| {
        [1, 5, 20].map(|requests| Row {
            name: format!("× {scale}, {requests} requests on a connection"),
            scenario: connected(scale, requests),
            schedule: usual_schedule(),
        })
    });
    Table {
        name: "connections",
        title: "Latency where a twentieth of the connections is four times as slow, 100 rps: half after / 95 % after, seconds",
        shows: Shows::Detection,
        judges: vec![Judge::Sequential, Judge::Scraped, Judge::Kayenta],
        rows: rows.collect(),
    }
}

fn adaptive() -> Table {
    let pairs = [
        (0.001, 0.001),
        (0.01, 0.01),
        (0.001, 0.002),
        (0.001, 0.0035),
    ];
    let rows = pairs
        .into_iter()
        .flat_map(|(stable, canary)| RATES.map(|rps| errors(stable, canary, rps)));
    Table {
        name: "adaptive",
        title: "Steps that end on evidence: promoted half after / 95 % after, seconds (rolled back)",
        shows: Shows::Promotion,
        judges: vec![Judge::Adaptive, Judge::Sequential],
        rows: rows.collect(),
    }
}

fn conversion() -> Table {
    let rows = [0.03, 0.3].into_iter().flat_map(|stable| {
        [1.0, 0.95, 0.9, 0.8, 0.5]
            .into_iter()
            .flat_map(move |multiple| {
                [100, 1_000].map(|rps| Row {
                    name: format!("{} × {multiple}, {rps} rps", percent(stable)),
                    scenario: Scenario {
                        conversion: Some(Conversion {
                            stable,
                            canary: multiple * stable,
                        }),
                        ..Scenario::errors(f64::from(rps), 0.0, 0.0)
                    },
                    schedule: held(&[5, 25, 50], 300),
                })
            })
    });
    Table {
        name: "conversion",
        title: "Fewer hits, such as purchases, over 15 minutes: half after / 95 % after, seconds",
        shows: Shows::Detection,
        judges: vec![Judge::Sequential, Judge::Scraped],
        rows: rows.collect(),
    }
}

fn pods() -> Table {
    let kinds = [
        (1, 10, 0.0, 1.0),
        (1, 10, 0.05, 1.0),
        (2, 10, 0.1, 1.0),
        (1, 10, 0.05, 1.2),
        (1, 10, 0.05, 1.5),
        (2, 10, 0.05, 2.0),
    ];
    let rows = kinds.map(|(canary, stable, spread, ratio)| Row {
        name: format!("{canary} of {stable} pods, spread {spread}, × {ratio}"),
        scenario: Scenario {
            pods: Some(Pods {
                stable,
                canary,
                ratio,
                spread,
            }),
            ..Scenario::errors(10.0, 0.0, 0.0)
        },
        schedule: held(&[5, 25, 50, 100], 300),
    });
    Table {
        name: "pods",
        title: "What pods use: held for a person (ours never rolls back for it), or rolled back (Kayenta)",
        shows: Shows::Mistakes,
        judges: vec![Judge::Sequential, Judge::Kayenta],
        rows: rows.to_vec(),
    }
}

/// The effects of the pictures.
const EFFECTS: [f64; 10] = [1.2, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0];

fn power() -> Table {
    let rows = RATES
        .into_iter()
        .flat_map(|rps| EFFECTS.map(|effect| errors(0.001, 0.001 * effect, rps)));
    Table {
        name: "power",
        title: "Which faults are found within the rollout",
        shows: Shows::Detection,
        judges: vec![Judge::Sequential],
        rows: rows.collect(),
    }
}

fn time() -> Table {
    Table {
        name: "time",
        title: "How soon faults are found, by judge",
        shows: Shows::Detection,
        judges: with_peers(&[Judge::Sequential]),
        rows: EFFECTS
            .map(|effect| errors(0.001, 0.001 * effect, 100))
            .to_vec(),
    }
}
