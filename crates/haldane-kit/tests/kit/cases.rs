//! What happens, and which alerts fire then: these and no others.

use super::world::World;

/// One course of things.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// How long each world lasts, in minutes; the alerts are looked at when the last one ends.
    pub(super) worlds: Vec<(usize, World)>,
    /// The alerts that fire then.
    pub(super) firing: &'static [&'static str],
    /// An alert that almost fires, but is silent.
    pub(super) silent: &'static [&'static str],
    /// Whether the queries differ by mesh.
    pub(super) is_of_mesh: bool,
}

const CALM: &[&str] = &[];

fn case(
    name: &'static str,
    change: impl FnOnce(&mut World),
    firing: &'static [&'static str],
    silent: &'static [&'static str],
) -> Case {
    let mut world = World::default();
    change(&mut world);
    Case {
        name,
        worlds: vec![(26, world)],
        firing,
        silent,
        is_of_mesh: true,
    }
}

/// Returns all cases.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = of_requests();
    cases.extend(of_latency());
    cases.extend(of_traffic());
    let alike = [of_objects(), of_resources(), of_time(), of_others()];
    cases.extend(alike.into_iter().flatten().map(|case| Case {
        is_of_mesh: false,
        ..case
    }));
    cases
}

fn of_requests() -> Vec<Case> {
    vec![
        case(
            "all is well",
            |_| {},
            CALM,
            &["CanaryReceivingNoTraffic", "CanaryVersionDivergence"],
        ),
        case(
            "a tenth fails",
            |world| world.canary.failed = 0.1,
            &[
                "CanaryHighErrorRate",
                "CanaryErrorRateHigherThanStable",
                "CanaryLowSuccessRate",
                "CanaryAutomatedRollbackRecommended",
            ],
            &[],
        ),
        case(
            "both fail a little",
            |world| (world.canary.failed, world.stable.failed) = (0.049, 0.03),
            CALM,
            &[
                "CanaryHighErrorRate",
                "CanaryLowSuccessRate",
                "CanaryErrorRateHigherThanStable",
                "CanaryAutomatedRollbackRecommended",
            ],
        ),
        case(
            "the canary fails more often than stable",
            |world| world.canary.failed = 0.03,
            &["CanaryErrorRateHigherThanStable"],
            &[],
        ),
        case(
            "twice as many as almost none",
            |world| (world.canary.failed, world.stable.failed) = (0.009, 0.0),
            CALM,
            &["CanaryErrorRateHigherThanStable"],
        ),
        case(
            "too few requests to tell",
            |world| (world.canary.requests, world.canary.failed) = (Some(3.0), 1.0),
            CALM,
            &["CanaryHighErrorRate", "CanaryLowSuccessRate"],
        ),
    ]
}

fn of_latency() -> Vec<Case> {
    vec![
        case(
            "both versions have a slow twentieth",
            |world| (world.canary.slow, world.stable.slow) = ((4, 0.1), (4, 0.1)),
            &["CanaryHighLatencyP95"],
            &["CanaryHighLatencyP99", "CanaryLatencyHigherThanStable"],
        ),
        case(
            "both versions have a very slow hundredth",
            |world| (world.canary.slow, world.stable.slow) = ((5, 0.02), (5, 0.02)),
            &["CanaryHighLatencyP99", "CanaryAutomatedRollbackRecommended"],
            &["CanaryHighLatencyP95"],
        ),
        case(
            "the canary is slower than stable",
            |world| world.canary.slow = (2, 1.0),
            &["CanaryLatencyHigherThanStable"],
            &[],
        ),
        case(
            "all of the canary is slow",
            |world| (world.canary.slow, world.stable.slow) = ((5, 1.0), (5, 1.0)),
            &[
                "CanaryHighLatencyP95",
                "CanaryHighLatencyP99",
                "CanaryHighMeanLatency",
                "CanaryAutomatedRollbackRecommended",
            ],
            &["CanaryLatencyHigherThanStable"],
        ),
        case(
            "the canary needs less than a second",
            |world| (world.canary.slow, world.stable.slow) = ((4, 1.0), (4, 1.0)),
            &["CanaryHighLatencyP95"],
            &["CanaryHighMeanLatency"],
        ),
    ]
}

fn of_traffic() -> Vec<Case> {
    let later = |share: f64| {
        let mut world = World::default();
        world.canary.requests = Some(600.0 * share);
        world.stable.requests = Some(600.0 * (1.0 - share));
        world
    };
    vec![
        case(
            "no requests come any more",
            |world| world.canary.requests = Some(0.0),
            &["CanaryReceivingNoTraffic"],
            &[],
        ),
        case(
            "no request ever came",
            |world| world.canary.requests = None,
            &["CanaryReceivingNoTraffic"],
            &[],
        ),
        case(
            "the canary is not there",
            |world| {
                world.canary.requests = None;
                (world.canary.wanted, world.canary.ready) = (0.0, 0.0);
            },
            CALM,
            &["CanaryReceivingNoTraffic", "CanaryPodsNotReady"],
        ),
        case(
            "nobody asks at all",
            |world| (world.canary.requests, world.stable.requests) = (Some(0.0), Some(0.0)),
            CALM,
            &["CanaryReceivingNoTraffic"],
        ),
        case(
            "most traffic goes to the canary",
            |world| world.canary.requests = Some(700.0),
            &["CanaryTrafficSplitMisconfigured"],
            &[],
        ),
        case(
            "half of the traffic goes to the canary",
            |world| world.canary.requests = Some(540.0),
            CALM,
            &["CanaryTrafficSplitMisconfigured"],
        ),
        Case {
            worlds: vec![(50, later(0.1))],
            ..case("a share that stays", |_| {}, &["CanaryRolloutStalled"], &[])
        },
        Case {
            worlds: vec![(30, later(0.1)), (20, later(0.25))],
            ..case(
                "a share that grows",
                |_| {},
                CALM,
                &["CanaryRolloutStalled"],
            )
        },
        Case {
            worlds: vec![(50, later(0.0))],
            ..case(
                "a canary at rest",
                |world| world.canary.requests = Some(0.0),
                &["CanaryReceivingNoTraffic"],
                &["CanaryRolloutStalled"],
            )
        },
    ]
}

