//! All providers together: answers that are cut, or that differ from the documented form in one place.

use proptest::prelude::*;

use super::*;
use crate::{
    reading::Value,
    testing::{answer, window},
};

type Example = (Query, &'static str);

/// Returns a query to each provider, with a documented answer to it.
fn examples() -> Vec<Example> {
    [first(), second(), third(), fourth()].concat()
}

fn address() -> String {
    "https://metrics.example".to_owned()
}

fn text() -> String {
    "x".to_owned()
}

fn influx(language: influxdb::Language) -> Query {
    Query::InfluxDb(influxdb::Query {
        address: address(),
        text: text(),
        language,
    })
}

fn datadog(form: datadog::Form) -> Query {
    Query::Datadog(datadog::Query {
        address: address(),
        form,
    })
}

fn formula() -> datadog::Formula {
    datadog::Formula {
        queries: vec![(text(), text())],
        formula: text(),
        aggregator: datadog::AGGREGATOR_DEFAULT.to_owned(),
    }
}

fn prometheus() -> Query {
    Query::Prometheus(prometheus::Query {
        address: address(),
        expression: text(),
        form: prometheus::Form::Range,
        headers: Vec::new(),
        region: None,
    })
}

fn newrelic(api: newrelic::Api) -> Query {
    Query::NewRelic(newrelic::Query {
        address: address(),
        api,
        account: 1,
        nrql: text(),
    })
}

fn keptn(subject: &str) -> Query {
    Query::Keptn(keptn::Query {
        address: address(),
        subject: keptn::Subject::parse(subject, "run").unwrap(),
    })
}

fn first() -> Vec<Example> {
    vec![
        (
            prometheus(),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1700000460,"1.5"]},{"metric":{},"histogram":[1700000460,{"count":"3","sum":"0.5","buckets":[[0,"0.1","0.2","3"]]}]}]},"warnings":["w"]}"#,
        ),
        (
            prometheus(),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1700000460,"1.5"],[1700000475,"NaN"]],"histograms":[[1700000460,{"count":"0","sum":"0"}]]}]}}"#,
        ),
        (
            datadog(datadog::Form::V1(text())),
            r#"{"status":"ok","series":[{"tag_set":["a:b"],"pointlist":[[1700000460000.0,0.5],[1700000520000.0,null]]}]}"#,
        ),
        (
            datadog(datadog::Form::Scalar(formula())),
            r#"{"data":{"attributes":{"columns":[{"name":"env","type":"group","values":[["prod"]]},{"name":"a","type":"number","values":[0.5]}]}}}"#,
        ),
        (
            datadog(datadog::Form::Series(formula())),
            r#"{"data":{"attributes":{"series":[{"group_tags":["a:b"]}],"times":[1700000460000],"values":[[1.5]]}}}"#,
        ),
    ]
}

fn second() -> Vec<Example> {
    vec![
        (
            Query::CloudWatch(cloudwatch::Query {
                region: "eu-west-1".to_owned(),
                address: None,
                queries: "[{}]".to_owned(),
            }),
            r#"{"MetricDataResults":[{"Id":"e","Label":"l","StatusCode":"Complete","Timestamps":[1700000460],"Values":[0.5],"Messages":[{"Code":"c","Value":"v"}]}],"NextToken":"t"}"#,
        ),
        (
            newrelic(newrelic::Api::NerdGraph),
            r#"{"data":{"actor":{"account":{"nrql":{"results":[{"count":1,"facet":["a","b"],"percentile.x":{"95":2},"endTimeSeconds":1700000460}]}}}}}"#,
        ),
        (
            newrelic(newrelic::Api::Insights),
            r#"{"timeSeries":[{"results":[{"count":2}],"endTimeSeconds":1700000460}]}"#,
        ),
        (
            Query::Graphite(graphite::Query {
                address: address(),
                form: graphite::Form::Targets(vec![text()]),
            }),
            r#"[{"target":"a","tags":{"b":"c"},"datapoints":[[1.5,1700000460],[null,1700000520]]}]"#,
        ),
        (
            influx(influxdb::Language::Flux { org: text() }),
            "#datatype,string,long,dateTime:RFC3339,double,string\r\n#default,_result,,,,\r\n,result,table,_time,_value,host\r\n,,0,2023-11-14T22:10:00Z,15.43,a\r\n,,0,2023-11-14T22:11:00Z,16.43,b\r\n",
        ),
        (
            influx(influxdb::Language::Sql { database: text() }),
            r#"[{"time":"2023-11-14T22:10:00","host":"a","rate":0.5}]"#,
        ),
    ]
}

