//! Prometheus: what is sent, and what each documented answer means.

use super::*;
use crate::{
    auth::AwsKeys,
    secret::Secret,
    testing::{check, check_common, show_request, window},
};

fn query(form: Form) -> Query {
    Query {
        address: "http://prometheus:9090/".to_owned(),
        expression: " sum(rate(x{a=\"b\"}[1m])) ".to_owned(),
        form,
        headers: vec![Header::new("X-Scope-OrgID", "team-a")],
        region: None,
    }
}

#[test]
fn a_query_is_sent_with_its_times() {
    let request = request(&query(Form::Instant), &window(), &Auth::None).unwrap();
    assert_eq!(
        show_request(&request),
        "GET http://prometheus:9090/api/v1/query?query=sum%28rate%28x%7Ba%3D%22b%22%7D%5B1m%5D%29%29&time=1700001000\n\
         Accept: application/json\nX-Scope-OrgID: team-a"
    );
    let bearer = Auth::Bearer(Secret::new("t"));
    let request = super::request(&query(Form::Range), &window(), &bearer).unwrap();
    assert_eq!(
        show_request(&request),
        "GET http://prometheus:9090/api/v1/query_range?query=sum%28rate%28x%7Ba%3D%22b%22%7D%5B1m%5D%29%29\
         &start=1700000400&end=1700001000&step=60\n\
         Accept: application/json\nX-Scope-OrgID: team-a\nAuthorization: Bearer t"
    );
}

#[test]
fn a_long_query_goes_in_the_body_and_a_mistake_nowhere() {
    let with = |expression: String| Query {
        expression,
        ..query(Form::Instant)
    };
    let long = with(format!("sum({})", "a or ".repeat(400)));
    let long = request(&long, &window(), &Auth::None).unwrap();
    assert_eq!(long.url, "http://prometheus:9090/api/v1/query");
    assert!(long.body.starts_with(b"query=sum%28a%20or%20"));
    for expression in ["  ".to_owned(), "a\0".to_owned(), "a".repeat(1_000_000)] {
        assert!(request(&with(expression), &window(), &Auth::None).is_err());
    }
}

#[test]
fn amazons_service_gets_a_signature() {
    let auth = Auth::Aws {
        keys: AwsKeys {
            access_key_id: "AKID".to_owned(),
            secret_access_key: Secret::new("secret"),
            session_token: Some(Secret::new("session")),
        },
        signed_at: Timestamp::UNIX_EPOCH,
    };
    let mut query = query(Form::Instant);
    assert!(request(&query, &window(), &auth).is_err());
    query.region = Some("eu-west-1".to_owned());
    let shown = show_request(&request(&query, &window(), &auth).unwrap());
    assert!(
        shown.contains(
            "Authorization: AWS4-HMAC-SHA256 Credential=AKID/19700101/eu-west-1/aps/aws4_request, \
             SignedHeaders=accept;host;x-amz-date;x-amz-security-token;x-scope-orgid, Signature="
        ),
        "{shown}"
    );
}

#[test]
fn each_documented_answer_has_its_reading() {
    let ok = |kind: &str, result: &str| {
        format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
    };
    let vector = ok(
        "vector",
        r#"[{"metric":{"__name__":"up","job":"a"},"value":[1435781451.781,"1"]},
            {"metric":{"__name__":"up","job":"b"},"value":[1435781451.781,"0"]}]"#,
    );
    let matrix = ok(
        "matrix",
        r#"[{"metric":{"job":"a"},"values":[[1435781430,"1"],[1435781445,"NaN"]]}]"#,
    );
    let native = ok(
        "vector",
        r#"[{"metric":{},"histogram":[1435781451,{"count":"3","sum":"0.5","buckets":
            [[3,"-0.001","0.001","1"],[0,"0.125","0.25","2"]]}]}]"#,
    );
    let native_range = ok(
        "matrix",
        r#"[{"metric":{},"histograms":[[1435781451,{"count":"0","sum":"0"}]]}]"#,
    );
    check(
        parse,
        &[
            (
                200,
                &vector,
                r#"1435781451.781{__name__="up", job="a"}=1; 1435781451.781{__name__="up", job="b"}=0"#,
            ),
            (
                200,
                &matrix,
                r#"1435781430{job="a"}=1; 1435781445{job="a"}=NaN"#,
            ),
            (
                200,
                &ok("scalar", r#"[1435781451,"+Inf"]"#),
                "1435781451=+Inf",
            ),
            (
                200,
                &ok("string", r#"[1435781451,"7"]"#),
                r#"1435781451=other "7""#,
            ),
            (200, &native, "1435781451=[(-0.001,0.001]1 (0.125,0.25]2]"),
            (200, &native_range, "1435781451=[]"),
            (200, &ok("vector", "[]"), "empty"),
            (200, &ok("matrix", "[]"), "empty"),
        ],
    );
}

#[test]
fn each_documented_failure_has_its_kind() {
    let error = |kind: &str, text: &str| {
        format!(r#"{{"status":"error","errorType":"{kind}","error":"{text}"}}"#)
    };
    check(
        parse,
        &[
            (
                400,
                &error("bad_data", "1:5: parse error: unexpected end"),
                "BadQuery: the query was refused: 1:5: parse error: unexpected end",
            ),
            (
                422,
                &error("execution", "found duplicate series"),
                "BadQuery: the query was refused: found duplicate series",
            ),
            (
                503,
                &error("timeout", "query timed out"),
                "Unavailable: unavailable (status 503): query timed out",
            ),
            (
                200,
                &error("timeout", "query timed out"),
                "Unavailable: unavailable (status 200): query timed out",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"streams","result":[]}}"#,
                "Malformed: malformed answer at $.data.resultType: expected scalar, vector, matrix or string, found a text",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}}"#,
                "Malformed: malformed answer at $.data.result[0].value[1]: expected a text, found a number",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":["1","2"]}]}}"#,
                "Malformed: malformed answer at $.data.result[0].value[0]: expected a number, found a text",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":7}]}}"#,
                "Malformed: malformed answer at $.data.result[0].values: expected a list, found a number",
            ),
        ],
    );
    check_common(parse);
}

#[test]
fn warnings_of_storage_mean_partial_data() {
    let with = |more: &str| {
        format!(
            r#"{{"status":"success",{more},"data":{{"resultType":"scalar","result":[1,"2"]}}}}"#
        )
    };
    check(
        parse,
        &[
            (
                200,
                &with(r#""warnings":["receive series from store-1: context deadline exceeded"]"#),
                "1=2; warning receive series from store-1: context deadline exceeded; \
                 partial receive series from store-1: context deadline exceeded",
            ),
            (
                200,
                &with(r#""warnings":["PromQL warning: bucket label \"le\" is missing"]"#),
                "1=2; warning PromQL warning: bucket label \"le\" is missing",
            ),
            (
                200,
                &with(r#""infos":["PromQL info: metric might not be a counter"]"#),
                "1=2; warning PromQL info: metric might not be a counter",
            ),
            (
                200,
                &with(r#""isPartial":true"#),
                "1=2; partial a part of the storage did not answer",
            ),
            (200, &with(r#""isPartial":false"#), "1=2"),
        ],
    );
}
