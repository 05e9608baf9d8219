//! Metric sources of the file, and the metrics that services take from them.
//!
//! **Invariant:** a literal secret is refused, wherever it stands: what was read can be stored and shown.

use std::{collections::BTreeMap, path::Path};

use haldane_core::{
    guard::{self, Limit},
    plan::{
        Plan,
        metric::{Ask, Direction, Given, Kind, Margin, Metric, Provider, Source, Unit},
    },
};

use crate::{
    keys,
    read::{At, Fields, Problems},
    text::parse_limit,
    tree::{self, shorten},
};

/// The most sources of a file, headers of a source or variables of a metric.
const ITEMS_MAX: usize = 100;

/// The longest query: the longest that is sent.
const QUERY_BYTES_MAX: usize = 16 << 10;

/// The header that names a tenant.
const TENANT: &str = "X-Scope-OrgID";

/// What fills the placeholders of every query.
const KNOWN: [&str; 4] = ["service", "version", "workload", "window"];

/// Sources by name.
pub(super) type Sources = BTreeMap<String, Source>;

pub(super) fn read_sources(at: &At<'_>, out: &mut Problems) -> Option<Sources> {
    let entries = at.entries("a map of metric systems by name", out)?;
    check_count(at, entries.len(), "sources", out);
    let mut sources = Sources::new();
    for (entry, at) in entries {
        if entry.key.is_empty() {
            out.add_at(
                entry.mark,
                &at.path,
                "a source without a name; expected one",
            );
        }
        let source = read_source(&entry.key, &at, out);
        sources.extend(source.map(|source| (entry.key.clone(), source)));
    }
    Some(sources)
}

fn read_source(name: &str, at: &At<'_>, out: &mut Problems) -> Option<Source> {
    let fields = at.fields(&keys::SOURCE, out)?;
    let auth = fields.or("auth", BTreeMap::new(), |at| read_auth(at, out));
    let mut headers = fields.or("headers", BTreeMap::new(), |at| read_headers(at, out));
    if let Some(tenant) = fields.get("tenant") {
        let tenant = tenant.filled("the tenant's name", out);
        headers.extend(tenant.map(|tenant| (TENANT.to_owned(), Given::Text(tenant))));
    }
    let (_, address) = fields.exclusive(out)?;
    let url = address.web_url(out)?;
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        out.add(
            &address,
            "credentials in a URL; expected them under auth, by reference",
        );
        return None;
    }
    Some(Source {
        name: name.to_owned(),
        provider: Provider::Prometheus,
        address: url,
        headers,
        auth,
    })
}

fn read_auth(at: &At<'_>, out: &mut Problems) -> Option<BTreeMap<String, Given>> {
    let fields = at.fields(&keys::AUTH, out)?;
    let token = fields.get("token").map(|at| read_secret(&at, out));
    let username = fields.get("username").map(|at| read_given(&at, out));
    let password = fields.get("password").map(|at| read_secret(&at, out));
    match (&token, &username, &password) {
        (Some(_), None, None) | (None, Some(_), Some(_)) | (None, None, None) => {}
        _ => out.add(at, "expected either a token, or username and password"),
    }
    let given = [
        ("token", token),
        ("username", username),
        ("password", password),
    ];
    let given = given.into_iter();
    Some(
        given
            .filter_map(|(key, given)| Some((key.to_owned(), given??)))
            .collect(),
    )
}

fn read_headers(at: &At<'_>, out: &mut Problems) -> Option<BTreeMap<String, Given>> {
    let entries = at.entries("a map of headers", out)?;
    check_count(at, entries.len(), "headers", out);
    let mut headers = BTreeMap::new();
    for (entry, at) in entries {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if entry.key.is_empty() || !entry.key.chars().all(is_token) {
            let message = format!("{:?} is no header's name", shorten(&entry.key));
            out.add_at(entry.mark, &at.path, message);
        }
        let given = if is_secret(&entry.key) {
            read_secret(&at, out)
        } else {
            read_given(&at, out)
        };
        headers.extend(given.map(|given| (entry.key.clone(), given)));
    }
    Some(headers)
}

/// Whether a header of this name is made to carry a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["auth", "cookie", "token", "key", "secret", "password"];
    words.iter().any(|word| name.contains(word))
}

fn read_given(at: &At<'_>, out: &mut Problems) -> Option<Given> {
    if let tree::Kind::Text(_) = at.node.kind {
        return at.filled("a text", out).map(Given::Text);
    }
    read_secret(at, out)
}

fn read_secret(at: &At<'_>, out: &mut Problems) -> Option<Given> {
    let expected = "{ env: NAME } or { file: /absolute/path }";
    if !matches!(at.node.kind, tree::Kind::Map(_)) {
        let message = format!("a secret is never written into the file; expected {expected}");
        out.add(at, message);
        return None;
    }
    match at.fields(&keys::SECRET, out)?.exclusive(out)? {
        ("env", at) => {
            let name = at.filled("a variable's name", out)?;
            if name.contains(['=', '\0']) {
                out.add(&at, "expected a variable's name");
            }
            Some(Given::Env(name))
        }
        (_, at) => {
            let path = at.filled("a file's absolute path", out)?;
            if !Path::new(&path).is_absolute() {
                let message = format!(
                    "{:?} is no absolute path; expected one such as /run/secrets/token",
                    shorten(&path)
                );
                out.add(&at, message);
            }
            Some(Given::File(path))
        }
    }
}

