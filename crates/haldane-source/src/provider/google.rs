//! Google Cloud Monitoring: MQL, and where its PromQL is.
//!
//! <https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/query>. Google advises PromQL in place of MQL: that is
//! [`crate::provider::prometheus`] at [`promql_address`], with the same token. Tokens are made by the host. A query without `within` gets the
//! length of the window. Errors in a part of the data come beside it, and make it partial.

use jiff::Timestamp;
use serde_json::json;

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::Result,
    histogram::{Bucket, Histogram},
    json::Node,
    provider::words,
    reading::{Labels, Page, Point, Reading, Value},
    request::{Request, check_query, check_segment},
    window::Window,
};

/// Where the API is.
pub const ADDRESS_DEFAULT: &str = "https://monitoring.googleapis.com";

/// The most points of one page, as Google limits them.
const PAGE_SIZE: u32 = 100_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The API's address, such as [`ADDRESS_DEFAULT`].
    pub address: String,
    /// The project.
    pub project: String,
    /// The MQL.
    pub mql: String,
}

/// Returns the address at which a project's metrics can be asked for in PromQL.
///
/// # Errors
/// When the project is no name.
pub fn promql_address(project: &str) -> Result<String> {
    let project = check_segment("the project", project)?;
    Ok(format!(
        "{ADDRESS_DEFAULT}/v1/projects/{project}/location/global/prometheus"
    ))
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    let body = json!({"query": mql(query, window)?, "pageSize": PAGE_SIZE});
    send(query, &body, auth)
}

/// Returns the request for the next page.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn next_request(query: &Query, window: &Window, auth: &Auth, page: &Page) -> Result<Request> {
    let mql = mql(query, window)?;
    let body = json!({"query": mql, "pageSize": PAGE_SIZE, "pageToken": page.as_str()});
    send(query, &body, auth)
}

fn mql(query: &Query, window: &Window) -> Result<String> {
    let mql = check_query(&query.mql)?;
    if words::has(mql, "within") {
        return Ok(mql.to_owned());
    }
    Ok(format!("{mql} | within {}s", window.length().as_secs()))
}

fn send(query: &Query, body: &serde_json::Value, auth: &Auth) -> Result<Request> {
    let address = Address::parse(&query.address)?;
    let project = check_segment("the project", &query.project)?;
    let path = format!("/v3/projects/{project}/timeSeries:query");
    auth.scheme(Request::post_json(address.join(&path, &[]), body), "Bearer")
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    root.check_object()?;
    let mut reading = Reading::default();
    let next = root
        .get("nextPageToken")
        .map(|token| token.text())
        .transpose()?;
    reading.next_page(next);
    if let Some(errors) = root.get("partialErrors") {
        for error in errors.items()? {
            let text = error.get("message").and_then(|node| node.text().ok());
            reading.partial(text.unwrap_or("an error in a part of the data"));
        }
    }
    let descriptor = root.get("timeSeriesDescriptor");
    let names = |list: &'static str| -> Result<Vec<String>> {
        let list = descriptor.and_then(|descriptor| descriptor.get(list));
        let mut names = Vec::new();
        for item in list
            .map(|list| list.items())
            .transpose()?
            .into_iter()
            .flatten()
        {
            names.push(item.need("key")?.text()?.to_owned());
        }
        Ok(names)
    };
    let (keys, columns) = (names("labelDescriptors")?, names("pointDescriptors")?);
    // Missing where no series matches.
    if let Some(list) = root.get("timeSeriesData") {
        for series in list.items()? {
            read(series, &keys, &columns, &mut reading)?;
        }
    }
    Ok(reading)
}

fn read(
    series: Node<'_>,
    keys: &[String],
    columns: &[String],
    reading: &mut Reading,
) -> Result<()> {
    let mut labels = Vec::new();
    if let Some(values) = series.get("labelValues") {
        for (key, value) in keys.iter().zip(values.items()?) {
            if let Some((_, node)) = value.members()?.next() {
                let text = node
                    .text()
                    .map_or_else(|_| node.value().to_string(), str::to_owned);
                labels.push((key.clone(), text));
            }
        }
    }
    Labels::check_count(labels.len())?;
    let Some(points) = series.get("pointData") else {
        return Ok(());
    };
    for point in points.items()? {
        let end = point.need("timeInterval")?.need("endTime")?;
        let at: Timestamp = end.text()?.parse().map_err(|_| end.wrong("a time"))?;
        for (column, value) in point.need("values")?.items()?.enumerate() {
            let mut labels = labels.clone();
            // One column needs no name.
            if let Some(name) = columns.get(column).filter(|_| columns.len() > 1) {
                labels.push(("value".to_owned(), name.clone()));
            }
            let labels: Labels = labels.into_iter().collect();
            let value = typed(value)?;
            reading.push(Point { at, labels, value })?;
        }
    }
    Ok(())
}

