//! The release file, `haldane.yaml`: services, their stable versions, and how new versions of them are rolled out.
//!
//! ```
//! let file = haldane_api::file::parse("
//! services:
//!   auth:
//!     listen: 0.0.0.0:8080
//!     stable: { version: v1, run: ./auth --port $PORT, replicas: 2 }
//!     rollout: { steps: [5%, 50%, 100%], hold: 5m, guards: { errorRate: 5% } }
//! ").unwrap();
//! assert_eq!(file.services.len(), 1);
//!
//! let problems = haldane_api::file::parse("services: { auth: { listen: 8080, stable: { version: v1, url: no } } }").unwrap_err();
//! assert_eq!(
//!     problems[0].to_string(),
//!     "1:63: services.auth.stable.url: cannot read \"no\"; expected a URL of host and port such as http://127.0.0.1:9001",
//! );
//! ```

pub mod address;
mod calendar;
mod guard;
mod hooks;
mod judged;
mod metric;
mod rollout;
mod service;
mod step;

use std::collections::BTreeMap;

use haldane_core::{
    ServiceName,
    plan::{Plan, metric::Source as MetricSource},
};
use serde::{Deserialize, Serialize};

use self::service::Taken;
pub use self::{
    address::{AddressError, HostPattern, Upstream},
    guard::default_guards,
    rollout::{default_plan, default_rules},
    service::{Health, Limits, Override, REPLICAS_MAX, Service, Source, Timeouts, VersionSpec},
};
pub(crate) use self::{
    calendar::DAYS,
    judged::{parse_judged_plan, read as read_judged},
};
use crate::{
    keys,
    read::{At, Problems},
    tree::{self, shorten},
};
pub use crate::{
    read::{PROBLEMS_MAX, Problem},
    tree::TEXT_BYTES_MAX,
};

/// The most services of a file.
pub const SERVICES_MAX: usize = 1_000;

/// The most places that are told.
const NOTIFY_MAX: usize = 20;

/// A release file that was read without a mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct File {
    /// Who is told of what happens.
    pub notify: Vec<Notify>,
    /// The metric systems by name.
    #[serde(default)]
    pub sources: BTreeMap<String, MetricSource>,
    /// The services by name; there is at least one.
    pub services: BTreeMap<ServiceName, Service>,
}

/// Somebody or something that is told of what happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Notify {
    /// A web service.
    Webhook {
        /// The URL to which each event is posted as JSON.
        url: String,
    },
}

/// Reads a release file.
///
/// # Errors
/// Every mistake in it, in the order of the text. Where the text is no YAML, what stands behind that place is not looked at.
pub fn parse(text: &str) -> Result<File, Vec<Problem>> {
    let mut out = Problems::default();
    let file = tree::read(text, &mut out).and_then(|root| {
        let at = At {
            node: &root,
            path: String::new(),
        };
        read_file(&at, &mut out)
    });
    match (file, out.into_list()) {
        (Some(file), problems) if problems.is_empty() => Ok(file),
        (_, problems) => Err(problems),
    }
}

/// Reads the `rollout` part of a release file alone, as YAML or JSON.
///
/// # Errors
/// Every mistake in it, in the order of the text.
pub fn parse_rollout(text: &str) -> Result<Plan, Vec<Problem>> {
    let mut out = Problems::default();
    let plan = tree::read(text, &mut out).and_then(|root| {
        let at = At {
            node: &root,
            path: "rollout".to_owned(),
        };
        rollout::read_plan(&at, &mut out)
    });
    match (plan, out.into_list()) {
        (Some(plan), problems) if problems.is_empty() => Ok(plan),
        (_, problems) => Err(problems),
    }
}

/// Reads a release file.
pub(crate) fn read_file(at: &At<'_>, out: &mut Problems) -> Option<File> {
    let fields = at.fields(&keys::FILE, out)?;
    fields
        .get("version")
        .and_then(|at| at.choice(&[("1", ())], out));
    let notify = fields.or("notify", Vec::new(), |at| read_notify(at, out));
    let sources = fields.or("sources", BTreeMap::new(), |at| {
        metric::read_sources(at, out)
    });
    let services = fields.need("services", out)?;
    let entries = services.entries("a map of services by name", out)?;
    if entries.is_empty() || entries.len() > SERVICES_MAX {
        out.add(
            &services,
            format!("{} services; expected 1 to {SERVICES_MAX}", entries.len()),
        );
        return None;
    }
    let mut read = BTreeMap::new();
    let mut taken = Taken::new();
    for (entry, at) in entries {
        let name = entry.key.parse::<ServiceName>();
        let name = name
            .map_err(|error| out.add_at(entry.mark, &at.path, error.to_string()))
            .ok();
        let service = Service::read(&at, &sources, &mut taken, out);
        read.extend(name.zip(service));
    }
    Some(File {
        notify,
        sources: sources
            .into_iter()
            .filter_map(|(name, source)| Some((name, source?)))
            .collect(),
        services: read,
    })
}

fn read_notify(at: &At<'_>, out: &mut Problems) -> Option<Vec<Notify>> {
    let items = at.items_or_one();
    if items.len() > NOTIFY_MAX {
        out.add(
            at,
            format!("{} entries; expected at most {NOTIFY_MAX}", items.len()),
        );
        return None;
    }
    let read = |at: &At<'_>| {
        let url = at
            .fields(&keys::NOTIFY, out)?
            .need("webhook", out)?
            .web_url(out)?;
        Some(Notify::Webhook { url })
    };
    items.iter().map(read).collect()
}

/// Reads a name for people, which may not be empty.
fn read_name(at: &At<'_>, out: &mut Problems) -> Option<String> {
    let name = at.filled("a name", out)?;
    if name.len() > TEXT_CHARS_MAX {
        out.add(
            at,
            format!(
                "{:?} is too long; expected at most {TEXT_CHARS_MAX} bytes",
                shorten(&name)
            ),
        );
        return None;
    }
    Some(name)
}

/// The longest text for people.
const TEXT_CHARS_MAX: usize = 1_000;

#[cfg(test)]
mod tests;
