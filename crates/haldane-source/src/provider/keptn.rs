//! Keptn: metrics and analyses, which are objects in Kubernetes.
//!
//! <https://keptn.sh/stable/docs/reference/crd-reference/metric/> and
//! <https://keptn.sh/stable/docs/reference/crd-reference/analysis/>. A metric is read where Keptn keeps its last value. An analysis is
//! created, read until it is completed, and deleted; a passed one is 1, a failed one 0, as in Flagger. The host gives it a name of
//! its own.

use jiff::Timestamp;
use serde_json::json;

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result},
    json::Node,
    reading::{Labels, Point, Reading, Value},
    request::{Method, Request, check_query, check_segment},
    window::Window,
};

/// The API of both kinds; it is served by every version that has analyses.
const API: &str = "/apis/metrics.keptn.sh/v1beta1/namespaces";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The Kubernetes API's address.
    pub address: String,
    /// The metric or analysis.
    pub subject: Subject,
}

/// The metric or analysis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A `KeptnMetric`.
    Metric {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An `Analysis` of an `AnalysisDefinition`.
    Analysis {
        /// Its namespace.
        namespace: String,
        /// The definition's name.
        definition: String,
        /// Over which time until now: `1m`.
        recent: String,
        /// The arguments.
        arguments: Vec<(String, String)>,
        /// The name of this run.
        run: String,
    },
}

impl Subject {
    /// Reads Flagger's form: `keptnmetric/NAMESPACE/NAME` or `analysis/NAMESPACE/NAME/DURATION/key=value;key=value`.
    ///
    /// As in Flagger everything is taken in small letters, the duration is a minute by default, and an argument without `=` is left out.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str, run: &str) -> Result<Self> {
        let text = check_query(text)?.to_lowercase();
        let parts: Vec<&str> = text.trim().split('/').collect();
        match parts.as_slice() {
            ["keptnmetric" | "keptnmetrics", namespace, name, ..] => Ok(Self::Metric {
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            }),
            ["analysis" | "analyses", namespace, definition, rest @ ..] => {
                let recent = rest.first().copied().unwrap_or("1m");
                let arguments = rest.get(1).copied().unwrap_or_default();
                let arguments = arguments.split(';').filter_map(|pair| pair.split_once('='));
                Ok(Self::Analysis {
                    namespace: (*namespace).to_owned(),
                    definition: (*definition).to_owned(),
                    recent: recent.to_owned(),
                    arguments: arguments
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .collect(),
                    run: run.to_owned(),
                })
            }
            _ => Err(Error::invalid(
                "the Keptn query",
                "expected `keptnmetric/NAMESPACE/NAME` or `analysis/NAMESPACE/NAME/DURATION/ARGUMENTS`",
            )),
        }
    }
}

/// Returns the request that creates the analysis; `None` for a metric, which is there.
///
/// # Errors
/// When a name or the address can't be sent, or the credentials don't fit.
pub fn create(query: &Query, auth: &Auth) -> Result<Option<Request>> {
    let Subject::Analysis {
        namespace,
        definition,
        recent,
        arguments,
        run,
    } = &query.subject
    else {
        return Ok(None);
    };
    let address = Address::parse(&query.address)?;
    let namespace = check_segment("the namespace", namespace)?;
    let arguments: serde_json::Map<_, _> = arguments
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let body = json!({
        "apiVersion": "metrics.keptn.sh/v1beta1",
        "kind": "Analysis",
        "metadata": {"name": check_segment("the run", run)?, "namespace": namespace},
        "spec": {
            "analysisDefinition": {"name": check_segment("the definition", definition)?},
            "timeframe": {"recent": recent},
            "args": arguments,
        },
    });
    let url = address.join(&format!("{API}/{namespace}/analyses"), &[]);
    auth.plain(Request::post_json(url, &body)).map(Some)
}