/// Reads the metrics of a service into its plan.
pub(super) fn read_metrics(
    at: &At<'_>,
    sources: &Sources,
    plan: Plan,
    out: &mut Problems,
) -> Option<Plan> {
    let entries = at.entries("a map of metrics by name", out)?;
    let mut metrics = Vec::new();
    for (entry, at) in entries {
        let metric = read_metric(&entry.key, &at, sources, out);
        metrics.extend(metric);
    }
    // Their order means nothing; written files have them by name.
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    let plan = plan.with_metrics(metrics).map_err(|problems| {
        for problem in problems {
            let path = problem.path.strip_prefix("metrics").unwrap_or_default();
            // A name may have dots of its own.
            let entries = at.entries("", out).unwrap_or_default().into_iter();
            let mut found = entries.filter_map(|(entry, at)| {
                let rest = path.strip_prefix('.')?.strip_prefix(entry.key.as_str())?;
                (rest.is_empty() || rest.starts_with('.'))
                    .then(|| (entry, at.follow(rest.trim_start_matches('.'))))
            });
            match found.next() {
                Some((entry, place)) if place.path.ends_with(&entry.key) => {
                    out.add_at(entry.mark, &place.path, problem.message);
                }
                Some((_, place)) => out.add(&place, problem.message),
                None => out.add(at, problem.message),
            }
        }
    });
    plan.ok()
}

fn read_metric(name: &str, at: &At<'_>, sources: &Sources, out: &mut Problems) -> Option<Metric> {
    let fields = at.fields(&keys::METRIC, out)?;
    let kinds = Kind::ALL.map(|kind| (kind.name(), kind));
    let kind = fields
        .need("kind", out)
        .and_then(|at| at.choice(&kinds, out));
    let source = fields
        .need("source", out)
        .and_then(|at| find_source(&at, sources, out));
    let variables = fields.or("variables", BTreeMap::new(), |at| read_variables(at, out));
    let ask = read_ask(&fields, &variables, out);
    let directions = [
        ("higherIsWorse", Direction::HigherIsWorse),
        ("lowerIsWorse", Direction::LowerIsWorse),
    ];
    let direction = fields
        .get("direction")
        .map(|at| at.choice(&directions, out));
    let workload = fields.or("workload", Metric::WORKLOAD.to_owned(), |at| {
        at.filled("a text such as shop-{{version}}", out)
    });
    let units = [
        ("s", Unit::Seconds),
        ("ms", Unit::Milliseconds),
        ("us", Unit::Microseconds),
    ];
    let unit = fields.or("unit", Unit::Seconds, |at| at.choice(&units, out));
    let weight = fields.or("weight", Metric::WEIGHT, |at| at.count(0, u32::MAX, out));
    let interval = fields.or("interval", Metric::INTERVAL, |at| at.wait(out));
    let stale_after = fields.or("staleAfter", Metric::STALE_AFTER, |at| at.wait(out));
    let judging = read_judging(&fields, out);
    let kind = kind?;
    let direction = direction.flatten().unwrap_or(kind.direction());
    let standard = Margin::standard(kind, direction);
    Some(Metric {
        name: name.to_owned(),
        kind,
        source: source?,
        ask: ask?,
        variables,
        workload,
        unit,
        direction,
        margin: Margin {
            harm_permille: judging.harm.unwrap_or(standard.harm_permille),
            accept_permille: judging.accept.unwrap_or(standard.accept_permille),
            accept_ppm: judging.accept_plus.unwrap_or(standard.accept_ppm),
        },
        weight,
        critical: judging.critical.unwrap_or(kind.is_critical()),
        required: judging.required.unwrap_or(kind.is_required()),
        interval,
        stale_after,
    })
}

/// What a metric says of how it is judged; the rest depends on its kind.
struct Judging {
    harm: Option<u32>,
    accept: Option<u32>,
    accept_plus: Option<u32>,
    critical: Option<bool>,
    required: Option<bool>,
}

fn read_judging(fields: &Fields<'_>, out: &mut Problems) -> Judging {
    let answers = [("true", true), ("false", false)];
    let mut limit = |key, expected: &str, kind: fn(Limit) -> Option<u32>| {
        let at = fields.get(key)?;
        let parse = |text: &str| parse_limit(guard::Metric::ErrorRate, text);
        let value = kind(at.parsed(expected, parse, out)?);
        if value.is_none() {
            out.add(&at, format!("expected {expected}"));
        }
        value
    };
    Judging {
        harm: limit("harm", "a multiple such as 1.1x", super::rollout::multiple),
        accept: limit(
            "accept",
            "a multiple such as 1.5x",
            super::rollout::multiple,
        ),
        accept_plus: limit(
            "acceptPlus",
            "points such as +0.2pp",
            super::rollout::points,
        ),
        critical: fields
            .get("critical")
            .and_then(|at| at.choice(&answers, out)),
        required: fields
            .get("required")
            .and_then(|at| at.choice(&answers, out)),
    }
}

