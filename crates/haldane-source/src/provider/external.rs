//! Kubernetes' external metrics API, with which Flagger can read what autoscalers read.
//!
//! <https://kubernetes.io/docs/reference/external-api/external-metrics.v1beta1/>. Values are quantities: `1500m` is 1.5.

use jiff::Timestamp;

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result},
    json::Node,
    reading::{Labels, Point, Reading, Value},
    request::{Request, check_query, check_segment},
    window::Window,
};

/// The namespace of a query that names none.
pub const NAMESPACE_DEFAULT: &str = "default";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The Kubernetes API's address.
    pub address: String,
    /// The namespace.
    pub namespace: String,
    /// The metric.
    pub metric: String,
    /// The label selector; empty for all.
    pub selector: String,
}

impl Query {
    /// Reads Flagger's form: `[NAMESPACE/]METRIC[?labelSelector=…]`.
    ///
    /// # Errors
    /// When there is no metric in it.
    pub fn parse(address: &str, text: &str) -> Result<Self> {
        let text = check_query(text)?;
        let (path, parameters) = text.split_once('?').unwrap_or((text, ""));
        let (namespace, metric) = path.split_once('/').unwrap_or((NAMESPACE_DEFAULT, path));
        let selector = match parameters.strip_prefix("labelSelector=") {
            Some(selector) => selector,
            None if parameters.is_empty() => "",
            None => {
                return Err(Error::invalid(
                    "the external metric",
                    "expected `labelSelector=` after `?`",
                ));
            }
        };
        Ok(Self {
            address: address.to_owned(),
            namespace: namespace.to_owned(),
            metric: metric.to_owned(),
            selector: selector.to_owned(),
        })
    }
}

/// Returns the request.
///
/// # Errors
/// When a name or the address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, _window: &Window, auth: &Auth) -> Result<Request> {
    let address = Address::parse(&query.address)?;
    let namespace = check_segment("the namespace", &query.namespace)?;
    let metric = check_segment("the metric", &query.metric)?;
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}");
    let url = if query.selector.is_empty() {
        address.join(&path, &[])
    } else {
        address.join(&path, &[("labelSelector", &query.selector)])
    };
    auth.plain(Request::get(url))
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(|root| {
        let text = root.get("message")?.text().ok()?;
        Some(text.to_owned())
    })?;
    let root = Node::root(&value);
    let mut reading = Reading::default();
    for item in root.need("items")?.items()? {
        let labels = match item.get("metricLabels") {
            Some(labels) => Labels::of_json(labels)?,
            None => Labels::default(),
        };
        let at = item.need("timestamp")?;
        let at: Timestamp = at.text()?.parse().map_err(|_| at.wrong("a time"))?;
        let value = item.need("value")?;
        let value = match value.value().as_str() {
            Some(text) => Value::of(quantity(text).ok_or_else(|| value.wrong("a quantity"))?),
            None => Value::of_json(value.value()),
        };
        reading.push(Point { at, labels, value })?;
    }
    Ok(reading)
}

/// Reads a quantity of Kubernetes: a number with a decimal or binary suffix.
fn quantity(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    let suffixes = [
        ("Ki", 1_024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    suffixes.into_iter().find_map(|(suffix, factor)| {
        let number: f64 = text.strip_suffix(suffix)?.parse().ok()?;
        // Dividing keeps 1500m exactly 1.5.
        let value = if factor < 1.0 {
            number / libm::round(1.0 / factor)
        } else {
            number * factor
        };
        value.is_finite().then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_common, window};

    #[test]
    fn flaggers_form_becomes_a_path() {
        let url = |text: &str| {
            let query = Query::parse("https://api:6443", text)?;
            request(&query, &window(), &Auth::None).map(|request| request.url)
        };
        let base = "https://api:6443/apis/external.metrics.k8s.io/v1beta1/namespaces";
        assert_eq!(url("queue").unwrap(), format!("{base}/default/queue"));
        assert_eq!(
            url("test/queue?labelSelector=a=b,c=d").unwrap(),
            format!("{base}/test/queue?labelSelector=a%3Db%2Cc%3Dd")
        );
        for text in ["", "a/b/c", "../x", "x?limit=1"] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_exact() {
        for (text, number) in [
            ("1500m", Some(1.5)),
            ("3", Some(3.0)),
            ("2k", Some(2_000.0)),
            ("1Ki", Some(1_024.0)),
            ("5e3", Some(5_000.0)),
            ("250u", Some(0.000_25)),
            ("-1m", Some(-0.001)),
            ("", None),
            ("m", None),
            ("1x", None),
            ("NaN", None),
            ("inf", None),
        ] {
            assert_eq!(quantity(text), number, "{text}");
        }
    }

    #[test]
    fn each_documented_answer_has_its_reading() {
        let items =
            |text: &str| format!(r#"{{"kind":"ExternalMetricValueList","items":[{text}]}}"#);
        check(
            parse,
            &[
                (
                    200,
                    &items(
                        r#"{"metricName":"q","metricLabels":{"a":"b"},"timestamp":"2023-11-14T22:10:00Z","value":"1500m"}"#,
                    ),
                    r#"1699999800{a="b"}=1.5"#,
                ),
                (
                    200,
                    &items(r#"{"timestamp":"2023-11-14T22:10:00Z","value":null}"#),
                    "1699999800=null",
                ),
                (200, &items(""), "empty"),
                (
                    200,
                    &items(r#"{"timestamp":"2023-11-14T22:10:00Z","value":"NaN"}"#),
                    "Malformed: malformed answer at $.items[0].value: expected a quantity, found a text",
                ),
                (
                    404,
                    r#"{"kind":"Status","message":"the server could not find the metric q","code":404}"#,
                    "NotFound: not found: the server could not find the metric q",
                ),
            ],
        );
        check_common(parse);
    }
}