/// Returns the request that reads the value.
///
/// # Errors
/// When a name or the address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, _window: &Window, auth: &Auth) -> Result<Request> {
    auth.plain(Request::get(url(query)?))
}

/// Returns the request that deletes the analysis; `None` for a metric.
///
/// # Errors
/// When a name or the address can't be sent, or the credentials don't fit.
pub fn delete(query: &Query, auth: &Auth) -> Result<Option<Request>> {
    if matches!(query.subject, Subject::Metric { .. }) {
        return Ok(None);
    }
    let mut request = Request::get(url(query)?);
    request.method = Method::Delete;
    auth.plain(request).map(Some)
}

fn url(query: &Query) -> Result<String> {
    let address = Address::parse(&query.address)?;
    let (namespace, kind, name) = match &query.subject {
        Subject::Metric { namespace, name } => (namespace, "keptnmetrics", name),
        Subject::Analysis { namespace, run, .. } => (namespace, "analyses", run),
    };
    let namespace = check_segment("the namespace", namespace)?;
    let name = check_segment("the name", name)?;
    Ok(address.join(&format!("{API}/{namespace}/{kind}/{name}"), &[]))
}

/// Reads the answer. An analysis that is not completed is an empty reading.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(query: &Query, window: &Window, answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    root.need("kind")?;
    let mut reading = Reading::default();
    let Some(status) = root.get("status") else {
        return Ok(reading);
    };
    let point = match query.subject {
        Subject::Metric { .. } => metric(status, window)?,
        Subject::Analysis { .. } => analysis(status, window)?,
    };
    if let Some(text) = status.get("errMsg").and_then(|text| text.text().ok())
        && !text.is_empty()
    {
        // The value that stands beside it is the last good one, of some time before.
        reading.partial(text);
        reading.warn(text);
    }
    if let Some(point) = point {
        reading.push(point)?;
    }
    Ok(reading)
}

fn metric(status: Node<'_>, window: &Window) -> Result<Option<Point>> {
    let Some(value) = status.get("value") else {
        return Ok(None);
    };
    let at: Timestamp = match status.get("lastUpdated") {
        Some(at) => at.text()?.parse().map_err(|_| at.wrong("a time"))?,
        None => window.to(),
    };
    Ok(Some(Point {
        at,
        labels: Labels::default(),
        value: Value::of_text(value.text()?),
    }))
}

fn analysis(status: Node<'_>, window: &Window) -> Result<Option<Point>> {
    let state = status.get("state").map(|state| state.text()).transpose()?;
    if state != Some("Completed") {
        return Ok(None);
    }
    // A boolean that is false is left out.
    let is_passed = match status.get("pass") {
        Some(pass) => pass
            .value()
            .as_bool()
            .ok_or_else(|| pass.wrong("a boolean"))?,
        None => false,
    };
    Ok(Some(Point {
        at: window.to(),
        labels: Labels::default(),
        value: Value::of(if is_passed { 1.0 } else { 0.0 }),
    }))
}

