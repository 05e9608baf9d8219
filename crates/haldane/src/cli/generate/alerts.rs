//! `haldane generate alerts`: Prometheus rules about the canary of a service.

use std::{io::Write, time::Duration};

use haldane_api::text::{Unit, parse_duration_or};
use haldane_core::VersionName;
use haldane_kit::{
    alertmanager::{self, Receiver},
    alerts::{Conversion, RUNBOOKS, Request, Thresholds, rules},
};

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
    /// A label of the PrometheusRule, by which a Prometheus chooses its rules, such as release=prometheus; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label, conflicts_with = "plain")]
    labels: Vec<(String, String)>,
    /// Write a configuration of Alertmanager that routes these alerts, instead of the rules
    #[arg(long, value_enum, value_name = "TO", conflicts_with_all = ["plain", "labels", "file", "conversions", "flagger"])]
    alertmanager: Option<To>,
    /// The channel of Slack
    #[arg(
        long,
        value_name = "NAME",
        default_value = "#deployments",
        requires = "alertmanager"
    )]
    channel: String,
    /// The address that mail goes to
    #[arg(
        long,
        value_name = "ADDRESS",
        required_if_eq("alertmanager", "email"),
        requires = "alertmanager"
    )]
    email_to: Option<String>,
    /// The address that mail comes from, and the name by which the server knows it
    #[arg(
        long,
        value_name = "ADDRESS",
        required_if_eq("alertmanager", "email"),
        requires = "alertmanager"
    )]
    email_from: Option<String>,
    /// The server that sends mail, such as smtp.example.com:587
    #[arg(
        long,
        value_name = "HOST:PORT",
        required_if_eq("alertmanager", "email"),
        requires = "alertmanager"
    )]
    smarthost: Option<String>,
}

/// Whom Alertmanager tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    /// A channel of Slack
    Slack,
    /// PagerDuty, for what is critical
    Pagerduty,
    /// A mailbox
    Email,
}

/// Runs the command.
pub(super) fn run(args: &Args, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    if let Some(to) = args.alertmanager {
        let watched = args.watched.watched(&args.service, globals)?;
        let config = alertmanager::config(watched.names(), &args.receiver(to));
        result::write(globals, out, &config, |_| Ok(()))?;
        return Ok(Exit::Done);
    }
    let request = Request {
        watched: args.watched.watched(&args.service, globals)?,
        thresholds: args.thresholds()?,
        runbooks: args.runbooks.clone(),
        labels: args.labels.iter().cloned().collect(),
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

    fn receiver(&self, to: To) -> Receiver {
        // Required for mail, and not looked at for the others.
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        match to {
            To::Slack => Receiver::Slack {
                channel: self.channel.clone(),
            },
            To::Pagerduty => Receiver::PagerDuty,
            To::Email => Receiver::Email {
                to: text(&self.email_to),
                from: text(&self.email_from),
                smarthost: text(&self.smarthost),
            },
        }
    }

    fn conversion(&self) -> Option<Conversion> {
        Some(Conversion {
            conversions: self.conversions.clone()?,
            visitors: self.visitors.clone()?,
        })
    }
}

/// Reads a label, by the rules of Kubernetes for its value, and for the parts of its key.
fn label(text: &str) -> Result<(String, String), String> {
    let expected =
        || format!("cannot read {text:?}; expected KEY=VALUE, such as release=prometheus");
    let (key, value) = text.split_once('=').ok_or_else(expected)?;
    let (prefix, name) = key.split_once('/').unwrap_or(("x", key));
    let is_word = |word: &str| word.parse::<VersionName>().is_ok();
    if !is_word(prefix) || !is_word(name) || !(value.is_empty() || is_word(value)) {
        return Err(expected());
    }
    Ok((key.to_owned(), value.to_owned()))
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
