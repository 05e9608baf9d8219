//! Datadog: metric queries of API version 1, scalars and series of version 2.
//!
//! <https://docs.datadoghq.com/api/latest/metrics/>. Version 2 takes several named queries and a formula; version 1 is what Flagger
//! uses. Rate limits come as 429 with `X-RateLimit-Reset` in seconds.

use serde_json::json;

use crate::{
    answer::Answer,
    auth::{Auth, one_line},
    encoding::Address,
    error::{Error, Result},
    json::Node,
    reading::{Labels, Point, Reading, Value},
    request::{Request, check_query},
    window::{self, Window},
};

/// Where Datadog's first site is.
pub const ADDRESS_DEFAULT: &str = "https://api.datadoghq.com";

/// How values over the window become one, if the query does not say so.
pub const AGGREGATOR_DEFAULT: &str = "last";

/// The most named queries of one formula.
const QUERIES_MAX: usize = 16;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The site's API, such as [`ADDRESS_DEFAULT`].
    pub address: String,
    /// Which API, and what.
    pub form: Form,
}

/// Which API is asked, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Version 1: series over the window.
    V1(String),
    /// Version 2: one value for each group over the window.
    Scalar(Formula),
    /// Version 2: series over the window.
    Series(Formula),
}

/// Named queries and what is calculated from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    /// The queries with their names.
    pub queries: Vec<(String, String)>,
    /// The formula over the names; empty where there is one query.
    pub formula: String,
    /// How the values over the window become one: `avg`, `last`, `max`, `min`, `sum`, `percentile`…
    pub aggregator: String,
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    let Auth::KeyPair { key, application } = auth else {
        return Err(Error::Credentials {
            expected: "an API key and an application key",
        });
    };
    let address = Address::parse(&query.address)?;
    let mut request = match &query.form {
        Form::V1(text) => {
            let from = window.from().as_second().to_string();
            let to = window.to().as_second().to_string();
            let parameters = [
                ("query", check_query(text)?),
                ("from", from.as_str()),
                ("to", to.as_str()),
            ];
            Request::get(address.join("/api/v1/query", &parameters))
        }
        Form::Scalar(formula) => Request::post_json(
            address.join("/api/v2/query/scalar", &[]),
            &body(formula, window, "scalar_request")?,
        ),
        Form::Series(formula) => Request::post_json(
            address.join("/api/v2/query/timeseries", &[]),
            &body(formula, window, "timeseries_request")?,
        ),
    };
    request.set("DD-API-KEY", one_line(key)?.expose());
    request.set("DD-APPLICATION-KEY", one_line(application)?.expose());
    Ok(request)
}

