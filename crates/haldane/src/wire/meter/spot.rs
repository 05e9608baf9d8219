//! A spot check of a release: what its metric system counted of both versions' requests in the last minute, asked by whoever looks.
//!
//! The questions are those of the controller; what is made of them is for people's eyes and decides nothing. The metric system is asked
//! from here where it can be reached, else through the API server, if its address is a Service's name.
//!
//! **Invariant:** through the API server goes no secret: a source with credentials is asked from here alone.

use std::{path::Path, time::Duration};

use haldane_analysis::{
    Batch, Sample,
    figures::{Figures, figures},
    looks,
};
use haldane_api::release::{Requests, SECRETS_DIR};
use haldane_controller::{
    client::{Cluster, InCluster},
    meter::{Place, Watch},
};
use haldane_core::{VersionName, plan::metric::Kind};
use haldane_source::{
    Answer, Auth, Query, Reading, Window,
    answer::BODY_BYTES_MAX,
    delta::{Counters, First, Rule, Span},
    provider::prometheus,
    traffic::Side,
};
use haldane_supervisor::job::Jobs;
use jiff::Timestamp;

use super::{
    names::names,
    poller::{Arm, sample},
};
use crate::wire::{
    observe::{
        ask::{Addressee, AskError, Asker, Span as Asked},
        question::Named,
    },
    web,
};

/// How long a metric system may take: somebody sits in front of the screen.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Of how much time requests are told, as of those of this machine.
const WINDOW: Duration = Duration::from_secs(60);

/// How many questions' time it must hold at least: two scrapes, also where they come more rarely than questions.
const INTERVALS_MIN: u32 = 4;

/// Whoever looks has no memory of what was there before.
const RULE: Rule = Rule {
    first: First::Nothing,
    keep: Duration::ZERO,
};

/// Looks at the requests of releases.
#[derive(Debug)]
pub(crate) struct Spot {
    asker: Asker,
    cluster: Cluster,
    /// Whether the metric system was not reached from here, but through the API server.
    is_through: bool,
}

/// What was counted of one version.
struct Counted {
    sample: Sample,
    span: Option<Span>,
}

impl Spot {
    /// Returns what looks at releases of this cluster.
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self {
            asker: Asker::new(ANSWER_TIMEOUT, Jobs::alone()),
            cluster,
            is_through: false,
        }
    }

    /// Tells the figures of both versions, since a time but of a minute at most.
    ///
    /// # Errors
    /// Why there are none, in one sentence.
    pub(crate) async fn figures(
        &mut self,
        watch: &Watch,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Figures, String> {
        let requests = watch.requests.as_ref();
        let requests = requests.ok_or("spec.requests does not say where they are counted")?;
        let places = &watch.places;
        let of = |side, place: &Place, version: &VersionName| {
            let names = names(places, side);
            let named = Named {
                service: &place.service,
                version,
                names: &names,
            };
            Arm::try_new(requests, named, side).map_err(|error| error.to_string())
        };
        let stable = of(Side::Stable, &places.stable, &watch.stable)?;
        let canary = of(Side::Canary, &places.canary, &watch.canary)?;
        let shortest = requests.interval.saturating_mul(INTERVALS_MIN);
        let since = since.map_or(WINDOW, |since| now.duration_since(since).unsigned_abs());
        let window = Duration::from_secs(since.min(WINDOW).max(shortest).as_secs());
        let namespace = places.namespace.as_str();
        let stable = self.count(requests, &stable, (window, now), namespace);
        let stable = stable.await?;
        let canary = self.count(requests, &canary, (window, now), namespace);
        let canary = canary.await?;
        let spans = || stable.span.into_iter().chain(canary.span);
        let from = spans().map(|span| span.from).min();
        let to = spans().map(|span| span.to).max();
        let Some((from, to)) = from.zip(to).filter(|(from, to)| from < to) else {
            return Err(format!(
                "{} has no samples of the last {} s",
                requests.source.name,
                window.as_secs()
            ));
        };
        let mut series = looks::series();
        let batch = Batch {
            from,
            to,
            stable: stable.sample,
            canary: canary.sample,
            weight: watch.weight,
        };
        series.push(batch).map_err(|error| error.to_string())?;
        let length = to.duration_since(from).unsigned_abs();
        Ok(figures(&series.totals(from, to, length)))
    }

    async fn count(
        &mut self,
        requests: &Requests,
        arm: &Arm,
        (window, now): (Duration, Timestamp),
        namespace: &str,
    ) -> Result<Counted, String> {
        let query = arm.query(window).map_err(|error| error.to_string())?;
        let span = Asked {
            from: now - window,
            to: now,
            form: prometheus::Form::Instant,
        };
        let reading = self.ask(requests, &query, span, namespace).await?;
        let series = arm.traffic.series(reading);
        let mut counters = Counters::default();
        let increase = counters.advance(&series.points, RULE);
        let increase = increase.map_err(|error| error.to_string())?;
        Ok(Counted {
            span: increase.span(),
            sample: sample(arm.traffic.counted(&increase, series.is_native)),
        })
    }

    async fn ask(
        &mut self,
        requests: &Requests,
        query: &str,
        span: Asked,
        namespace: &str,
    ) -> Result<Reading, String> {
        let source = &requests.source;
        let target = InCluster::parse(&source.address, namespace);
        let target = target.filter(|_| source.auth.is_empty() && source.headers.is_empty());
        let through = target.as_ref().filter(|_| self.is_through);
        if let Some((service, prefix)) = through {
            return self.through(service, prefix, query, span).await;
        }
        let asker = self.asker.for_user(Path::new(SECRETS_DIR).join(namespace));
        let of = Addressee {
            source,
            kind: Kind::Ratio,
            interval: requests.interval,
        };
        let why = match asker.ask_source(of, query, span).await {
            Ok(reading) => return Ok(reading),
            Err(error) => error,
        };
        let (AskError::Web(_), Some((service, prefix))) = (&why, &target) else {
            let host = web::host(&source.address);
            return Err(format!("{} at {host}: {why}", source.name));
        };
        let answered = self.through(service, prefix, query, span).await;
        self.is_through = answered.is_ok();
        answered.map_err(|through| {
            format!(
                "{} is reached neither from here ({why}) nor through the API server ({through})",
                source.name
            )
        })
    }

    /// Asks through the API server.
    async fn through(
        &self,
        service: &InCluster,
        prefix: &str,
        query: &str,
        span: Asked,
    ) -> Result<Reading, String> {
        // The path alone matters; whose it is the API server is told apart from it.
        let query = Query::Prometheus(prometheus::Query {
            address: format!("http://through{prefix}"),
            expression: query.to_owned(),
            form: span.form,
            headers: Vec::new(),
            region: None,
        });
        let told = |error: haldane_source::Error| error.to_string();
        let step = Duration::from_secs(1);
        let window = Window::try_new(span.from, span.to, step).map_err(told)?;
        let request = query.request(&window, &Auth::None).map_err(told)?;
        let path = request.url.strip_prefix("http://through");
        let path = path.ok_or("its address has no path")?;
        let answer = self.cluster.get_of(service, path, BODY_BYTES_MAX).await;
        let (status, body) = answer.map_err(|error| format!("{service}: {error}"))?;
        let answer = Answer {
            status,
            headers: &[],
            body: &body,
        };
        query.parse(&window, &answer).map_err(told)
    }
}
