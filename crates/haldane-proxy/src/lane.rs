//! A service as one thread sees it: the published route, joined with the thread's own draws, counters and connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haldane_core::Weight;
use http::{HeaderMap, HeaderValue};

use crate::{
    count::{ConversionShard, Shard},
    decide::{Choice, decide},
    endpoint::Endpoint,
    pool::Pool,
    split::{Random, Split},
    table::ServiceRoute,
};

/// One service on one thread, under one table.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) route: Arc<ServiceRoute>,
    pub(crate) draws: Arc<Mutex<Draws>>,
    pub(crate) arms: Vec<LaneArm>,
}

/// One version on one thread.
#[derive(Debug)]
pub(crate) struct LaneArm {
    pub(crate) shard: Arc<Shard>,
    pub(crate) conversions: Option<Arc<ConversionShard>>,
    pub(crate) spots: Vec<Spot>,
    /// The version as the header that tells it, if it is to be told.
    pub(crate) exposed: Option<HeaderValue>,
}

/// One endpoint on one thread.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) endpoint: Endpoint,
    pub(crate) pool: Arc<Pool>,
}

/// What is random about a service on one thread. Outlives tables, so that blocks and the generator go on.
#[derive(Debug)]
pub(crate) struct Draws {
    measured: Split,
    /// Requests that aren't counted have blocks of their own, so that they don't take places from those that are.
    unmeasured: Split,
    ties: Random,
}

/// How usable an endpoint is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Good,
    Suspect,
    Unhealthy,
}

impl Lane {
    /// Returns the arm for a request, and whether what becomes of it is counted.
    ///
    /// While requests are split, one that asks for its arm by name is not counted: who asks is not like all others, and arms are compared.
    pub(crate) fn choose(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        is_measured: bool,
    ) -> (usize, bool) {
        match decide(&self.route, headers, query) {
            Some(Choice::Asked(arm)) => (arm, is_measured && !self.route.is_split()),
            Some(Choice::Ruled(arm)) => (arm, is_measured),
            None => (self.lock().draw(is_measured), is_measured),
        }
    }

    /// Returns the endpoint of `arm` with the fewest pending requests, not one of `tried`.
    ///
    /// Only the fallback's endpoints are used when they are suspect or unhealthy: there is nobody else to turn to.
    pub(crate) fn pick(&self, arm: usize, tried: &[usize]) -> Option<(usize, &Spot)> {
        let worst = if arm == self.route.fallback() {
            Tier::Unhealthy
        } else {
            Tier::Good
        };
        let spots = &self.arms.get(arm)?.spots;
        let mut best: Option<((Tier, u32), usize, &Spot)> = None;
        let mut ties = 0;
        for (at, spot) in spots.iter().enumerate() {
            let tier = Tier::of(&spot.endpoint);
            if tier > worst || tried.contains(&at) {
                continue;
            }
            let rank = (tier, spot.pool.pending());
            let is_better = match best {
                Some((best, ..)) if rank > best => false,
                Some((best, ..)) if rank == best => {
                    // The n-th of equals takes the place with probability 1/n, so that each has the same chance.
                    ties += 1;
                    self.lock().ties.below(ties) == 0
                }
                Some(_) | None => {
                    ties = 1;
                    true
                }
            };
            if is_better {
                best = Some((rank, at, spot));
            }
        }
        best.map(|(_, at, spot)| (at, spot))
    }

    /// Whether a request waits for a connection.
    pub(crate) fn has_waiting(&self) -> bool {
        let mut spots = self.arms.iter().flat_map(|arm| &arm.spots);
        spots.any(|spot| spot.pool.has_waiting())
    }