fn third() -> Vec<Example> {
    vec![
        (
            Query::Dynatrace(dynatrace::Query {
                address: address(),
                selector: text(),
                form: dynatrace::Form::One,
            }),
            r#"{"nextPageKey":"k","result":[{"metricId":"m","data":[{"dimensionMap":{"a":"b"},"timestamps":[1700000460000],"values":[12.5]}],"warnings":["w"]}]}"#,
        ),
        (
            Query::SignalFx(signalfx::Query {
                address: address(),
                program: text(),
            }),
            "event: metadata\ndata: {\"properties\":{\"a\":\"b\"},\"tsId\":\"A\"}\n\nevent: data\ndata: {\"data\":[{\"tsId\":\"A\",\"value\":82.5}],\"logicalTimestampMs\":1700000460000}\n\nevent: control-message\ndata: {\"event\":\"END_OF_CHANNEL\"}\n\n",
        ),
        (
            Query::Splunk(splunk::Query {
                address: address(),
                search: text(),
            }),
            r#"{"preview":false,"messages":[{"type":"WARN","text":"w"}],"results":[{"_time":"2023-11-14T22:10:00Z","count":"5","version":"v2"}]}"#,
        ),
        (
            Query::Google(google::Query {
                address: address(),
                project: text(),
                mql: text(),
            }),
            r#"{"timeSeriesDescriptor":{"labelDescriptors":[{"key":"zone"}],"pointDescriptors":[{"key":"x"}]},"timeSeriesData":[{"labelValues":[{"stringValue":"a"}],"pointData":[{"values":[{"distributionValue":{"count":"3","mean":2,"bucketOptions":{"exponentialBuckets":{"numFiniteBuckets":2,"growthFactor":2,"scale":1}},"bucketCounts":["1","2"]}},{"int64Value":"7"}],"timeInterval":{"endTime":"2023-11-14T22:10:00Z"}}]}],"partialErrors":[{"message":"m"}]}"#,
        ),
        (
            Query::Wavefront(wavefront::Query {
                address: address(),
                query: text(),
            }),
            r#"{"query":"q","warnings":"w","timeseries":[{"label":"x","host":"h","tags":{"a":"b"},"data":[[1700000460,1.5]]}]}"#,
        ),
    ]
}

fn fourth() -> Vec<Example> {
    vec![
        (
            Query::SkyWalking(skywalking::Query {
                address: address(),
                form: skywalking::Form::Expression {
                    expression: text(),
                    service: text(),
                    is_normal: true,
                },
            }),
            r#"{"data":{"execExpression":{"type":"TIME_SERIES_VALUES","error":null,"results":[{"metric":{"labels":[{"key":"p","value":"95"}]},"values":[{"id":"1700000460000","value":"33"}]}]}}}"#,
        ),
        (
            keptn("keptnmetric/a/b"),
            r#"{"kind":"KeptnMetric","status":{"value":"1.25","lastUpdated":"2023-11-14T22:10:00Z","errMsg":""}}"#,
        ),
        (
            keptn("analysis/a/b"),
            r#"{"kind":"Analysis","status":{"state":"Completed","pass":true}}"#,
        ),
        (
            Query::External(external::Query::parse(&address(), "a/b").unwrap()),
            r#"{"items":[{"metricLabels":{"a":"b"},"timestamp":"2023-11-14T22:10:00Z","value":"1500m"}]}"#,
        ),
        (
            Query::Web(web::Query {
                url: Secret::new(address()),
                method: crate::Method::Get,
                headers: Vec::new(),
                body: Secret::new(""),
                path: "{$.a[*].b}".to_owned(),
            }),
            r#"{"a":[{"b":1.5},{"b":"2"}]}"#,
        ),
    ]
}

