//! Apache SkyWalking: metric expressions (MQE), or any question in GraphQL.
//!
//! <https://skywalking.apache.org/docs/main/next/en/api/metrics-query-expression/>. A question in GraphQL gets the variable `$duration`,
//! as Argo gives it, and a JSONPath into `data`. Values are texts or null; ids of series are milliseconds since 1970. Times are UTC and
//! whole minutes.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result, short},
    json::Node,
    jsonpath::JsonPath,
    provider::web,
    reading::{Labels, Point, Reading, Value},
    request::{Request, check_query},
    window::{self, Window},
};

/// The question for an expression, with everything in variables.
const EXPRESSION: &str = "query($expression: String!, $entity: Entity!, $duration: Duration!) \
     { execExpression(expression: $expression, entity: $entity, duration: $duration) \
     { type error results { metric { labels { key value } } values { id value } } } }";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The OAP server's address; `/graphql` is added.
    pub address: String,
    /// What is asked.
    pub form: Form,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A metric expression about a service.
    Expression {
        /// The expression.
        expression: String,
        /// The service.
        service: String,
        /// Its layer is a normal one (agents, meshes), not conjectured from its callers.
        is_normal: bool,
    },
    /// A question, and the path of the number in its data.
    GraphQl {
        /// The question.
        text: String,
        /// The JSONPath.
        path: String,
    },
}

impl Query {
    /// Reads a release file's form, `SERVICE EXPRESSION`: an expression about a service with agents or in a mesh.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn parse(address: &str, text: &str) -> Result<Self> {
        let words = text.trim().split_once(char::is_whitespace);
        let (service, expression) = words.ok_or_else(|| {
            Error::invalid(
                "the SkyWalking query",
                "expected `SERVICE EXPRESSION`, as in `shop-{{version}} service_cpm`",
            )
        })?;
        Ok(Self {
            address: address.to_owned(),
            form: Form::Expression {
                expression: expression.trim().to_owned(),
                service: service.to_owned(),
                is_normal: true,
            },
        })
    }
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    let address = Address::parse(&query.address)?;
    let duration = json!({
        "start": minute(window.from()),
        "end": minute(window.to()),
        "step": "MINUTE",
    });
    let body = match &query.form {
        Form::Expression {
            expression,
            service,
            is_normal,
        } => {
            let expression = check_query(expression)?;
            let entity = json!({"serviceName": service, "normal": is_normal});
            let variables =
                json!({"expression": expression, "entity": entity, "duration": duration});
            json!({"query": EXPRESSION, "variables": variables})
        }
        Form::GraphQl { text, path } => {
            JsonPath::parse(path)?;
            json!({"query": check_query(text)?, "variables": {"duration": duration}})
        }
    };
    auth.plain(Request::post_json(address.join("/graphql", &[]), &body))
}