    /// Lets nobody wait any more for a version that gets no share under `next`; stable takes them.
    pub(crate) fn turn_away(&self, next: Option<&ServiceRoute>) {
        let fallback = self.arms.get(self.route.fallback());
        let is_stables = |pool: &Arc<Pool>| {
            let mut spots = fallback.iter().flat_map(|arm| &arm.spots);
            spots.any(|spot| Arc::ptr_eq(&spot.pool, pool))
        };
        for (arm, lane_arm) in self.route.arms().iter().zip(&self.arms) {
            let mut arms = next.into_iter().flat_map(ServiceRoute::arms);
            let is_served =
                arms.any(|other| other.version == arm.version && other.share != Weight::ZERO);
            if is_served {
                continue;
            }
            for spot in lane_arm.spots.iter().filter(|spot| !is_stables(&spot.pool)) {
                spot.pool.turn_away();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Draws> {
        self.draws.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draws {
    pub(crate) fn new(seed: u64, shares: &[u16]) -> Self {
        let mut seeds = Random::new(seed);
        Self {
            measured: Split::new(seeds.next_u64(), shares),
            unmeasured: Split::new(seeds.next_u64(), shares),
            ties: Random::new(seeds.next_u64()),
        }
    }

    pub(crate) fn set_shares(&mut self, shares: &[u16]) {
        self.measured.set_shares(shares);
        self.unmeasured.set_shares(shares);
    }

    fn draw(&mut self, is_measured: bool) -> usize {
        if is_measured {
            self.measured.draw()
        } else {
            self.unmeasured.draw()
        }
    }
}

impl Tier {
    fn of(endpoint: &Endpoint) -> Self {
        if !endpoint.is_healthy() {
            Self::Unhealthy
        } else if endpoint.is_suspect() {
            Self::Suspect
        } else {
            Self::Good
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::*;
    use crate::{
        pool::{Pending, PoolLimits},
        table::{Arm, Override, ServiceSpec, Timeouts},
    };

    const NONE: PoolLimits = PoolLimits {
        idle_timeout: Duration::ZERO,
        idle_max: 0,
        open_max: 0,
        waiting_max: 0,
    };

    /// Arms: 0 is stable with `stable` endpoints, 1 the canary with two.
    fn lane(stable: usize) -> Lane {
        let arm = |version: &str, share, endpoints: usize| Arm {
            version: version.parse().unwrap(),
            share,
            endpoints: (0..endpoints).map(|n| Endpoint::new(addr(n))).collect(),
            is_reachable_by_override: false,
        };
        let route = ServiceRoute::try_new(ServiceSpec {
            name: "s".parse().unwrap(),
            arms: vec![arm("v1", Weight::FULL, stable), arm("v2", Weight::ZERO, 2)],
            fallback: "v1".parse().unwrap(),
            overrides: Override::default(),
            rules: vec![],
            unmeasured: vec![],
            conversions: vec![],
            timeouts: Timeouts::default(),
            body_bytes_max: u64::MAX,
        })
        .unwrap();
        let spot = |endpoint: &Endpoint| Spot {
            endpoint: endpoint.clone(),
            pool: Arc::new(Pool::new(endpoint.addr(), NONE)),
        };
        let arms = route.arms().iter().map(|arm| LaneArm {
            shard: Arc::default(),
            conversions: None,
            spots: arm.endpoints.iter().map(spot).collect(),
            exposed: None,
        });
        Lane {
            arms: arms.collect(),
            draws: Arc::new(Mutex::new(Draws::new(1, route.shares()))),
            route: Arc::new(route),
        }
    }

    fn addr(n: usize) -> SocketAddr {
        ([127, 0, 0, 1], u16::try_from(n + 1).unwrap()).into()
    }

    fn picked(lane: &Lane, arm: usize, tried: &[usize]) -> Option<usize> {
        lane.pick(arm, tried).map(|(at, _)| at)
    }

    #[test]
    fn the_endpoint_with_the_fewest_pending_requests_is_picked() {
        let lane = lane(3);
        let _busy: Vec<_> = [0, 0, 1]
            .map(|at| Pending::new(&lane.arms[0].spots[at].pool))
            .into();
        assert_eq!(picked(&lane, 0, &[]), Some(2));
        assert_eq!(picked(&lane, 0, &[2]), Some(1));
        assert_eq!(picked(&lane, 0, &[1, 2]), Some(0));
        assert_eq!(picked(&lane, 0, &[0, 1, 2]), None);
    }

    #[test]
    fn equals_are_picked_equally_often() {
        let lane = lane(3);
        let mut counts = [0; 3];
        (0..9_000).for_each(|_| counts[picked(&lane, 0, &[]).unwrap()] += 1);
        assert!(
            counts.iter().all(|count| (2_800..3_200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn only_stable_uses_endpoints_of_ill_repute() {
        let lane = lane(2);
        for arm in [0, 1] {
            lane.arms[arm].spots[0].endpoint.set_healthy(false);
            assert_eq!(picked(&lane, arm, &[]), Some(1));
            lane.arms[arm].spots[1].endpoint.suspect();
        }
        assert_eq!(
            picked(&lane, 0, &[]),
            Some(1),
            "suspect is better than unhealthy"
        );
        assert_eq!(picked(&lane, 0, &[1]), Some(0));
        assert_eq!(picked(&lane, 1, &[]), None);
    }
}