fn body(formula: &Formula, window: &Window, kind: &str) -> Result<serde_json::Value> {
    if formula.queries.is_empty() || formula.queries.len() > QUERIES_MAX {
        return Err(Error::invalid("the formula", "expected 1 to 16 queries"));
    }
    let text = match formula.queries.as_slice() {
        [(name, _)] if formula.formula.trim().is_empty() => name.as_str(),
        _ => formula.formula.trim(),
    };
    if text.is_empty() {
        return Err(Error::invalid(
            "the formula",
            "expected one where there are several queries",
        ));
    }
    let is_scalar = kind == "scalar_request";
    let mut queries = Vec::new();
    for (name, text) in &formula.queries {
        let mut query = json!({
            "data_source": "metrics",
            "name": name,
            "query": check_query(text)?,
        });
        if let (true, Some(query)) = (is_scalar, query.as_object_mut()) {
            query.insert("aggregator".to_owned(), json!(formula.aggregator));
        }
        queries.push(query);
    }
    let mut attributes = json!({
        "from": window.from().as_millisecond(),
        "to": window.to().as_millisecond(),
        "queries": queries,
        "formulas": [{"formula": text}],
    });
    if let (false, Some(attributes)) = (is_scalar, attributes.as_object_mut()) {
        let milliseconds = window.step_seconds().saturating_mul(1_000);
        attributes.insert("interval".to_owned(), json!(milliseconds));
    }
    Ok(json!({"data": {"type": kind, "attributes": attributes}}))
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(query: &Query, window: &Window, answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    let is_error = root
        .get("status")
        .is_some_and(|status| status.value() == "error");
    if is_error || root.get("errors").is_some() {
        let message = message(root).unwrap_or_default();
        if !message.is_empty() {
            return Err(Error::bad_query(&message));
        }
    }
    let mut reading = Reading::default();
    match &query.form {
        Form::V1(_) => series_v1(root, &mut reading)?,
        Form::Scalar(_) => scalars(root, window, &mut reading)?,
        Form::Series(_) => series_v2(root, &mut reading)?,
    }
    Ok(reading)
}

/// Reads `{"series": [{"scope": "a:b", "tag_set": ["a:b"], "pointlist": [[milliseconds, value], …]}, …]}`.
fn series_v1(root: Node<'_>, reading: &mut Reading) -> Result<()> {
    for series in root.need("series")?.items()? {
        let labels = match series.get("tag_set") {
            Some(tags) => tags_of(tags)?,
            None => Labels::default(),
        };
        for pair in series.need("pointlist")?.items()? {
            let at = time(pair.at(0)?)?;
            let value = Value::of_json(pair.at(1)?.value());
            let labels = labels.clone();
            reading.push(Point { at, labels, value })?;
        }
    }
    if let Some(message) = root.get("message") {
        let text = message.text()?;
        if !text.is_empty() {
            reading.warn(text);
        }
    }
    Ok(())
}

/// Reads columns: those of groups hold the labels of each row, those of numbers its values.
fn scalars(root: Node<'_>, window: &Window, reading: &mut Reading) -> Result<()> {
    let columns = root.need("data")?.need("attributes")?.need("columns")?;
    let (mut groups, mut numbers) = (Vec::new(), Vec::new());
    for column in columns.items()? {
        let name = column.need("name")?.text()?;
        let kind = column.need("type")?;
        match kind.text()? {
            "group" => groups.push((name, column.need("values")?)),
            "number" => numbers.push((name, column.need("values")?)),
            _ => return Err(kind.wrong("group or number")),
        }
    }
    let is_one = numbers.len() == 1;
    for (name, values) in numbers {
        for (row, value) in values.items()?.enumerate() {
            let mut labels = Vec::new();
            for (group, values) in &groups {
                for text in values.at(row)?.items()? {
                    labels.push(((*group).to_owned(), text.text()?.to_owned()));
                }
            }
            if !is_one {
                labels.push(("name".to_owned(), name.to_owned()));
            }
            reading.push(Point {
                at: window.to(),
                labels: labels.into_iter().collect(),
                value: Value::of_json(value.value()),
            })?;
        }
    }
    Ok(())
}

/// Reads `{"series": [{"group_tags": ["a:b"]}], "times": […], "values": [[…], …]}`.
fn series_v2(root: Node<'_>, reading: &mut Reading) -> Result<()> {
    let attributes = root.need("data")?.need("attributes")?;
    let mut times = Vec::new();
    for at in attributes.need("times")?.items()? {
        times.push(time(at)?);
    }
    let values = attributes.need("values")?;
    for (index, series) in attributes.need("series")?.items()?.enumerate() {
        let labels = match series.get("group_tags") {
            Some(tags) => tags_of(tags)?,
            None => Labels::default(),
        };
        let row = values.at(index)?;
        if row.items()?.len() != times.len() {
            return Err(row.wrong("as many values as times"));
        }
        for (at, value) in times.iter().zip(row.items()?) {
            reading.push(Point {
                at: *at,
                labels: labels.clone(),
                value: Value::of_json(value.value()),
            })?;
        }
    }
    Ok(())
}

fn time(node: Node<'_>) -> Result<jiff::Timestamp> {
    window::from_milliseconds_float(node.number()?)
        .ok_or_else(|| node.wrong("milliseconds since 1970"))
}

/// Reads `["env:prod", "lonely"]`.
fn tags_of(tags: Node<'_>) -> Result<Labels> {
    let mut labels = Vec::new();
    for tag in tags.items()? {
        let (name, value) = tag.text()?.split_once(':').unwrap_or((tag.text()?, ""));
        labels.push((name.to_owned(), value.to_owned()));
    }
    Ok(labels.into_iter().collect())
}

/// Finds `error`, or `errors` as a text or a list of texts or objects.
fn message(root: Node<'_>) -> Option<String> {
    if let Some(error) = root.get("error") {
        return error.text().ok().map(str::to_owned);
    }
    let errors = root.get("errors")?;
    if let Ok(text) = errors.text() {
        return Some(text.to_owned());
    }
    let texts = errors.items().ok()?.map(|error| match error.get("detail") {
        Some(detail) => detail.text().unwrap_or_default().to_owned(),
        None => error.text().unwrap_or_default().to_owned(),
    });
    Some(texts.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests;
