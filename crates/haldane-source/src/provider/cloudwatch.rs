//! Amazon CloudWatch: `GetMetricData` in JSON, signed.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/making-api-requests.html> and
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>. The queries are a list of
//! `MetricDataQuery` in JSON; names of members may begin with a small letter, as Argo writes them. An answer can be paged; a result that
//! stays `PartialData` on the last page is partial.

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result, short},
    json::{self, Node},
    reading::{Page, Point, Reading, Value},
    request::{Request, check_query, check_segment},
    sigv4::{self, Scope},
    window::{self, Window},
};

/// The most queries of one request, as AWS limits them.
const QUERIES_MAX: usize = 500;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The region.
    pub region: String,
    /// Another address than the region's, for private endpoints.
    pub address: Option<String>,
    /// The list of `MetricDataQuery` as JSON.
    pub queries: String,
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    send(query, body(query, window)?, auth)
}

/// Returns the request for the next page.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn next_request(query: &Query, window: &Window, auth: &Auth, page: &Page) -> Result<Request> {
    let mut body = body(query, window)?;
    body.insert("NextToken".to_owned(), json!(page.as_str()));
    send(query, body, auth)
}

fn body(query: &Query, window: &Window) -> Result<Map<String, Json>> {
    let refuse = |why: String| Error::invalid("the list of CloudWatch queries", why);
    let queries =
        json::parse(check_query(&query.queries)?).map_err(|error| refuse(format!("{error}")))?;
    let is_list = queries
        .as_array()
        .is_some_and(|list| !list.is_empty() && list.len() <= QUERIES_MAX);
    if !is_list {
        return Err(refuse("expected a list of 1 to 500".to_owned()));
    }
    let mut body = Map::new();
    body.insert("StartTime".to_owned(), json!(window.from().as_second()));
    body.insert("EndTime".to_owned(), json!(window.to().as_second()));
    body.insert("MetricDataQueries".to_owned(), capitalized(queries));
    Ok(body)
}

fn send(query: &Query, body: Map<String, Json>, auth: &Auth) -> Result<Request> {
    let Auth::Aws { keys, signed_at } = auth else {
        return Err(Error::Credentials {
            expected: "AWS keys",
        });
    };
    let region = check_segment("the region", query.region.trim())?;
    let address = match &query.address {
        Some(address) => Address::parse(address)?,
        None => Address::parse(&format!("https://monitoring.{region}.amazonaws.com"))?,
    };
    let mut request = Request::post_json(address.join("/", &[]), &Json::Object(body));
    request.set("Content-Encoding", "amz-1.0");
    request.set(
        "X-Amz-Target",
        "GraniteServiceVersion20100801.GetMetricData",
    );
    let scope = Scope {
        region,
        service: "monitoring",
        host: address.host(),
    };
    sigv4::sign(request, scope, keys, *signed_at)
}

/// Writes the members' names with a capital, as AWS does; names of dimensions are values, and stay.
fn capitalized(value: Json) -> Json {
    match value {
        Json::Array(items) => items.into_iter().map(capitalized).collect(),
        Json::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|first| first.to_ascii_uppercase());
                let name: String = first.into_iter().chain(letters).collect();
                (name, capitalized(value))
            })
            .collect::<Map<_, _>>()
            .into(),
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) => other,
    }
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(answer: &Answer<'_>) -> Result<Reading> {
    if answer.status >= 400
        && let Some(error) = failure(answer)
    {
        return Err(error);
    }
    let value = answer.json(|_| None)?;
    let root = Node::root(&value);
    let mut reading = Reading::default();
    let next = root
        .get("NextToken")
        .map(|token| token.text())
        .transpose()?;
    reading.next_page(next);
    for result in root.need("MetricDataResults")?.items()? {
        read(result, &mut reading)?;
    }
    if let Some(messages) = root.get("Messages") {
        warn(messages, &mut reading)?;
    }
    Ok(reading)
}