/// Finds the message of a Kubernetes `Status`.
fn message(root: Node<'_>) -> Option<String> {
    root.get("message")?.text().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secret::Secret,
        testing::{check, check_common, show_request, window},
    };

    fn query(text: &str) -> Query {
        Query {
            address: "https://kubernetes.default.svc".to_owned(),
            subject: Subject::parse(text, "load-1a2b").unwrap(),
        }
    }

    #[test]
    fn a_metric_is_read_and_an_analysis_is_made() {
        let auth = Auth::Bearer(Secret::new("t"));
        let metric = query("keptnmetric/test/Response-Time\n");
        let head = "\nAccept: application/json\n";
        let base = "https://kubernetes.default.svc/apis/metrics.keptn.sh/v1beta1/namespaces/test";
        assert_eq!(
            show_request(&request(&metric, &window(), &auth).unwrap()),
            format!("GET {base}/keptnmetrics/response-time{head}Authorization: Bearer t")
        );
        assert_eq!(create(&metric, &auth), Ok(None));
        assert_eq!(delete(&metric, &auth), Ok(None));
        let analysis = query("analysis/test/load/5m/version=2;odd;region=eu");
        assert_eq!(
            show_request(&create(&analysis, &auth).unwrap().unwrap()),
            format!(
                "POST {base}/analyses{head}Content-Type: application/json\nAuthorization: Bearer t\n\
                 {{\"apiVersion\":\"metrics.keptn.sh/v1beta1\",\"kind\":\"Analysis\",\"metadata\":{{\"name\":\"load-1a2b\",\"namespace\":\"test\"}},\
                 \"spec\":{{\"analysisDefinition\":{{\"name\":\"load\"}},\"args\":{{\"region\":\"eu\",\"version\":\"2\"}},\"timeframe\":{{\"recent\":\"5m\"}}}}}}"
            )
        );
        let read = request(&analysis, &window(), &auth).unwrap();
        assert_eq!(read.url, format!("{base}/analyses/load-1a2b"));
        let delete = delete(&analysis, &auth).unwrap().unwrap();
        assert_eq!((delete.method, delete.url), (Method::Delete, read.url));
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for text in ["", "keptnmetric/test", "pod/test/x", "x"] {
            assert!(Subject::parse(text, "r").is_err(), "{text}");
        }
        let evil = query("keptnmetric/..?/x");
        assert!(request(&evil, &window(), &Auth::None).is_err());
    }

    #[test]
    fn a_metric_has_its_last_value() {
        let query = query("keptnmetric/test/x");
        check(
            |answer| parse(&query, &window(), answer),
            &[
                (
                    200,
                    r#"{"kind":"KeptnMetric","status":{"value":"1.25","lastUpdated":"2023-11-14T22:10:00Z"}}"#,
                    "1699999800=1.25",
                ),
                (
                    200,
                    r#"{"kind":"KeptnMetric","status":{"value":"high"}}"#,
                    "1700001000=other \"high\"",
                ),
                (
                    200,
                    r#"{"kind":"KeptnMetric","status":{"value":"","errMsg":"no values"}}"#,
                    "1700001000=null; warning no values; partial no values",
                ),
                (200, r#"{"kind":"KeptnMetric","status":{}}"#, "empty"),
                (200, r#"{"kind":"KeptnMetric"}"#, "empty"),
                (
                    200,
                    r#"{"kind":"KeptnMetric","status":{"value":1.25}}"#,
                    "Malformed: malformed answer at $.status.value: expected a text, found a number",
                ),
                (
                    404,
                    r#"{"kind":"Status","message":"keptnmetrics \"x\" not found","code":404}"#,
                    "NotFound: not found: keptnmetrics \"x\" not found",
                ),
                (
                    403,
                    r#"{"kind":"Status","message":"forbidden","code":403}"#,
                    "Unauthorized: not authorized: forbidden",
                ),
            ],
        );
        check_common(|answer| parse(&query, &window(), answer));
    }

    #[test]
    fn an_analysis_is_one_or_zero_once_it_is_completed() {
        let query = query("analysis/test/load");
        check(
            |answer| parse(&query, &window(), answer),
            &[
                (
                    200,
                    r#"{"kind":"Analysis","status":{"state":"Completed","pass":true}}"#,
                    "1700001000=1",
                ),
                (
                    200,
                    r#"{"kind":"Analysis","status":{"state":"Completed","warning":true}}"#,
                    "1700001000=0",
                ),
                (
                    200,
                    r#"{"kind":"Analysis","status":{"state":"Progressing"}}"#,
                    "empty",
                ),
                (200, r#"{"kind":"Analysis"}"#, "empty"),
                (
                    200,
                    r#"{"kind":"Analysis","status":{"state":"Completed","pass":"yes"}}"#,
                    "Malformed: malformed answer at $.status.pass: expected a boolean, found a text",
                ),
            ],
        );
    }
}
