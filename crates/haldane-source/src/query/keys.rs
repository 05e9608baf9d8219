//! Under which keys a secret holds what.
//!
//! First those of Flagger's `MetricTemplate`, then those of Argo Rollouts, so that secrets that are there go on to work. What is in a
//! secret besides credentials (`newrelic_account_id`, `account-id`, `org`, `address`, `region`) belongs into the query.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    auth::{Auth, AwsKeys},
    error::{Error, Result},
    query::Query,
    secret::Secret,
};

type Keys = BTreeMap<String, Secret>;

/// Returns the credentials that `secret` holds for the provider of `query`.
pub(super) fn auth(query: &Query, secret: &Keys, now: Timestamp) -> Result<Auth> {
    match query {
        Query::Datadog(_) => {
            let pairs = [
                ("datadog_api_key", "datadog_application_key"),
                ("api-key", "app-key"),
                ("DD_API_KEY", "DD_APP_KEY"),
            ];
            let found = pairs
                .into_iter()
                .find_map(|(key, app)| Some((secret.get(key)?, secret.get(app)?)));
            let (key, application) = found.ok_or(Error::Credentials {
                expected: "the keys `datadog_api_key` and `datadog_application_key`, or `api-key` and `app-key`",
            })?;
            Ok(Auth::KeyPair {
                key: key.clone(),
                application: application.clone(),
            })
        }
        Query::NewRelic(_) => key(
            secret,
            &["newrelic_query_key", "personal-api-key"],
            "the key `newrelic_query_key` or `personal-api-key`",
        ),
        Query::InfluxDb(_) => key(
            secret,
            &["token", "authToken"],
            "the key `token` or `authToken`",
        ),
        Query::Dynatrace(_) => key(secret, &["dynatrace_token"], "the key `dynatrace_token`"),
        Query::SignalFx(_) => key(secret, &["sf_token_key"], "the key `sf_token_key`"),
        // Argo's secret has a token for each address.
        Query::Wavefront(query) => key(
            secret,
            &[query.address.as_str(), "token"],
            "a key that is the address, or `token`",
        ),
        Query::CloudWatch(_) => aws(secret, now),
        Query::Prometheus(query) if query.region.is_some() => aws(secret, now),
        Query::Google(_) => match plain(secret) {
            // Google's key files are not tokens; the host exchanges them.
            Auth::Bearer(token) => Ok(Auth::Bearer(token)),
            Auth::None
            | Auth::Basic { .. }
            | Auth::Key(_)
            | Auth::KeyPair { .. }
            | Auth::Aws { .. } => Err(Error::Credentials {
                expected: "the key `token` with an access token",
            }),
        },
        Query::External(_)
        | Query::Graphite(_)
        | Query::Keptn(_)
        | Query::Prometheus(_)
        | Query::SkyWalking(_)
        | Query::Splunk(_)
        | Query::Web(_) => Ok(plain(secret)),
    }
}

/// Returns the first of the keys that is there.
fn key(secret: &Keys, names: &[&str], expected: &'static str) -> Result<Auth> {
    let found = names.iter().find_map(|name| secret.get(*name));
    let found = found.ok_or(Error::Credentials { expected })?;
    Ok(Auth::Key(found.clone()))
}

/// Returns `token`, or `username` and `password`, or nothing.
fn plain(secret: &Keys) -> Auth {
    if let Some(token) = secret.get("token") {
        return Auth::Bearer(token.clone());
    }
    match (secret.get("username"), secret.get("password")) {
        (Some(username), Some(password)) => Auth::Basic {
            username: username.expose().trim().to_owned(),
            password: password.clone(),
        },
        (_, _) => Auth::None,
    }
}

