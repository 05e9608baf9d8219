//! Metric systems of the file: where they are asked, and with which credentials.
//!
//! **Invariant:** a literal secret is refused, wherever it stands: what was read can be stored and shown.

use std::{collections::BTreeMap, path::Path};

use haldane_core::plan::metric::{Given, Provider, Source};

use super::{Sources, check_count};
use crate::{
    command, keys,
    read::{At, Fields, Problems},
    tree::{self, shorten},
};

/// The header that names a tenant.
const TENANT: &str = "X-Scope-OrgID";

/// What single providers need.
const OPTIONS: [&str; 5] = ["region", "project", "account", "org", "database"];

/// What TLS needs, whatever the provider's credentials are.
const TLS_KEYS: [&str; 3] = ["ca", "clientCertificate", "clientKey"];

const AWS_KEYS: &[&str] = &["accessKeyId", "secretAccessKey"];
const AWS_KEYS_FOR_A_WHILE: &[&str] = &["accessKeyId", "secretAccessKey", "sessionToken"];

pub(in crate::file) fn read_sources(at: &At<'_>, out: &mut Problems) -> Option<Sources> {
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
        if entry.key == Source::PROXY {
            out.add_at(
                entry.mark,
                &at.path,
                "the proxy itself has this name; expected another one",
            );
        }
        let source = read_source(&entry.key, &at, out);
        sources.insert(entry.key.clone(), source);
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
    let given = OPTIONS.map(|key| (key, fields.get(key)));
    let (key, address) = fields.exclusive(out)?;
    let mut providers = Provider::ALL.into_iter();
    let provider = providers.find(|provider| provider.name() == key)?;
    let options = read_options(&fields.at, provider, given, out);
    check_auth(&fields, provider, out);
    if !headers.is_empty() && !matches!(provider, Provider::Prometheus | Provider::Web) {
        out.add(
            &fields.at,
            "headers and tenant are sent to Prometheus and the web only; expected them to be left out",
        );
    }
    let address = if provider == Provider::Command {
        read_command(&address, out)
    } else {
        read_address(&address, out)
    };
    Some(Source {
        name: name.to_owned(),
        provider,
        address: address?,
        options,
        headers,
        auth,
    })
}

fn read_address(at: &At<'_>, out: &mut Problems) -> Option<String> {
    let url = at.web_url(out)?;
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        out.add(
            at,
            "credentials in a URL; expected them under auth, by reference",
        );
        return None;
    }
    Some(url)
}

/// Reads a command as one line, to which the arguments of queries are added.
fn read_command(at: &At<'_>, out: &mut Problems) -> Option<String> {
    let words = at.command(out)?;
    Some(command::join(&words))
}

/// Reads what the provider needs besides its address; what another one needs has no place here.
fn read_options(
    at: &At<'_>,
    provider: Provider,
    given: [(&'static str, Option<At<'_>>); OPTIONS.len()],
    out: &mut Problems,
) -> BTreeMap<String, String> {
    let needs: &[&str] = match provider {
        Provider::CloudWatch => &["region"],
        Provider::Google => &["project"],
        Provider::NewRelic => &["account"],
        Provider::InfluxDb => &["org", "database"],
        Provider::Proxy
        | Provider::Prometheus
        | Provider::Datadog
        | Provider::Dynatrace
        | Provider::Graphite
        | Provider::SignalFx
        | Provider::Splunk
        | Provider::Wavefront
        | Provider::Command
        | Provider::ExternalMetrics
        | Provider::Keptn
        | Provider::SkyWalking
        | Provider::Web => &[],
    };
    let mut options = BTreeMap::new();
    for (key, option) in given {
        let Some(option) = option else { continue };
        let is_amazons = provider == Provider::Prometheus && key == "region";
        if !needs.contains(&key) && !is_amazons {
            let message = format!(
                "{} has no {key}; expected it to be left out",
                provider.name()
            );
            out.add(&option, message);
        }
        let value = option.filled("a name", out);
        if key == "account"
            && value
                .as_ref()
                .is_some_and(|value| value.parse::<u32>().is_err())
        {
            out.add(&option, "expected the account's number");
        }
        options.extend(value.map(|value| (key.to_owned(), value)));
    }
    if !needs.is_empty() && !needs.iter().any(|need| options.contains_key(*need)) {
        let message = format!(
            "{} is missing; {} needs it",
            needs.join(" or "),
            provider.name()
        );
        out.add(at, message);
    }
    if options.contains_key("org") && options.contains_key("database") {
        out.add(
            at,
            "both org and database; expected org for Flux, or database for SQL",
        );
    }
    options
}