/// Reads a `TypedValue`: an object with one member, named for its type. 64-bit integers are texts in it.
fn typed(node: Node<'_>) -> Result<Value> {
    let Some((kind, value)) = node.members()?.next() else {
        return Ok(Value::Null);
    };
    Ok(match kind {
        "int64Value" => Value::of(integer(value)?),
        "distributionValue" => Value::Histogram(distribution(value)?),
        _ => Value::of_json(value.value()),
    })
}

fn integer(node: Node<'_>) -> Result<f64> {
    let number = node.text()?.parse::<i64>();
    let number = number.map_err(|_| node.wrong("a whole number written as a text"))?;
    #[expect(clippy::cast_precision_loss, reason = "a count far below 2⁵³")]
    Ok(number as f64)
}

/// Reads a distribution: counts in buckets below, between and above the bounds of its options.
fn distribution(node: Node<'_>) -> Result<Histogram> {
    let bounds = match node.get("bucketOptions") {
        Some(options) => bounds(options)?,
        None => Vec::new(),
    };
    let mut buckets = Vec::new();
    if let Some(counts) = node.get("bucketCounts") {
        // Counts at the end are left out where they are zero.
        for (index, count) in counts.items()?.enumerate() {
            let before = index.checked_sub(1).and_then(|before| bounds.get(before));
            buckets.push(Bucket {
                lower: before.copied().unwrap_or(f64::NEG_INFINITY),
                upper: bounds.get(index).copied().unwrap_or(f64::INFINITY),
                count: integer(count)?,
            });
        }
    }
    let sum = match (node.get("count"), node.get("mean")) {
        (Some(count), Some(mean)) => Some(integer(count)? * mean.number()?),
        (_, _) => None,
    };
    Histogram::try_new(buckets, sum)
}

fn bounds(options: Node<'_>) -> Result<Vec<f64>> {
    if let Some(explicit) = options.get("explicitBuckets") {
        return explicit
            .need("bounds")?
            .items()?
            .map(|bound| bound.number())
            .collect();
    }
    let number = |node: Node<'_>, name| match node.get(name) {
        Some(node) => node.number(),
        // Members that are zero are left out.
        None => Ok(0.0),
    };
    let count = |node: Node<'_>| -> Result<u32> {
        let count = node.need("numFiniteBuckets")?;
        let number = u32::try_from(count.integer()?).ok();
        let number = number.filter(|number| *number <= 1_000);
        number.ok_or_else(|| count.wrong("at most 1000 buckets"))
    };
    if let Some(linear) = options.get("linearBuckets") {
        let (width, offset) = (number(linear, "width")?, number(linear, "offset")?);
        let bounds = (0..=count(linear)?).map(|index| offset + width * f64::from(index));
        return Ok(bounds.collect());
    }
    if let Some(exponential) = options.get("exponentialBuckets") {
        let (scale, growth) = (
            number(exponential, "scale")?,
            number(exponential, "growthFactor")?,
        );
        let bounds =
            (0..=count(exponential)?).map(|index| scale * libm::pow(growth, f64::from(index)));
        return Ok(bounds.collect());
    }
    Err(options.wrong("explicit, linear or exponential buckets"))
}