/// Returns the keys of AWS, as its own tools name them.
fn aws(secret: &Keys, now: Timestamp) -> Result<Auth> {
    let find = |name: &str| {
        let lower = secret.get(&name.to_ascii_lowercase());
        secret.get(name).or(lower).cloned()
    };
    let id = find("AWS_ACCESS_KEY_ID");
    let key = find("AWS_SECRET_ACCESS_KEY");
    let (id, secret_access_key) = id.zip(key).ok_or(Error::Credentials {
        expected: "the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`",
    })?;
    Ok(Auth::Aws {
        keys: AwsKeys {
            access_key_id: id.expose().trim().to_owned(),
            secret_access_key,
            session_token: find("AWS_SESSION_TOKEN"),
        },
        signed_at: now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        provider::{cloudwatch, datadog, google, newrelic, prometheus, wavefront},
        testing::{show_request, window},
    };

    fn secret(pairs: &[(&str, &str)]) -> Keys {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
            .collect()
    }

    fn prometheus() -> Query {
        Query::Prometheus(prometheus::Query {
            address: "http://p".to_owned(),
            expression: "up".to_owned(),
            form: prometheus::Form::Instant,
            headers: Vec::new(),
            region: None,
        })
    }

    #[test]
    fn secrets_of_both_peers_are_understood() {
        let now = Timestamp::UNIX_EPOCH;
        let check = |query: &Query, pairs: &[(&str, &str)], header: &str| {
            let auth = query.auth(&secret(pairs), now).unwrap();
            let shown = show_request(&query.request(&window(), &auth).unwrap());
            assert!(shown.contains(header), "{shown}");
        };
        let datadog = Query::Datadog(datadog::Query {
            address: datadog::ADDRESS_DEFAULT.to_owned(),
            form: datadog::Form::V1("x".to_owned()),
        });
        for pairs in [
            [("datadog_api_key", "a"), ("datadog_application_key", "b")],
            [("api-key", "a"), ("app-key", "b\n")],
        ] {
            check(&datadog, &pairs, "DD-API-KEY: a\nDD-APPLICATION-KEY: b");
        }
        let newrelic = Query::NewRelic(newrelic::Query {
            address: newrelic::NERDGRAPH_US.to_owned(),
            api: newrelic::Api::NerdGraph,
            account: 1,
            nrql: "SELECT 1".to_owned(),
        });
        check(&newrelic, &[("personal-api-key", "k")], "API-Key: k");
        let wavefront = Query::Wavefront(wavefront::Query {
            address: "a.wavefront.com".to_owned(),
            query: "ts(x)".to_owned(),
        });
        check(
            &wavefront,
            &[("b.wavefront.com", "no"), ("a.wavefront.com", "t")],
            "Authorization: Bearer t",
        );
        check(&prometheus(), &[("token", "t")], "Authorization: Bearer t");
        check(
            &prometheus(),
            &[("username", "a"), ("password", "b")],
            "Authorization: Basic YTpi",
        );
        check(&prometheus(), &[], "GET http://p/api/v1/query?query=up");
        let cloudwatch = Query::CloudWatch(cloudwatch::Query {
            region: "eu-west-1".to_owned(),
            address: None,
            queries: "[{}]".to_owned(),
        });
        check(
            &cloudwatch,
            &[
                ("aws_access_key_id", "AKID"),
                ("aws_secret_access_key", "s"),
            ],
            "Credential=AKID/19700101/eu-west-1/monitoring",
        );
    }

    #[test]
    fn a_secret_without_the_keys_is_told() {
        let google = Query::Google(google::Query {
            address: google::ADDRESS_DEFAULT.to_owned(),
            project: "p".to_owned(),
            mql: "fetch x".to_owned(),
        });
        let error = google.auth(&secret(&[("other", "x")]), Timestamp::UNIX_EPOCH);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the credentials don't fit: expected the key `token` with an access token"
        );
    }

    #[test]
    fn only_paged_providers_have_a_next_page() {
        let page = crate::reading::Page("x".to_owned());
        assert!(
            prometheus()
                .next_request(&window(), &Auth::None, &page)
                .is_err()
        );
    }
}