fn read_auth(at: &At<'_>, out: &mut Problems) -> Option<BTreeMap<String, Given>> {
    let fields = at.fields(&keys::AUTH, out)?;
    let mut auth = BTreeMap::new();
    for key in [
        "token",
        "password",
        "apiKey",
        "appKey",
        "secretAccessKey",
        "sessionToken",
    ]
    .into_iter()
    .chain(TLS_KEYS)
    {
        let given = fields.get(key).and_then(|at| read_secret(&at, out));
        auth.extend(given.map(|given| (key.to_owned(), given)));
    }
    for key in ["username", "accessKeyId"] {
        let given = fields.get(key).and_then(|at| read_given(&at, out));
        auth.extend(given.map(|given| (key.to_owned(), given)));
    }
    Some(auth)
}

/// Checks that the credentials are those of the provider, and whole.
fn check_auth(fields: &Fields<'_>, provider: Provider, out: &mut Problems) {
    let given = fields.get("auth");
    // Keys that could not be read are told already, and count as given.
    let (tls, keys): (Vec<&str>, Vec<&str>) = match given.as_ref().map(|at| &at.node.kind) {
        Some(tree::Kind::Map(entries)) => entries
            .iter()
            .map(|entry| entry.key.as_str())
            .partition(|key| TLS_KEYS.contains(key)),
        Some(_) => return,
        None => (Vec::new(), Vec::new()),
    };
    let at = given.unwrap_or_else(|| fields.at.clone());
    check_tls(&at, provider, &tls, out);
    let is_amazons = fields.get("region").is_some();
    let expected: &[&[&str]] = match provider {
        Provider::Prometheus if is_amazons => &[AWS_KEYS, AWS_KEYS_FOR_A_WHILE],
        Provider::CloudWatch => &[AWS_KEYS, AWS_KEYS_FOR_A_WHILE],
        Provider::Datadog => &[&["apiKey", "appKey"]],
        Provider::Prometheus
        | Provider::Graphite
        | Provider::Splunk
        | Provider::ExternalMetrics
        | Provider::Keptn
        | Provider::SkyWalking
        | Provider::Web => &[&["token"], &["username", "password"]],
        Provider::Command | Provider::Proxy => &[],
        Provider::Dynatrace
        | Provider::Google
        | Provider::InfluxDb
        | Provider::NewRelic
        | Provider::SignalFx
        | Provider::Wavefront => &[&["token"]],
    };
    let is_whole =
        |names: &&[&str]| names.len() == keys.len() && names.iter().all(|name| keys.contains(name));
    if !keys.is_empty() && !expected.iter().any(is_whole) {
        let expected: Vec<String> = expected.iter().map(|names| names.join(" and ")).collect();
        let expected = match expected.as_slice() {
            [] => "no credentials".to_owned(),
            expected => expected.join(", or "),
        };
        let message = format!(
            "{} takes {expected}; found {}",
            provider.name(),
            keys.join(" and ")
        );
        out.add(&at, message);
    }
    let is_needed = match provider {
        Provider::Prometheus
        | Provider::Graphite
        | Provider::Splunk
        | Provider::Command
        | Provider::ExternalMetrics
        | Provider::Keptn
        | Provider::Proxy
        | Provider::SkyWalking
        | Provider::Web => false,
        Provider::CloudWatch
        | Provider::Datadog
        | Provider::Dynatrace
        | Provider::Google
        | Provider::InfluxDb
        | Provider::NewRelic
        | Provider::SignalFx
        | Provider::Wavefront => true,
    };
    if is_needed && keys.is_empty() {
        out.add(&at, format!("{} needs credentials", provider.name()));
    }
}

/// Checks that what TLS needs is whole.
fn check_tls(at: &At<'_>, provider: Provider, keys: &[&str], out: &mut Problems) {
    if provider == Provider::Command && !keys.is_empty() {
        out.add(
            at,
            "a command is no server; expected no ca, clientCertificate and clientKey",
        );
    }
    let has = |key| keys.contains(&key);
    match (has("clientCertificate"), has("clientKey")) {
        (true, false) => out.add(at, "clientKey is missing beside clientCertificate"),
        (false, true) => out.add(at, "clientCertificate is missing beside clientKey"),
        (true, true) | (false, false) => {}
    }
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