fn find_source(at: &At<'_>, sources: &Sources, out: &mut Problems) -> Option<Source> {
    let name = at.filled("the name of one of sources", out)?;
    let source = sources.get(&name);
    if source.is_none() {
        let names: Vec<&str> = sources.keys().map(String::as_str).collect();
        let expected = if names.is_empty() {
            "it to be declared under sources, as in `sources: { prometheus: { prometheus: http://127.0.0.1:9090 } }`".to_owned()
        } else {
            format!("one of {}", names.join(", "))
        };
        out.add(
            at,
            format!(
                "no source is named {:?}; expected {expected}",
                shorten(&name)
            ),
        );
    }
    source.cloned()
}

fn read_variables(at: &At<'_>, out: &mut Problems) -> Option<BTreeMap<String, String>> {
    let entries = at.entries("a map of names and values", out)?;
    check_count(at, entries.len(), "variables", out);
    let mut variables = BTreeMap::new();
    for (entry, at) in entries {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if entry.key.is_empty()
            || !entry.key.chars().all(is_word)
            || KNOWN.contains(&entry.key.as_str())
        {
            let message = format!(
                "{:?} can't be set; expected a name of letters, digits and underscores other than {}",
                shorten(&entry.key),
                KNOWN.join(", ")
            );
            out.add_at(entry.mark, &at.path, message);
        }
        let value = at.filled("a value", out);
        variables.extend(value.map(|value| (entry.key.clone(), value)));
    }
    Some(variables)
}

fn read_ask(
    fields: &Fields<'_>,
    variables: &BTreeMap<String, String>,
    out: &mut Problems,
) -> Option<Ask> {
    let [template, query, events, exposure] =
        ["template", "query", "events", "exposure"].map(|key| fields.get(key));
    match (template, query, events, exposure) {
        (Some(at), None, None, None) => {
            let names = keys::TEMPLATES.map(|(name, needs)| (name, (name, needs)));
            let (name, needs) = at.choice(&names, out)?;
            for need in needs.iter().filter(|need| !variables.contains_key(**need)) {
                out.add(&at, format!("the template {name} needs the variable {need}; expected variables: {{ {need}: … }}"));
            }
            Some(Ask::Template(name.to_owned()))
        }
        (None, Some(at), None, None) => read_query(&at, variables, out).map(Ask::Query),
        (None, None, Some(events), exposure) => {
            let events = read_query(&events, variables, out);
            let exposure = exposure.map(|at| read_query(&at, variables, out));
            Some(Ask::Counts {
                events: events?,
                exposure: match exposure {
                    Some(exposure) => Some(exposure?),
                    None => None,
                },
            })
        }
        (None, None, None, None) => {
            out.add(
                &fields.at,
                "nothing to ask; expected template, query, or events and exposure",
            );
            None
        }
        (None, None, None, Some(at)) => {
            out.add(
                &at,
                "only what could have happened; expected events beside exposure",
            );
            None
        }
        (template, query, events, exposure) => {
            let second = [template, query, events.or(exposure)]
                .into_iter()
                .flatten()
                .nth(1);
            let at = second.unwrap_or_else(|| fields.at.clone());
            out.add(
                &at,
                "too much to ask; expected exactly one of template, query, or events and exposure",
            );
            None
        }
    }
}

/// Reads a query: its placeholders are known, and one of them tells the versions apart.
fn read_query(
    at: &At<'_>,
    variables: &BTreeMap<String, String>,
    out: &mut Problems,
) -> Option<String> {
    let text = at.filled("a query", out)?;
    if text.len() > QUERY_BYTES_MAX {
        out.add(at, "longer than 16 KiB; expected a shorter query");
        return None;
    }
    let mut is_of_version = false;
    for part in text.split("{{").skip(1) {
        let Some((name, _)) = part.split_once("}}") else {
            out.add(
                at,
                "`{{` without `}}`; expected placeholders such as {{version}}",
            );
            return None;
        };
        let name = name.trim();
        is_of_version |= matches!(name, "version" | "workload");
        if !KNOWN.contains(&name) && !variables.contains_key(name) {
            let names = KNOWN
                .iter()
                .copied()
                .chain(variables.keys().map(String::as_str));
            let names: Vec<&str> = names.collect();
            let message = format!(
                "nothing is known to fill in for {{{{{}}}}}; expected one of {}",
                shorten(name),
                names.join(", ")
            );
            out.add(at, message);
        }
    }
    if !is_of_version {
        out.add(at, "the same for both versions, so nothing could be compared; expected {{version}} or {{workload}} in the query");
    }
    Some(text)
}

fn check_count(at: &At<'_>, count: usize, what: &str, out: &mut Problems) {
    if count > ITEMS_MAX {
        out.add(at, format!("{count} {what}; expected at most {ITEMS_MAX}"));
    }
}

#[cfg(test)]
mod tests;
