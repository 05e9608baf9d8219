//! Prometheus and what speaks its API: Thanos, Mimir, Cortex, VictoriaMetrics, Amazon's and Google's managed services.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>. A query that ends in a range (`metric[1m]`), asked for as
//! [`Form::Instant`], answers the raw samples with the times of their scrapes: that is what [`crate::delta`] wants. Values come as
//! texts; native histograms as lists of buckets. Stale markers never leave Prometheus: a series that ended is not in the answer. Without
//! a range the time of a value is that of the evaluation, and the scrape may be up to five minutes older: only raw samples show that
//! scrapes fail.
//!
//! Warnings mean that a part of the data may be missing (a store of Thanos that did not answer), except for those that PromQL itself
//! gives, which are about the query. VictoriaMetrics says `isPartial`.

use jiff::Timestamp;

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::{self, Address},
    error::{Error, Result},
    histogram::{Bucket, Histogram},
    json::Node,
    reading::{Labels, Point, Reading, Value},
    request::{Header, Request, check_query},
    sigv4::{self, Scope},
    window::{self, Window},
};

/// Longer queries go in a body: some proxies cut URLs at two thousand bytes.
const URL_QUERY_BYTES_MAX: usize = 1_500;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Scheme, host and prefix, as in `http://prometheus:9090`.
    pub address: String,
    /// The PromQL.
    pub expression: String,
    /// One value, or one for each step.
    pub form: Form,
    /// Further headers, such as `X-Scope-OrgID` for the tenant.
    pub headers: Vec<Header>,
    /// The AWS region, for Amazon's managed service, which wants signed requests.
    pub region: Option<String>,
}

/// One value, or one for each step of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As of the end of the window.
    Instant,
    /// From the beginning to the end, in its steps.
    Range,
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    let address = Address::parse(&query.address)?;
    let expression = check_query(&query.expression)?;
    let (from, to) = (window::seconds(window.from()), window::seconds(window.to()));
    let step = window.step_seconds().to_string();
    let (path, parameters) = match query.form {
        Form::Instant => (
            "/api/v1/query",
            vec![("query", expression), ("time", to.as_str())],
        ),
        Form::Range => (
            "/api/v1/query_range",
            vec![
                ("query", expression),
                ("start", from.as_str()),
                ("end", to.as_str()),
                ("step", step.as_str()),
            ],
        ),
    };
    let request = if expression.len() > URL_QUERY_BYTES_MAX {
        Request::post(
            address.join(path, &[]),
            "application/x-www-form-urlencoded",
            encoding::form(&parameters),
        )
    } else {
        Request::get(address.join(path, &parameters))
    };
    let request = request.with(&query.headers)?;
    match (auth, &query.region) {
        (Auth::Aws { keys, signed_at }, Some(region)) => {
            let scope = Scope {
                region,
                service: "aps",
                host: address.host(),
            };
            sigv4::sign(request, scope, keys, *signed_at)
        }
        (Auth::Aws { .. }, None) => Err(Error::invalid(
            "the region",
            "expected one where the credentials are AWS keys",
        )),
        (auth, _) => auth.plain(request),
    }
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    if root.need("status")?.text()? != "success" {
        return Err(failure(root));
    }
    let data = root.need("data")?;
    let kind = data.need("resultType")?;
    let result = data.need("result")?;
    let mut reading = Reading::default();
    match kind.text()? {
        "scalar" => reading.push(sample(result, Labels::default())?)?,
        "vector" => {
            for series in result.items()? {
                let labels = labels(series)?;
                reading.push(match series.get("histogram") {
                    Some(pair) => histogram_sample(pair, labels)?,
                    None => sample(series.need("value")?, labels)?,
                })?;
            }
        }
        "matrix" => {
            for series in result.items()? {
                let labels = labels(series)?;
                for pair in series.get("values").into_iter().flat_map(items) {
                    reading.push(sample(pair?, labels.clone())?)?;
                }
                for pair in series.get("histograms").into_iter().flat_map(items) {
                    reading.push(histogram_sample(pair?, labels.clone())?)?;
                }
            }
        }
        "string" => {
            let at = time(result.at(0)?)?;
            let value = Value::Other(format!("{:?}", result.at(1)?.text()?));
            let labels = Labels::default();
            reading.push(Point { at, labels, value })?;
        }
        _ => return Err(kind.wrong("scalar, vector, matrix or string")),
    }
    note(root, &mut reading)?;
    Ok(reading)
}

/// Keeps warnings, and says whether they mean that something is missing.
fn note(root: Node<'_>, reading: &mut Reading) -> Result<()> {
    if let Some(warnings) = root.get("warnings") {
        for warning in warnings.items()? {
            let text = warning.text()?;
            if !text.starts_with("PromQL ") {
                reading.partial(text);
            }
            reading.warn(text);
        }
    }
    if let Some(infos) = root.get("infos") {
        for info in infos.items()? {
            reading.warn(info.text()?);
        }
    }
    let is_partial = root
        .get("isPartial")
        .and_then(|node| node.value().as_bool());
    if is_partial == Some(true) {
        reading.partial("a part of the storage did not answer");
    }
    Ok(())
}

/// Returns the error that an answer with status `error` means, whatever its HTTP status was.
fn failure(root: Node<'_>) -> Error {
    let message = message(root).unwrap_or_default();
    let kind = root.get("errorType").and_then(|kind| kind.text().ok());
    match kind {
        Some("timeout" | "canceled" | "internal" | "unavailable") => Error::Unavailable {
            status: 200,
            message,
            retry_after: None,
        },
        _ => Error::bad_query(&message),
    }
}

fn message(root: Node<'_>) -> Option<String> {
    let text = root.get("error")?.text().ok()?;
    Some(crate::error::short(text))
}

fn items<'a>(list: Node<'a>) -> Vec<Result<Node<'a>>> {
    match list.items() {
        Ok(items) => items.map(Ok).collect(),
        Err(error) => vec![Err(error)],
    }
}

fn labels(series: Node<'_>) -> Result<Labels> {
    Labels::of_json(series.need("metric")?)
}

/// Reads `[seconds, "value"]`.
fn sample(pair: Node<'_>, labels: Labels) -> Result<Point> {
    let at = time(pair.at(0)?)?;
    let value = pair.at(1)?;
    let number = float(value)?;
    let value = Value::of(number);
    Ok(Point { at, labels, value })
}

/// Reads `[seconds, {"count": …, "sum": …, "buckets": [[rule, lower, upper, count], …]}]`.
fn histogram_sample(pair: Node<'_>, labels: Labels) -> Result<Point> {
    let at = time(pair.at(0)?)?;
    let node = pair.at(1)?;
    let mut buckets = Vec::new();
    if let Some(list) = node.get("buckets") {
        for item in list.items()? {
            buckets.push(Bucket {
                lower: float(item.at(1)?)?,
                upper: float(item.at(2)?)?,
                count: float(item.at(3)?)?,
            });
        }
    }
    let sum = float(node.need("sum")?)?;
    let value = Value::Histogram(Histogram::try_new(buckets, Some(sum))?);
    Ok(Point { at, labels, value })
}

fn time(node: Node<'_>) -> Result<Timestamp> {
    window::from_seconds(node.number()?).ok_or_else(|| node.wrong("seconds since 1970"))
}

/// Reads a number written as a text: `"1.5"`, `"NaN"`, `"+Inf"`.
fn float(node: Node<'_>) -> Result<f64> {
    node.text()?
        .parse()
        .map_err(|_| node.wrong("a number written as a text"))
}

#[cfg(test)]
mod tests;