/// Writes a time as `2023-11-14 2220`.
fn minute(at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    format!(
        "{:04}-{:02}-{:02} {:02}{:02}",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute()
    )
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(query: &Query, window: &Window, answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    if let Some(message) = message(root) {
        return Err(Error::BadQuery { message });
    }
    let data = root.need("data")?;
    match &query.form {
        Form::GraphQl { path, .. } => {
            data.check_object()?;
            web::read(path, window, data.value())
        }
        Form::Expression { .. } => expression(data.need("execExpression")?, window),
    }
}

fn expression(result: Node<'_>, window: &Window) -> Result<Reading> {
    let kind = result.need("type")?.text()?;
    if let Some(error) = result.get("error") {
        return Err(Error::bad_query(error.text()?));
    }
    if kind == "UNKNOWN" {
        return Err(Error::bad_query("the expression has no known type"));
    }
    let mut reading = Reading::default();
    for series in result.need("results")?.items()? {
        let mut labels = Vec::new();
        let list = series.get("metric").and_then(|metric| metric.get("labels"));
        for label in list
            .map(|list| list.items())
            .transpose()?
            .into_iter()
            .flatten()
        {
            let (key, value) = (label.need("key")?.text()?, label.need("value")?.text()?);
            labels.push((key.to_owned(), value.to_owned()));
        }
        Labels::check_count(labels.len())?;
        for item in series.need("values")?.items()? {
            let mut labels = labels.clone();
            let id = item.get("id").map(|id| id.text()).transpose()?;
            let at = match (kind, id) {
                ("TIME_SERIES_VALUES", Some(id)) => {
                    let milliseconds = id.parse().ok();
                    milliseconds
                        .and_then(window::from_milliseconds_float)
                        .ok_or_else(|| item.wrong("an id of milliseconds since 1970"))?
                }
                // The names of a sorted list.
                (_, Some(id)) => {
                    labels.push(("id".to_owned(), id.to_owned()));
                    window.to()
                }
                (_, None) => window.to(),
            };
            let labels: Labels = labels.into_iter().collect();
            let value = Value::of_json_or_text(item.need("value")?.value());
            reading.push(Point { at, labels, value })?;
        }
    }
    Ok(reading)
}

/// Finds the first of `errors`.
fn message(root: Node<'_>) -> Option<String> {
    let first = root.get("errors")?.at(0).ok()?;
    first.get("message")?.text().ok().map(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_common, show_request, window};

    fn expression() -> Query {
        Query {
            address: "http://oap:12800".to_owned(),
            form: Form::Expression {
                expression: "service_sla/100".to_owned(),
                service: "shop\"}".to_owned(),
                is_normal: true,
            },
        }
    }

    fn graphql(path: &str) -> Query {
        Query {
            address: "http://oap:12800".to_owned(),
            form: Form::GraphQl {
                text: "query q($duration: Duration!) { x }".to_owned(),
                path: path.to_owned(),
            },
        }
    }

    #[test]
    fn names_are_variables_and_times_are_utc() {
        let head = "POST http://oap:12800/graphql\nAccept: application/json\nContent-Type: application/json\n";
        let show = |query| show_request(&request(&query, &window(), &Auth::None).unwrap());
        assert_eq!(
            show(expression()),
            format!(
                "{head}{{\"query\":\"{EXPRESSION}\",\"variables\":{{\"duration\":{{\"end\":\"2023-11-14 2230\",\"start\":\"2023-11-14 2220\",\"step\":\"MINUTE\"}},\
                 \"entity\":{{\"normal\":true,\"serviceName\":\"shop\\\"}}\"}},\"expression\":\"service_sla/100\"}}}}"
            )
        );
        assert_eq!(
            show(graphql("{$.x}")),
            format!(
                "{head}{{\"query\":\"query q($duration: Duration!) {{ x }}\",\"variables\":{{\"duration\":{{\"end\":\"2023-11-14 2230\",\"start\":\"2023-11-14 2220\",\"step\":\"MINUTE\"}}}}}}"
            )
        );
        assert!(request(&graphql("$["), &window(), &Auth::None).is_err());
    }

    #[test]
    fn the_files_form_is_read() {
        let query = Query::parse("http://oap:12800", " mesh::shop-v2  service_cpm / 2 ").unwrap();
        let Form::Expression {
            expression,
            service,
            ..
        } = query.form
        else {
            panic!("{query:?}");
        };
        assert_eq!(
            (service.as_str(), expression.as_str()),
            ("mesh::shop-v2", "service_cpm / 2")
        );
        assert!(Query::parse("http://oap:12800", "service_cpm").is_err());
    }

    #[test]
    fn expressions_answer_series() {
        let result = |kind: &str, results: &str| {
            format!(
                r#"{{"data":{{"execExpression":{{"type":"{kind}","error":null,"results":{results}}}}}}}"#
            )
        };
        let series = result(
            "TIME_SERIES_VALUES",
            r#"[{"metric":{"labels":[{"key":"p","value":"95"}]},"values":[{"id":"1700000460000","value":"33"},{"id":"1700000520000","value":null}]}]"#,
        );
        let single = result(
            "SINGLE_VALUE",
            r#"[{"metric":{"labels":[]},"values":[{"id":null,"value":"99.5"}]}]"#,
        );
        let list = result(
            "SORTED_LIST",
            r#"[{"metric":{"labels":[]},"values":[{"id":"shop","value":"1"},{"id":"cart","value":"x"}]}]"#,
        );
        let query = expression();
        check(
            |answer| parse(&query, &window(), answer),
            &[
                (
                    200,
                    &series,
                    r#"1700000460{p="95"}=33; 1700000520{p="95"}=null"#,
                ),
                (200, &single, "1700001000=99.5"),
                (
                    200,
                    &list,
                    r#"1700001000{id="shop"}=1; 1700001000{id="cart"}=other "x""#,
                ),
                (200, &result("TIME_SERIES_VALUES", "[]"), "empty"),
                (
                    200,
                    r#"{"data":{"execExpression":{"type":"UNKNOWN","error":"Metric not found","results":[]}}}"#,
                    "BadQuery: the query was refused: Metric not found",
                ),
                (
                    200,
                    r#"{"errors":[{"message":"Syntax Error"}],"data":null}"#,
                    "BadQuery: the query was refused: Syntax Error",
                ),
                (
                    200,
                    &result(
                        "TIME_SERIES_VALUES",
                        r#"[{"values":[{"id":"noon","value":"1"}]}]"#,
                    ),
                    "Malformed: malformed answer at $.data.execExpression.results[0].values[0]: expected an id of milliseconds since 1970, found an object",
                ),
                (
                    200,
                    &result("TIME_SERIES_VALUES", "7"),
                    "Malformed: malformed answer at $.data.execExpression.results: expected a list, found a number",
                ),
            ],
        );
        check_common(|answer| parse(&query, &window(), answer));
    }

    #[test]
    fn graphql_answers_by_path() {
        let body = r#"{"data":{"x":{"values":[{"value":22},{"value":null}]}}}"#;
        let rows = |path: &str, expected: &str| {
            check(
                |answer| parse(&graphql(path), &window(), answer),
                &[(200, body, expected)],
            );
        };
        rows("{$.x.values[0].value}", "1700001000=22");
        rows("{$.x.values[-1].value}", "1700001000=null");
        rows("{$.y}", "empty");
        check(
            |answer| parse(&graphql("$"), &window(), answer),
            &[(
                200,
                r#"{"data":null}"#,
                "Malformed: malformed answer at $.data: expected an object, found null",
            )],
        );
    }
}
