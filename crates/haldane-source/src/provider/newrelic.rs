//! New Relic: NRQL by NerdGraph, or by the older Insights API.
//!
//! <https://docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-nrql-tutorial/> and
//! <https://docs.newrelic.com/docs/apis/insights-apis/query-insights-event-data-api/>. Argo asks NerdGraph, Flagger Insights. Rows are
//! objects: their numbers are values, each with its name as the label `field`; texts such as `facet` are labels. A query without
//! `SINCE` gets the window.

use jiff::Timestamp;
use serde_json::json;

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result, short},
    json::Node,
    provider::{
        rows::{self, Field},
        words,
    },
    reading::{Reading, Value},
    request::{Request, check_query},
    window::{self, Window},
};

/// NerdGraph of the region US.
pub const NERDGRAPH_US: &str = "https://api.newrelic.com";

/// NerdGraph of the region EU.
pub const NERDGRAPH_EU: &str = "https://api.eu.newrelic.com";

/// Insights of the region US.
pub const INSIGHTS_US: &str = "https://insights-api.newrelic.com";

/// The question, with account and NRQL as variables, so that neither can become part of it.
const GRAPHQL: &str = "query($id: Int!, $nrql: Nrql!) { actor { account(id: $id) { nrql(query: $nrql) { results } } } }";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The API's address, such as [`NERDGRAPH_US`].
    pub address: String,
    /// Which API that is.
    pub api: Api,
    /// The account.
    pub account: u32,
    /// The NRQL.
    pub nrql: String,
}

/// Which API is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// GraphQL, with a user key.
    NerdGraph,
    /// The older one, with a query key.
    Insights,
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    let address = Address::parse(&query.address)?;
    let nrql = within(check_query(&query.nrql)?, window);
    match query.api {
        Api::NerdGraph => {
            let variables = json!({"id": query.account, "nrql": nrql});
            let body = json!({"query": GRAPHQL, "variables": variables});
            let request = Request::post_json(address.join("/graphql", &[]), &body);
            auth.header(request, "API-Key")
        }
        Api::Insights => {
            let path = format!("/v1/accounts/{}/query", query.account);
            let request = Request::get(address.join(&path, &[("nrql", &nrql)]));
            auth.header(request, "X-Query-Key")
        }
    }
}

