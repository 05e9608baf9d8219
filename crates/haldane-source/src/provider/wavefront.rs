//! Wavefront (VMware Aria Operations for Applications): the chart API.
//!
//! <https://developer.broadcom.com/xapis/operations-for-applications-rest-api/latest/>: `GET /api/v2/chart/api`. Points are
//! `[seconds, value]`; an error in the query comes with status 200 and `errorType`.

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result},
    json::Node,
    reading::{Labels, Point, Reading, Value},
    request::{Request, check_query},
    window::{self, Window},
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The cluster's address; Argo writes it without `https://`.
    pub address: String,
    /// The `ts()` query.
    pub query: String,
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    let address = query.address.trim();
    let address = if address.contains("://") {
        Address::parse(address)?
    } else {
        Address::parse(&format!("https://{address}"))?
    };
    let from = window.from().as_millisecond().to_string();
    let to = window.to().as_millisecond().to_string();
    let granularity = match window.step_seconds() {
        0..60 => "s",
        60..3_600 => "m",
        _ => "h",
    };
    let parameters = [
        ("q", check_query(&query.query)?),
        ("s", from.as_str()),
        ("e", to.as_str()),
        ("g", granularity),
        ("strict", "true"),
        ("includeObsoleteMetrics", "false"),
    ];
    auth.scheme(
        Request::get(address.join("/api/v2/chart/api", &parameters)),
        "Bearer",
    )
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    if let Some(kind) = root.get("errorType") {
        let message = message(root).unwrap_or_else(|| kind.text().unwrap_or_default().to_owned());
        return Err(match kind.text()? {
            "QueryTimeoutError" => Error::Unavailable {
                status: answer.status,
                message,
                retry_after: None,
            },
            _ => Error::bad_query(&message),
        });
    }
    root.check_object()?;
    let mut reading = Reading::default();
    if let Some(warnings) = root.get("warnings") {
        reading.warn(warnings.text()?);
    }
    // Missing where no series matches.
    if let Some(list) = root.get("timeseries") {
        for series in list.items()? {
            read(series, &mut reading)?;
        }
    } else if root.get("query").is_none() {
        return Err(root.wrong("a member `timeseries` or `query`"));
    }
    Ok(reading)
}

fn read(series: Node<'_>, reading: &mut Reading) -> Result<()> {
    let mut labels = Vec::new();
    for (member, label) in [("label", "metric"), ("host", "source")] {
        if let Some(text) = series.get(member) {
            labels.push((label.to_owned(), text.text()?.to_owned()));
        }
    }
    if let Some(tags) = series.get("tags") {
        let tags = Labels::of_json(tags)?;
        labels.extend(tags.iter().map(|(n, v)| (n.to_owned(), v.to_owned())));
    }
    let labels: Labels = labels.into_iter().collect();
    for pair in series.need("data")?.items()? {
        let at = pair.at(0)?;
        reading.push(Point {
            at: window::from_seconds(at.number()?).ok_or_else(|| at.wrong("seconds since 1970"))?,
            labels: labels.clone(),
            value: Value::of_json(pair.at(1)?.value()),
        })?;
    }
    Ok(())
}

/// Finds `errorMessage`, or `message` or `status.message` of a refused request.
fn message(root: Node<'_>) -> Option<String> {
    let status = root.get("status").and_then(|status| status.get("message"));
    let node = root
        .get("errorMessage")
        .or_else(|| root.get("message"))
        .or(status)?;
    node.text().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secret::Secret,
        testing::{check, check_common, show_request, window},
    };

    #[test]
    fn a_query_is_asked_over_the_window() {
        let auth = Auth::Key(Secret::new("t"));
        let query = Query {
            address: "example.wavefront.com".to_owned(),
            query: "sum(rate(ts(\"requests\")))".to_owned(),
        };
        assert_eq!(
            show_request(&request(&query, &window(), &auth).unwrap()),
            "GET https://example.wavefront.com/api/v2/chart/api?q=sum%28rate%28ts%28%22requests%22%29%29%29\
             &s=1700000400000&e=1700001000000&g=m&strict=true&includeObsoleteMetrics=false\n\
             Accept: application/json\nAuthorization: Bearer t"
        );
        assert!(request(&query, &window(), &Auth::None).is_err());
    }

    #[test]
    fn each_documented_answer_has_its_reading() {
        check(
            parse,
            &[
                (
                    200,
                    r#"{"name":"q","query":"ts(x)","timeseries":[{"label":"x","host":"h","tags":{"az":"a"},"data":[[1700000460,1.5],[1700000520,"NaN"],[1700000580,null]]}]}"#,
                    r#"1700000460{az="a", metric="x", source="h"}=1.5; 1700000520{az="a", metric="x", source="h"}=NaN; 1700000580{az="a", metric="x", source="h"}=null"#,
                ),
                (200, r#"{"query":"ts(x)","timeseries":[]}"#, "empty"),
                (
                    200,
                    r#"{"query":"ts(x)","warnings":"No metrics matching: [x]"}"#,
                    "warning No metrics matching: [x]",
                ),
                (
                    200,
                    r#"{"query":"ts(","errorType":"QuerySyntaxError","errorMessage":"parse error"}"#,
                    "BadQuery: the query was refused: parse error",
                ),
                (
                    200,
                    r#"{"query":"ts(","errorType":"QueryTimeoutError","errorMessage":"too slow"}"#,
                    "Unavailable: unavailable (status 200): too slow",
                ),
                (
                    200,
                    r#"{"timeseries":[{"data":[[1700000460,[1]]]}]}"#,
                    "1700000460=other [1]",
                ),
                (
                    200,
                    r#"{"timeseries":[{"data":[["x",1]]}]}"#,
                    "Malformed: malformed answer at $.timeseries[0].data[0][0]: expected a number, found a text",
                ),
                (
                    200,
                    "{}",
                    "Malformed: malformed answer at $: expected a member `timeseries` or `query`, found an object",
                ),
                (
                    400,
                    r#"{"status":{"result":"ERROR","message":"bad","code":400}}"#,
                    "BadQuery: the query was refused: bad",
                ),
            ],
        );
        check_common(parse);
    }
}