fn numbers(reading: &Reading) -> Vec<&Value> {
    let values = reading.points.iter().map(|point| &point.value);
    values
        .filter(|value| matches!(value, Value::Number(_) | Value::Histogram(_)))
        .collect()
}

#[test]
fn every_provider_has_an_example_with_a_number() {
    let mut providers: Vec<&str> = Vec::new();
    for (query, body) in examples() {
        let reading = query.parse(&window(), &answer(200, body)).unwrap();
        assert!(!numbers(&reading).is_empty(), "{body}");
        providers.push(query.provider());
    }
    providers.sort_unstable();
    providers.dedup();
    assert_eq!(providers.len(), 15);
}

#[test]
fn half_an_answer_gives_no_other_number() {
    for (query, body) in examples() {
        let whole = query.parse(&window(), &answer(200, body)).unwrap();
        let cuts = body.char_indices().map(|(at, _)| &body[..at]);
        for cut in cuts {
            let Ok(part) = query.parse(&window(), &answer(200, cut)) else {
                continue;
            };
            // Only texts of several rows can be cut between two of them; the client knows the length of the body.
            let is_rows = matches!(query, Query::InfluxDb(_) | Query::SignalFx(_));
            assert!(is_rows, "{cut}");
            assert_eq!(part.points, whole.points[..part.points.len()], "{cut}");
            if matches!(query, Query::SignalFx(_)) {
                let is_whole = cut.trim_end() == body.trim_end();
                assert_eq!(part.partial.is_none(), is_whole, "{cut}");
            }
        }
    }
}

/// Replaces the `index`th value of a document, counted from the outside.
fn replace(value: &mut serde_json::Value, index: &mut usize, new: &serde_json::Value) -> bool {
    if *index == 0 {
        *value = new.clone();
        return true;
    }
    *index -= 1;
    if let Some(items) = value.as_array_mut() {
        return items.iter_mut().any(|item| replace(item, index, new));
    }
    let members = value.as_object_mut().into_iter();
    let mut members = members.flat_map(|members| members.values_mut());
    members.any(|item| replace(item, index, new))
}

fn anything() -> impl Strategy<Value = serde_json::Value> {
    let texts = [
        "null",
        "true",
        "[]",
        "{}",
        "[null]",
        "[[]]",
        "[{}]",
        "-1",
        "0",
        "1e300",
        "1.5",
        "\"\"",
        "\"NaN\"",
        "\"+Inf\"",
        "\"-1\"",
        "\"x\"",
        "\"1e999\"",
        "[1,2,3]",
        "{\"a\":1}",
        "99999999999999999999",
        "\"\\u0000\"",
    ];
    prop::sample::select(texts.to_vec()).prop_map(|text| serde_json::from_str(text).unwrap())
}

proptest! {
    #[test]
    fn an_odd_value_anywhere_is_told_or_harmless(
        example in 0_usize..21,
        index in 0_usize..60,
        new in anything(),
    ) {
        let examples = examples();
        let (query, body) = &examples[example];
        let Ok(mut value) = serde_json::from_str::<serde_json::Value>(body) else {
            return Ok(());
        };
        let mut index = index;
        if !replace(&mut value, &mut index, &new) {
            return Ok(());
        }
        let body = value.to_string();
        // It neither panics nor makes a number that is none.
        if let Ok(reading) = query.parse(&window(), &answer(200, &body)) {
            for value in numbers(&reading) {
                match value {
                    Value::Number(number) => prop_assert!(number.is_finite()),
                    Value::Histogram(histogram) => {
                        prop_assert!(histogram.count().is_finite() && histogram.count() >= 0.0);
                    }
                    Value::NotFinite(_) | Value::Null | Value::Other(_) => {}
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_told_or_harmless(
        example in 0_usize..21,
        status in prop::sample::select(vec![0_u16, 200, 204, 302, 400, 401, 404, 429, 500, 999]),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let answer = Answer { status, headers: &[], body: &body };
        let examples = examples();
        let (query, _) = &examples[example];
        if let Ok(reading) = query.parse(&window(), &answer) {
            prop_assert!((200..300).contains(&status));
            prop_assert_eq!(numbers(&reading).len(), 0);
        }
    }
}