/// Adds the window to a query that has none.
fn within(nrql: &str, window: &Window) -> String {
    if words::has(nrql, "since") {
        return nrql.to_owned();
    }
    let (from, to) = (window.from().as_millisecond(), window.to().as_millisecond());
    format!("{nrql} SINCE {from} UNTIL {to}")
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(query: &Query, window: &Window, answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    let mut reading = Reading::default();
    match query.api {
        Api::NerdGraph => {
            if let Some(error) = failure(root) {
                return Err(error);
            }
            let account = root.need("data")?.need("actor")?.need("account")?;
            for row in account.need("nrql")?.need("results")?.items()? {
                push(row, window.to(), &mut reading)?;
            }
        }
        Api::Insights => {
            if let Some(series) = root.get("timeSeries") {
                for step in series.items()? {
                    let end = seconds(step.need("endTimeSeconds")?)?;
                    for row in step.need("results")?.items()? {
                        push(row, end, &mut reading)?;
                    }
                }
            } else {
                for row in root.need("results")?.items()? {
                    push(row, window.to(), &mut reading)?;
                }
            }
        }
    }
    Ok(reading)
}

fn push(row: Node<'_>, at: Timestamp, reading: &mut Reading) -> Result<()> {
    let mut fields = Vec::new();
    for (name, node) in row.members()? {
        match name {
            "endTimeSeconds" => fields.push(seconds(node).map(Field::Time)),
            "beginTimeSeconds" | "inspectedCount" => {}
            // Percentiles and histograms come one level deeper: {"percentile.duration": {"95": 1.5}}.
            _ if node.value().is_object() => {
                for (inner, node) in node.members()? {
                    let value = Value::of_json(node.value());
                    fields.push(Ok(Field::Value(format!("{name}.{inner}"), value)));
                }
            }
            // The values of a facet, in a list where there are several.
            "facet" if node.value().is_array() => {
                let text = node.items()?.map(|item| item.text().unwrap_or_default());
                let text = text.collect::<Vec<_>>().join(",");
                fields.push(Ok(Field::Label(name.to_owned(), text)));
            }
            _ => fields.push(Ok(rows::of_json(name, node))),
        }
    }
    rows::push(reading, fields, at)
}

fn seconds(node: Node<'_>) -> Result<Timestamp> {
    window::from_seconds(node.number()?).ok_or_else(|| node.wrong("seconds since 1970"))
}

/// Returns the error of GraphQL's `errors`, which come with status 200.
fn failure(root: Node<'_>) -> Option<Error> {
    let errors = root.get("errors")?;
    let first = errors.at(0).ok()?;
    let message = message(root).unwrap_or_default();
    let class = first
        .get("extensions")
        .and_then(|node| node.get("errorClass"));
    Some(match class.and_then(|class| class.text().ok()) {
        Some("TOO_MANY_REQUESTS") => Error::RateLimited { retry_after: None },
        Some("ACCESS_DENIED" | "UNAUTHORIZED" | "FORBIDDEN") => Error::Unauthorized { message },
        Some("TIMEOUT" | "SERVER_ERROR" | "INTERNAL_SERVER_ERROR") => Error::Unavailable {
            status: 200,
            message,
            retry_after: None,
        },
        _ => Error::BadQuery { message },
    })
}

/// Finds `errors[0].message`, or `error` or `error.title`.
fn message(root: Node<'_>) -> Option<String> {
    let node = match root.get("errors") {
        Some(errors) => errors.at(0).ok()?.get("message")?,
        None => {
            let error = root.get("error")?;
            error.get("title").unwrap_or(error)
        }
    };
    node.text().ok().map(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secret::Secret,
        testing::{check, check_common, show_request, window},
    };

    fn query(api: Api) -> Query {
        Query {
            address: NERDGRAPH_EU.to_owned(),
            api,
            account: 42,
            nrql: "SELECT count(*) FROM Transaction WHERE app = 'x\"y'".to_owned(),
        }
    }

    fn key() -> Auth {
        Auth::Key(Secret::new("NRAK"))
    }

    #[test]
    fn the_query_is_a_variable_and_has_the_window() {
        let graph = request(&query(Api::NerdGraph), &window(), &key()).unwrap();
        assert_eq!(
            show_request(&graph),
            format!(
                "POST https://api.eu.newrelic.com/graphql\nAccept: application/json\nContent-Type: application/json\nAPI-Key: NRAK\n\
                 {{\"query\":\"{GRAPHQL}\",\"variables\":{{\"id\":42,\"nrql\":\"SELECT count(*) FROM Transaction WHERE app = 'x\\\"y' SINCE 1700000400000 UNTIL 1700001000000\"}}}}"
            )
        );
        let insights = Query {
            address: INSIGHTS_US.to_owned(),
            nrql: "SELECT 1 FROM T since 5 minutes ago".to_owned(),
            ..query(Api::Insights)
        };
        assert_eq!(
            show_request(&request(&insights, &window(), &key()).unwrap()),
            "GET https://insights-api.newrelic.com/v1/accounts/42/query?nrql=SELECT%201%20FROM%20T%20since%205%20minutes%20ago\n\
             Accept: application/json\nX-Query-Key: NRAK"
        );
        assert!(request(&insights, &window(), &Auth::None).is_err());
    }

    #[test]
    fn nerdgraph_answers_rows() {
        let rows = |text: &str| {
            format!(r#"{{"data":{{"actor":{{"account":{{"nrql":{{"results":{text}}}}}}}}}}}"#)
        };
        let error = |class: &str| {
            format!(
                r#"{{"data":{{"actor":{{"account":{{"nrql":null}}}}}},"errors":[{{"message":"NRQL Syntax Error","extensions":{{"errorClass":"{class}"}}}}]}}"#
            )
        };
        let query = query(Api::NerdGraph);
        check(
            |answer| parse(&query, &window(), answer),
            &[
                (
                    200,
                    &rows(r#"[{"count":123}]"#),
                    r#"1700001000{field="count"}=123"#,
                ),
                (
                    200,
                    &rows(r#"[{"average.duration":null,"facet":"a","app":"a"}]"#),
                    r#"1700001000{app="a", facet="a", field="average.duration"}=null"#,
                ),
                (
                    200,
                    &rows(
                        r#"[{"beginTimeSeconds":1700000400,"endTimeSeconds":1700000460,"count":1,"facet":["a","b"]}]"#,
                    ),
                    r#"1700000460{facet="a,b", field="count"}=1"#,
                ),
                (
                    200,
                    &rows(r#"[{"percentile.duration":{"95":1.5,"99":2}}]"#),
                    r#"1700001000{field="percentile.duration.95"}=1.5; 1700001000{field="percentile.duration.99"}=2"#,
                ),
                (200, &rows("[]"), "empty"),
                (200, &rows("[{}]"), "empty"),
                (
                    200,
                    &rows(r#"[{"ok":true}]"#),
                    r#"1700001000{field="ok"}=other true"#,
                ),
                (
                    200,
                    &error("INVALID_INPUT"),
                    "BadQuery: the query was refused: NRQL Syntax Error",
                ),
                (
                    200,
                    &error("TOO_MANY_REQUESTS"),
                    "RateLimited: rate limited",
                ),
                (
                    200,
                    &error("SERVER_ERROR"),
                    "Unavailable: unavailable (status 200): NRQL Syntax Error",
                ),
                (
                    200,
                    r#"{"data":{"actor":{"account":{"nrql":null}}}}"#,
                    "Malformed: malformed answer at $.data.actor.account.nrql: expected a member `results`, found null",
                ),
                (
                    200,
                    &rows("[7]"),
                    "Malformed: malformed answer at $.data.actor.account.nrql.results[0]: expected an object, found a number",
                ),
            ],
        );
        check_common(|answer| parse(&query, &window(), answer));
    }

    #[test]
    fn insights_answers_results() {
        let query = query(Api::Insights);
        check(
            |answer| parse(&query, &window(), answer),
            &[
                (
                    200,
                    r#"{"results":[{"result":100.5}],"metadata":{}}"#,
                    r#"1700001000{field="result"}=100.5"#,
                ),
                (
                    200,
                    r#"{"results":[{"result":null}]}"#,
                    r#"1700001000{field="result"}=null"#,
                ),
                (
                    200,
                    r#"{"timeSeries":[{"results":[{"count":2}],"beginTimeSeconds":1,"endTimeSeconds":1700000460,"inspectedCount":9}]}"#,
                    r#"1700000460{field="count"}=2"#,
                ),
                (
                    400,
                    r#"{"error":"NRQL Syntax Error: Error at line 1"}"#,
                    "BadQuery: the query was refused: NRQL Syntax Error: Error at line 1",
                ),
                (
                    403,
                    r#"{"error":{"title":"The API key provided is invalid"}}"#,
                    "Unauthorized: not authorized: The API key provided is invalid",
                ),
            ],
        );
        check_common(|answer| parse(&query, &window(), answer));
    }
}