/// Finds `error.message`, also in a list with one item.
fn message(root: Node<'_>) -> Option<String> {
    let node = root.at(0).unwrap_or(root);
    let text = node.get("error")?.get("message")?;
    text.text().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secret::Secret,
        testing::{check, check_common, show_request, window},
    };

    fn query(mql: &str) -> Query {
        Query {
            address: ADDRESS_DEFAULT.to_owned(),
            project: "my-project".to_owned(),
            mql: mql.to_owned(),
        }
    }

    #[test]
    fn a_query_gets_the_window_unless_it_has_one() {
        let auth = Auth::Bearer(Secret::new("ya29"));
        let mql = "fetch gae_instance::x | filter a = 'b' | within 1h";
        let shown = show_request(&request(&query("fetch x"), &window(), &auth).unwrap());
        assert_eq!(
            shown,
            "POST https://monitoring.googleapis.com/v3/projects/my-project/timeSeries:query\n\
             Accept: application/json\nContent-Type: application/json\nAuthorization: Bearer ya29\n\
             {\"pageSize\":100000,\"query\":\"fetch x | within 600s\"}"
        );
        let own = show_request(&request(&query(mql), &window(), &auth).unwrap());
        assert!(!own.contains("600s"));
        let page = Page("p".to_owned());
        let next = next_request(&query("fetch x"), &window(), &auth, &page).unwrap();
        assert!(show_request(&next).contains("\"pageToken\":\"p\""));
        let evil = Query {
            project: "a/../b".to_owned(),
            ..query("fetch x")
        };
        assert!(request(&evil, &window(), &auth).is_err());
        assert!(promql_address("a/b").is_err());
        assert!(
            promql_address("p")
                .unwrap()
                .ends_with("/projects/p/location/global/prometheus")
        );
    }

    #[test]
    fn each_documented_answer_has_its_reading() {
        let data = |descriptor: &str, values: &str| {
            format!(
                r#"{{"timeSeriesDescriptor":{{"labelDescriptors":[{{"key":"resource.zone"}}],"pointDescriptors":[{descriptor}]}},
                "timeSeriesData":[{{"labelValues":[{{"stringValue":"a"}}],"pointData":[{{"values":[{values}],
                "timeInterval":{{"startTime":"2023-11-14T22:09:00Z","endTime":"2023-11-14T22:10:00Z"}}}}]}}]}}"#
            )
        };
        let one = r#"{"key":"value.x","valueType":"DOUBLE","metricKind":"GAUGE"}"#;
        let two = format!(r#"{one},{{"key":"value.y"}}"#);
        let explicit = r#"{"distributionValue":{"count":"3","mean":2,"bucketOptions":{"explicitBuckets":{"bounds":[1,2]}},"bucketCounts":["1","0","2"]}}"#;
        let exponential = r#"{"distributionValue":{"count":"1","mean":2,"bucketOptions":{"exponentialBuckets":{"numFiniteBuckets":2,"growthFactor":2,"scale":1}},"bucketCounts":["0","1"]}}"#;
        let linear = r#"{"distributionValue":{"bucketOptions":{"linearBuckets":{"numFiniteBuckets":1,"width":5}},"bucketCounts":["4"]}}"#;
        check(
            parse,
            &[
                (
                    200,
                    &data(one, r#"{"doubleValue":1.5}"#),
                    r#"1699999800{resource.zone="a"}=1.5"#,
                ),
                (
                    200,
                    &data(&two, r#"{"int64Value":"7"},{"doubleValue":"NaN"}"#),
                    r#"1699999800{resource.zone="a", value="value.x"}=7; 1699999800{resource.zone="a", value="value.y"}=NaN"#,
                ),
                (
                    200,
                    &data(one, "{}"),
                    r#"1699999800{resource.zone="a"}=null"#,
                ),
                (
                    200,
                    &data(one, r#"{"boolValue":true}"#),
                    r#"1699999800{resource.zone="a"}=other true"#,
                ),
                (
                    200,
                    &data(one, explicit),
                    r#"1699999800{resource.zone="a"}=[(-inf,1]1 (1,2]0 (2,inf]2]"#,
                ),
                (
                    200,
                    &data(one, exponential),
                    r#"1699999800{resource.zone="a"}=[(-inf,1]0 (1,2]1]"#,
                ),
                (
                    200,
                    &data(one, linear),
                    r#"1699999800{resource.zone="a"}=[(-inf,0]4]"#,
                ),
            ],
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        let value = r#"{"timeSeriesData":[{"pointData":[{"values":[{"int64Value":7}],"timeInterval":{"endTime":"2023-11-14T22:10:00Z"}}]}]}"#;
        check(
            parse,
            &[
                (200, "{}", "empty"),
                (
                    200,
                    r#"{"partialErrors":[{"code":4,"message":"deadline exceeded in zone b"}],"nextPageToken":"t"}"#,
                    "partial deadline exceeded in zone b; next t",
                ),
                (200, r#"{"nextPageToken":""}"#, "empty"),
                (
                    200,
                    value,
                    "Malformed: malformed answer at $.timeSeriesData[0].pointData[0].values[0].int64Value: expected a text, found a number",
                ),
                (
                    200,
                    "[]",
                    "Malformed: malformed answer at $: expected an object, found a list",
                ),
                (
                    400,
                    r#"{"error":{"code":400,"message":"Invalid query","status":"INVALID_ARGUMENT"}}"#,
                    "BadQuery: the query was refused: Invalid query",
                ),
                (
                    403,
                    r#"[{"error":{"code":403,"message":"Permission denied"}}]"#,
                    "Unauthorized: not authorized: Permission denied",
                ),
            ],
        );
        check_common(parse);
    }
}