fn read(result: Node<'_>, reading: &mut Reading) -> Result<()> {
    let mut labels = Vec::new();
    for (member, label) in [("Id", "id"), ("Label", "label")] {
        if let Some(text) = result.get(member) {
            labels.push((label.to_owned(), text.text()?.to_owned()));
        }
    }
    let labels: crate::reading::Labels = labels.into_iter().collect();
    let code = result
        .get("StatusCode")
        .map(|code| code.text())
        .transpose()?;
    match code {
        Some("PartialData") if reading.next.is_none() => reading.partial("PartialData"),
        Some("InternalError") => reading.partial("InternalError"),
        Some("Forbidden") => {
            return Err(Error::Unauthorized {
                message: format!("{labels} is forbidden"),
            });
        }
        _ => {}
    }
    let (times, values) = (result.need("Timestamps")?, result.need("Values")?);
    if times.items()?.len() != values.items()?.len() {
        return Err(values.wrong("as many values as timestamps"));
    }
    for (at, value) in times.items()?.zip(values.items()?) {
        reading.push(Point {
            at: time(at)?,
            labels: labels.clone(),
            value: Value::of_json(value.value()),
        })?;
    }
    if let Some(messages) = result.get("Messages") {
        warn(messages, reading)?;
    }
    Ok(())
}