fn of_objects() -> Vec<Case> {
    vec![
        case(
            "a pod is not scheduled",
            |world| {
                world.canary.ready = 1.0;
                (world.canary.pod.is_ready, world.canary.pod.is_running) = (false, false);
            },
            &["CanaryPodsNotReady"],
            &["CanaryReadinessProbesFailing"],
        ),
        case(
            "a pod that runs is not ready",
            |world| (world.canary.ready, world.canary.pod.is_ready) = (1.0, false),
            &["CanaryPodsNotReady", "CanaryReadinessProbesFailing"],
            &[],
        ),
        case(
            "a pod's readiness comes and goes",
            |world| world.canary.pod.readiness_failures_per_minute = 2.0,
            &["CanaryReadinessProbesFailing"],
            &[],
        ),
        case(
            "probes fail now and then",
            |world| {
                world.canary.pod.readiness_failures_per_minute = 0.3;
                world.canary.pod.liveness_failures_per_minute = 0.3;
            },
            CALM,
            &[
                "CanaryReadinessProbesFailing",
                "CanaryLivenessProbesFailing",
            ],
        ),
        case(
            "a pod's liveness fails",
            |world| world.canary.pod.liveness_failures_per_minute = 2.0,
            &[
                "CanaryLivenessProbesFailing",
                "CanaryAutomatedRollbackRecommended",
            ],
            &[],
        ),
        case(
            "a pod waits after crashes",
            |world| world.canary.pod.is_looping = true,
            &[
                "CanaryPodCrashLooping",
                "CanaryAutomatedRollbackRecommended",
            ],
            &[],
        ),
        case(
            "a pod is restarted all the time",
            |world| world.canary.pod.restarts_per_minute = 0.5,
            &[
                "CanaryPodCrashLooping",
                "CanaryAutomatedRollbackRecommended",
            ],
            &[],
        ),
        case(
            "a pod is restarted now and then",
            |world| world.canary.pod.restarts_per_minute = 0.1,
            CALM,
            &["CanaryPodCrashLooping"],
        ),
    ]
}

fn of_resources() -> Vec<Case> {
    vec![
        case(
            "the processor is busy",
            |world| world.canary.pod.cpu = 0.9,
            &["CanaryHighCPUUsage"],
            &[],
        ),
        case(
            "the processor works",
            |world| world.canary.pod.cpu = 0.79,
            CALM,
            &["CanaryHighCPUUsage"],
        ),
        case(
            "memory is full in both",
            |world| (world.canary.pod.memory_mib, world.stable.pod.memory_mib) = (170.0, 170.0),
            &["CanaryHighMemoryUsage"],
            &["CanaryMemoryUsageHigherThanStable"],
        ),
        case(
            "the canary needs more memory",
            |world| world.canary.pod.memory_mib = 155.0,
            &["CanaryMemoryUsageHigherThanStable"],
            &["CanaryHighMemoryUsage"],
        ),
        case(
            "stable is gone",
            |world| world.stable.ready = 0.0,
            &["CanaryVersionDivergence"],
            &[],
        ),
        case(
            "the Deployment does not progress",
            |world| world.canary.is_progressing = false,
            &["CanaryRolloutStalled"],
            &[],
        ),
    ]
}

fn of_time() -> Vec<Case> {
    let running = |minutes: usize| vec![(minutes, World::default())];
    vec![
        Case {
            worlds: running(70),
            ..case(
                "a canary runs for long",
                |_| {},
                &["CanaryRolloutStalled", "CanaryStagnant"],
                &[],
            )
        },
        Case {
            worlds: running(58),
            ..case(
                "a canary runs for less",
                |_| {},
                &["CanaryRolloutStalled"],
                &["CanaryStagnant"],
            )
        },
    ]
}

fn of_others() -> Vec<Case> {
    vec![
        case(
            "few visitors buy",
            |world| world.conversions = (5.0, 100.0),
            &["CanaryLowConversionRate"],
            &[],
        ),
        case(
            "no visitor buys",
            |world| world.conversions = (0.0, 100.0),
            &["CanaryLowConversionRate"],
            &[],
        ),
        case(
            "some visitors buy",
            |world| world.conversions = (11.0, 100.0),
            CALM,
            &["CanaryLowConversionRate"],
        ),
        case(
            "few visitors come",
            |world| world.conversions = (0.0, 3.0),
            CALM,
            &["CanaryLowConversionRate"],
        ),
        case(
            "Flagger has rolled back",
            |world| world.flagger = Some(2.0),
            &["CanaryFailed"],
            &[],
        ),
        Case {
            worlds: vec![(
                35,
                World {
                    flagger: Some(0.0),
                    ..World::default()
                },
            )],
            ..case(
                "Flagger analyzes for long",
                |_| {},
                &["CanaryStuck"],
                &["CanaryFailed"],
            )
        },
        case(
            "Flagger is done",
            |world| world.flagger = Some(1.0),
            CALM,
            &["CanaryFailed", "CanaryStuck"],
        ),
    ]
}
