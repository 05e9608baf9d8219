//! Dynatrace: metric data points of API version 2.
//!
//! <https://docs.dynatrace.com/docs/discover-dynatrace/references/dynatrace-api/environment-api/metric-v2/get-data-points>. Resolution
//! `Inf` gives one value for each series over the window, as Flagger asks. An answer can be paged. A selection that hits a limit of the
//! provider comes with a warning, and only with a part of the series.

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Result, short},
    json::Node,
    reading::{Labels, Page, Point, Reading, Value},
    request::{Request, check_query},
    window::{self, Window},
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The environment's address.
    pub address: String,
    /// The metric selector.
    pub selector: String,
    /// How many values for each series.
    pub form: Form,
}

/// How many values for each series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One over the window.
    One,
    /// One for each step, of whole minutes.
    Steps,
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    let from = window.from().as_millisecond().to_string();
    let to = window.to().as_millisecond().to_string();
    let resolution = match query.form {
        Form::One => "Inf".to_owned(),
        Form::Steps => format!("{}m", window.step_seconds().div_ceil(60)),
    };
    let parameters = [
        ("metricSelector", check_query(&query.selector)?),
        ("from", from.as_str()),
        ("to", to.as_str()),
        ("resolution", resolution.as_str()),
    ];
    send(query, &parameters, auth)
}

/// Returns the request for the next page, which knows the query itself.
///
/// # Errors
/// When the address can't be sent, or the credentials don't fit.
pub fn next_request(query: &Query, auth: &Auth, page: &Page) -> Result<Request> {
    send(query, &[("nextPageKey", page.as_str())], auth)
}

fn send(query: &Query, parameters: &[(&str, &str)], auth: &Auth) -> Result<Request> {
    let address = Address::parse(&query.address)?;
    let url = address.join("/api/v2/metrics/query", parameters);
    auth.scheme(Request::get(url), "Api-Token")
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    let mut reading = Reading::default();
    let next = root.get("nextPageKey").map(|key| key.text()).transpose()?;
    reading.next_page(next);
    warn(root, &mut reading)?;
    for metric in root.need("result")?.items()? {
        warn(metric, &mut reading)?;
        for series in metric.need("data")?.items()? {
            read(series, &mut reading)?;
        }
    }
    Ok(reading)
}

fn read(series: Node<'_>, reading: &mut Reading) -> Result<()> {
    let labels = match series.get("dimensionMap") {
        Some(dimensions) => Labels::of_json(dimensions)?,
        None => Labels::default(),
    };
    let (times, values) = (series.need("timestamps")?, series.need("values")?);
    if times.items()?.len() != values.items()?.len() {
        return Err(values.wrong("as many values as timestamps"));
    }
    for (at, value) in times.items()?.zip(values.items()?) {
        reading.push(Point {
            at: window::from_milliseconds_float(at.number()?)
                .ok_or_else(|| at.wrong("milliseconds since 1970"))?,
            labels: labels.clone(),
            value: Value::of_json(value.value()),
        })?;
    }
    Ok(())
}

fn warn(node: Node<'_>, reading: &mut Reading) -> Result<()> {
    if let Some(warnings) = node.get("warnings") {
        for warning in warnings.items()? {
            let text = warning.text()?;
            let lower = text.to_ascii_lowercase();
            let signs = ["limit", "partial", "incomplete", "truncated"];
            if signs.iter().any(|sign| lower.contains(sign)) {
                reading.partial(text);
            }
            reading.warn(text);
        }
    }
    Ok(())
}

/// Finds `error.message` with what it says of single parameters.
fn message(root: Node<'_>) -> Option<String> {
    let error = root.get("error")?;
    let mut message = error.get("message")?.text().ok()?.to_owned();
    let violations = error
        .get("constraintViolations")
        .and_then(|v| v.items().ok());
    for violation in violations.into_iter().flatten() {
        let text = violation.get("message").and_then(|node| node.text().ok());
        message.push_str(": ");
        message.push_str(text.unwrap_or_default());
    }
    Some(short(&message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secret::Secret,
        testing::{check, check_common, show_request, window},
    };

    fn query(form: Form) -> Query {
        Query {
            address: "https://abc.live.dynatrace.com".to_owned(),
            selector: "builtin:service.errors.total.rate:avg".to_owned(),
            form,
        }
    }

    #[test]
    fn one_value_or_one_for_each_step_is_asked() {
        let auth = Auth::Key(Secret::new("dt0c01"));
        let show = |form| show_request(&request(&query(form), &window(), &auth).unwrap());
        let url = "GET https://abc.live.dynatrace.com/api/v2/metrics/query?metricSelector=builtin%3Aservice.errors.total.rate%3Aavg\
                   &from=1700000400000&to=1700001000000&resolution=";
        let head = "\nAccept: application/json\nAuthorization: Api-Token dt0c01";
        assert_eq!(show(Form::One), format!("{url}Inf{head}"));
        assert_eq!(show(Form::Steps), format!("{url}1m{head}"));
        let page = Page("a=/b".to_owned());
        assert_eq!(
            next_request(&query(Form::One), &auth, &page).unwrap().url,
            "https://abc.live.dynatrace.com/api/v2/metrics/query?nextPageKey=a%3D%2Fb"
        );
        assert!(request(&query(Form::One), &window(), &Auth::None).is_err());
    }

    #[test]
    fn each_documented_answer_has_its_reading() {
        let result = |data: &str, more: &str| {
            format!(
                r#"{{"totalCount":1,"nextPageKey":null,"resolution":"Inf","result":[{{"metricId":"m","data":[{data}]{more}}}]}}"#
            )
        };
        check(
            parse,
            &[
                (
                    200,
                    &result(
                        r#"{"dimensions":["HOST-1"],"dimensionMap":{"dt.entity.host":"HOST-1"},"timestamps":[1589455320000,1589455380000],"values":[12.5,null]}"#,
                        "",
                    ),
                    r#"1589455320{dt.entity.host="HOST-1"}=12.5; 1589455380{dt.entity.host="HOST-1"}=null"#,
                ),
                (200, &result("", ""), "empty"),
                (
                    200,
                    r#"{"totalCount":0,"nextPageKey":null,"result":[]}"#,
                    "empty",
                ),
                (
                    200,
                    r#"{"totalCount":9,"nextPageKey":"AQAA","result":[]}"#,
                    "next AQAA",
                ),
                (
                    200,
                    &result(
                        "",
                        r#","warnings":["The limit of 100,000 tuples was exceeded"]"#,
                    ),
                    "warning The limit of 100,000 tuples was exceeded; partial The limit of 100,000 tuples was exceeded",
                ),
                (
                    200,
                    &result(r#"{"timestamps":[1589455320000],"values":["x"]}"#, ""),
                    r#"1589455320=other "x""#,
                ),
                (
                    200,
                    &result(r#"{"timestamps":[1589455320000],"values":[]}"#, ""),
                    "Malformed: malformed answer at $.result[0].data[0].values: expected as many values as timestamps, found a list",
                ),
                (
                    400,
                    r#"{"error":{"code":400,"message":"Constraints violated.","constraintViolations":[{"path":"metricSelector","message":"unknown metric"}]}}"#,
                    "BadQuery: the query was refused: Constraints violated.: unknown metric",
                ),
                (
                    401,
                    r#"{"error":{"code":401,"message":"Token Authentication failed"}}"#,
                    "Unauthorized: not authorized: Token Authentication failed",
                ),
            ],
        );
        check_common(parse);
    }
}