fn warn(messages: Node<'_>, reading: &mut Reading) -> Result<()> {
    for message in messages.items()? {
        let part = |name| {
            message
                .get(name)
                .and_then(|node: Node<'_>| node.text().ok())
        };
        let text = [part("Code"), part("Value")];
        reading.warn(&text.into_iter().flatten().collect::<Vec<_>>().join(": "));
    }
    Ok(())
}

/// Reads seconds since 1970, or a time as text.
fn time(node: Node<'_>) -> Result<Timestamp> {
    let expected = || node.wrong("seconds since 1970");
    match node.value().as_str() {
        Some(text) => text.parse().map_err(|_| expected()),
        None => window::from_seconds(node.number()?).ok_or_else(expected),
    }
}

/// Returns what an error's `__type` means; AWS sends most with status 400.
fn failure(answer: &Answer<'_>) -> Option<Error> {
    let value = json::parse(answer.text().ok()?).ok()?;
    let root = Node::root(&value);
    let kind = root.get("__type")?.text().ok()?;
    let kind = kind.rsplit(['#', '.']).next().unwrap_or(kind);
    let said = root.get("message").or_else(|| root.get("Message"));
    let said = said.and_then(|text| text.text().ok()).unwrap_or_default();
    let message = short(&format!("{kind}: {said}"));
    Some(match kind {
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException" => Error::RateLimited {
            retry_after: answer.retry_after(),
        },
        "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Error::Unauthorized { message },
        "InternalFailure"
        | "InternalServiceFault"
        | "InternalServiceError"
        | "ServiceUnavailable" => Error::Unavailable {
            status: answer.status,
            message,
            retry_after: answer.retry_after(),
        },
        _ => Error::BadQuery { message },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::AwsKeys,
        secret::Secret,
        testing::{check, check_common, show_request, window},
    };

    const QUERIES: &str = r#"[{"id":"e","expression":"m1 / m2"},
        {"id":"m1","metricStat":{"metric":{"namespace":"AWS/ApplicationELB","metricName":"Errors",
         "dimensions":[{"name":"lower","value":"x"}]},"period":60,"stat":"Sum"},"returnData":false}]"#;

    fn query() -> Query {
        Query {
            region: "eu-west-1".to_owned(),
            address: None,
            queries: QUERIES.to_owned(),
        }
    }

    fn auth() -> Auth {
        Auth::Aws {
            keys: AwsKeys {
                access_key_id: "AKID".to_owned(),
                secret_access_key: Secret::new("secret"),
                session_token: None,
            },
            signed_at: Timestamp::from_second(1_700_001_000).unwrap(),
        }
    }

    #[test]
    fn a_signed_request_asks_for_all_queries() {
        let shown = show_request(&request(&query(), &window(), &auth()).unwrap());
        assert!(
            shown.starts_with("POST https://monitoring.eu-west-1.amazonaws.com/\n"),
            "{shown}"
        );
        for part in [
            "X-Amz-Target: GraniteServiceVersion20100801.GetMetricData\n",
            "X-Amz-Date: 20231114T223000Z\n",
            "Credential=AKID/20231114/eu-west-1/monitoring/aws4_request, SignedHeaders=accept;content-encoding;content-type;host;x-amz-date;x-amz-target, ",
            r#""StartTime":1700000400"#,
            r#""EndTime":1700001000"#,
            r#""Metric":{"Dimensions":[{"Name":"lower","Value":"x"}],"MetricName":"Errors","Namespace":"AWS/ApplicationELB"}"#,
            r#""ReturnData":false"#,
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let page = Page("abc".to_owned());
        let next = next_request(&query(), &window(), &auth(), &page).unwrap();
        assert!(show_request(&next).contains(r#""NextToken":"abc""#));
    }

    #[test]
    fn what_can_not_be_sent_is_refused() {
        assert!(request(&query(), &window(), &Auth::None).is_err());
        for queries in ["[]", "{}", "[", "7"] {
            let query = Query {
                queries: queries.to_owned(),
                ..query()
            };
            assert!(request(&query, &window(), &auth()).is_err(), "{queries}");
        }
        let query = Query {
            region: "evil.example/".to_owned(),
            ..query()
        };
        assert!(request(&query, &window(), &auth()).is_err());
    }

    #[test]
    fn each_documented_answer_has_its_reading() {
        check(
            parse,
            &[
                (
                    200,
                    r#"{"MetricDataResults":[{"Id":"e","Label":"rate","StatusCode":"Complete",
                        "Timestamps":[1.7000001E9,1700000040],"Values":[0.5,1]}],"Messages":[]}"#,
                    r#"1700000100{id="e", label="rate"}=0.5; 1700000040{id="e", label="rate"}=1"#,
                ),
                (
                    200,
                    r#"{"MetricDataResults":[{"Id":"e","Timestamps":["2023-11-14T22:15:00Z"],"Values":["NaN"]}]}"#,
                    r#"1700000100{id="e"}=NaN"#,
                ),
                (
                    200,
                    r#"{"MetricDataResults":[{"Id":"e","StatusCode":"Complete","Timestamps":[],"Values":[]}]}"#,
                    "empty",
                ),
                (
                    200,
                    r#"{"MetricDataResults":[{"Id":"e","StatusCode":"PartialData","Timestamps":[1700000040],"Values":[1]}],"NextToken":"t"}"#,
                    r#"1700000040{id="e"}=1; next t"#,
                ),
                (
                    200,
                    r#"{"MetricDataResults":[{"Id":"e","StatusCode":"PartialData","Timestamps":[1700000040],"Values":[1]}]}"#,
                    r#"1700000040{id="e"}=1; partial PartialData"#,
                ),
                (
                    200,
                    r#"{"MetricDataResults":[{"Id":"e","StatusCode":"InternalError","Timestamps":[],"Values":[]}],"Messages":[{"Code":"MaxMetricsExceeded","Value":"too many"}]}"#,
                    "warning MaxMetricsExceeded: too many; partial InternalError",
                ),
                (
                    200,
                    r#"{"MetricDataResults":[{"Id":"e","StatusCode":"Forbidden","Timestamps":[],"Values":[]}]}"#,
                    r#"Unauthorized: not authorized: {id="e"} is forbidden"#,
                ),
                (
                    200,
                    r#"{"MetricDataResults":[{"Id":"e","Timestamps":[1],"Values":[]}]}"#,
                    "Malformed: malformed answer at $.MetricDataResults[0].Values: expected as many values as timestamps, found a list",
                ),
                (
                    200,
                    r#"{"MetricDataResults":{}}"#,
                    "Malformed: malformed answer at $.MetricDataResults: expected a list, found an object",
                ),
            ],
        );
    }

    #[test]
    fn each_documented_failure_has_its_kind() {
        let error = |kind: &str| format!(r#"{{"__type":"com.amazon.x#{kind}","message":"why"}}"#);
        check(
            parse,
            &[
                (
                    400,
                    &error("ThrottlingException"),
                    "RateLimited: rate limited",
                ),
                (
                    400,
                    &error("ValidationError"),
                    "BadQuery: the query was refused: ValidationError: why",
                ),
                (
                    403,
                    &error("SignatureDoesNotMatch"),
                    "Unauthorized: not authorized: SignatureDoesNotMatch: why",
                ),
                (
                    400,
                    &error("ExpiredTokenException"),
                    "Unauthorized: not authorized: ExpiredTokenException: why",
                ),
                (
                    500,
                    &error("InternalServiceFault"),
                    "Unavailable: unavailable (status 500): InternalServiceFault: why",
                ),
            ],
        );
        check_common(parse);
    }
}
