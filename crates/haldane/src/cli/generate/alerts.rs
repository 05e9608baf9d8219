//! `haldane generate alerts`: Prometheus rules about the canary of a service.

use std::{io::Write, time::Duration};

use haldane_api::text::{Unit, parse_duration_or};
use haldane_kit::alerts::{Conversion, RUNBOOKS, Request, Thresholds, rules};

use super::{
    limits::{LimitArgs, share},
    watched::WatchedArgs,
};
use crate::cli::{exit::Exit, globals::Globals, result};

/// The longest time that a rule may look back: more than a month is rarely kept.
const MINUTES_MAX: u64 = 31 * 24 * 60;

/// Which service, and from where on an alert fires.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The service
    service: String,
    /// What its versions are called.
    #[command(flatten)]
    watched: WatchedArgs,
    /// Write a rules file of Prometheus instead of a PrometheusRule of its operator
    #[arg(long)]
    plain: bool,
    /// From where on a number is bad.
    #[command(flatten)]
    limits: LimitArgs,
    /// The canary's share of the traffic that is not meant for long; a bare number is percent
    #[arg(long, value_name = "SHARE", default_value = "50%", value_parser = share)]
    traffic_max: u64,
    /// How long a canary may run, in whole minutes
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = minutes)]
    running_max: u64,
    /// How long the canary's share of the traffic may stay the same, in whole minutes
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = minutes)]
    stalled_max: u64,
    /// The requests in five minutes, below which shares and latencies say nothing
    #[arg(long, value_name = "N", default_value_t = Thresholds::default().requests_min)]
    requests_min: u64,
    /// The canary's counter of conversions, such as 'orders_total{version="canary"}'; adds CanaryLowConversionRate
    #[arg(long, value_name = "SELECTOR", requires = "visitors", value_parser = selector)]
    conversions: Option<String>,
    /// The canary's counter of those who might convert
    #[arg(long, value_name = "SELECTOR", requires = "conversions", value_parser = selector)]
    visitors: Option<String>,
    /// The share of visitors who must convert; a bare number is percent
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = share)]
    conversion_min: u64,
    /// Add alerts on Flagger's own metrics
    #[arg(long)]
    flagger: bool,
    /// Where the pages are that alerts lead to, NAME.md for each
    #[arg(long, value_name = "URL", default_value = RUNBOOKS)]
    runbooks: String,
}

/// Runs the command.
pub(super) fn run(args: &Args, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let request = Request {
        watched: args.watched.watched(&args.service, globals)?,
        thresholds: args.thresholds()?,
        runbooks: args.runbooks.clone(),
        conversion: args.conversion(),
        has_flagger: args.flagger,
    };
    let rules = rules(&request);
    let value = if args.plain {
        rules.plain(&request)
    } else {
        rules.prometheus_rule(&request)
    };
    result::write(globals, out, &value, |_| Ok(()))?;
    Ok(Exit::Done)
}

impl Args {
    fn thresholds(&self) -> anyhow::Result<Thresholds> {
        Ok(Thresholds {
            traffic_ppm: self.traffic_max,
            running_minutes: self.running_max,
            stalled_minutes: self.stalled_max,
            requests_min: self.requests_min,
            conversion_ppm: self.conversion_min,
            ..self.limits.thresholds(Some(&self.service))?
        })
    }

    fn conversion(&self) -> Option<Conversion> {
        Some(Conversion {
            conversions: self.conversions.clone()?,
            visitors: self.visitors.clone()?,
        })
    }
}

fn minutes(text: &str) -> Result<u64, String> {
    let time = parse_duration_or(text, Unit::Minutes).map_err(|error| error.to_string())?;
    let minutes = time.as_secs() / 60;
    if minutes == 0 || Duration::from_secs(minutes * 60) != time || minutes > MINUTES_MAX {
        return Err("expected whole minutes, from 1m to 31 days".to_owned());
    }
    Ok(minutes)
}

/// A selector stands inside of `increase(…[30m])`, so it must be one, and end with its matchers or its name.
fn selector(text: &str) -> Result<String, String> {
    let expected = || {
        format!("cannot read {text:?}; expected NAME or NAME{{LABEL=\"VALUE\",…}}, without a range")
    };
    let (name, matchers) = match text.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').ok_or_else(expected)?),
        None => (text, ""),
    };
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
    // Quotes come in pairs; what they hold is Prometheus' to judge.
    let is_closed = matchers.matches('"').count().is_multiple_of(2);
    let is_text = !matchers.contains(|c: char| c.is_control() || matches!(c, '{' | '}' | '#'));
    (is_name && is_closed && is_text)
        .then(|| text.to_owned())
        .ok_or_else(expected)
}

#[cfg(test)]
mod tests;
