//! Datadog: what is sent, and what each documented answer means.

use super::*;
use crate::{
    secret::Secret,
    testing::{check, check_common, show_request, window},
};

fn keys() -> Auth {
    Auth::KeyPair {
        key: Secret::new("api"),
        application: Secret::new("app"),
    }
}

fn formula() -> Formula {
    Formula {
        queries: vec![("a".to_owned(), "avg:system.cpu.user{*}".to_owned())],
        formula: String::new(),
        aggregator: AGGREGATOR_DEFAULT.to_owned(),
    }
}

fn query(form: Form) -> Query {
    Query {
        address: ADDRESS_DEFAULT.to_owned(),
        form,
    }
}

fn v1() -> Query {
    query(Form::V1("avg:system.cpu.user{*}".to_owned()))
}

#[test]
fn each_version_is_asked_in_its_form() {
    let show = |form| show_request(&request(&query(form), &window(), &keys()).unwrap());
    assert_eq!(
        show(v1().form),
        "GET https://api.datadoghq.com/api/v1/query?query=avg%3Asystem.cpu.user%7B%2A%7D&from=1700000400&to=1700001000\n\
         Accept: application/json\nDD-API-KEY: api\nDD-APPLICATION-KEY: app"
    );
    let head = "Accept: application/json\nContent-Type: application/json\nDD-API-KEY: api\nDD-APPLICATION-KEY: app\n";
    assert_eq!(
        show(Form::Scalar(formula())),
        format!(
            "POST https://api.datadoghq.com/api/v2/query/scalar\n{head}\
             {{\"data\":{{\"attributes\":{{\"formulas\":[{{\"formula\":\"a\"}}],\"from\":1700000400000,\
             \"queries\":[{{\"aggregator\":\"last\",\"data_source\":\"metrics\",\"name\":\"a\",\"query\":\"avg:system.cpu.user{{*}}\"}}],\
             \"to\":1700001000000}},\"type\":\"scalar_request\"}}}}"
        )
    );
    assert_eq!(
        show(Form::Series(formula())),
        format!(
            "POST https://api.datadoghq.com/api/v2/query/timeseries\n{head}\
             {{\"data\":{{\"attributes\":{{\"formulas\":[{{\"formula\":\"a\"}}],\"from\":1700000400000,\"interval\":60000,\
             \"queries\":[{{\"data_source\":\"metrics\",\"name\":\"a\",\"query\":\"avg:system.cpu.user{{*}}\"}}],\
             \"to\":1700001000000}},\"type\":\"timeseries_request\"}}}}"
        )
    );
}

#[test]
fn what_can_not_be_sent_is_refused() {
    assert!(request(&v1(), &window(), &Auth::None).is_err());
    let two = Formula {
        queries: vec![
            ("a".to_owned(), "x".to_owned()),
            ("b".to_owned(), "y".to_owned()),
        ],
        ..formula()
    };
    assert!(request(&query(Form::Scalar(two)), &window(), &keys()).is_err());
    let none = Formula {
        queries: Vec::new(),
        ..formula()
    };
    assert!(request(&query(Form::Series(none)), &window(), &keys()).is_err());
}

#[test]
fn version_1_answers_series() {
    check(
        |answer| parse(&v1(), &window(), answer),
        &[
            (
                200,
                r#"{"status":"ok","series":[{"scope":"env:prod,host:a","tag_set":["env:prod","host:a"],
                    "pointlist":[[1598867910000.0,0.0020],[1598867925000.0,null]]}],"message":""}"#,
                r#"1598867910{env="prod", host="a"}=0.002; 1598867925{env="prod", host="a"}=null"#,
            ),
            (200, r#"{"status":"ok","series":[]}"#, "empty"),
            (
                200,
                r#"{"status":"ok","series":[],"message":"metric delayed"}"#,
                "warning metric delayed",
            ),
            (
                200,
                r#"{"status":"error","error":"Error parsing query: unable to parse"}"#,
                "BadQuery: the query was refused: Error parsing query: unable to parse",
            ),
            (
                400,
                r#"{"errors":["Rule 'scope_expr' didn't match"]}"#,
                "BadQuery: the query was refused: Rule 'scope_expr' didn't match",
            ),
            (
                403,
                r#"{"errors":["Forbidden"]}"#,
                "Unauthorized: not authorized: Forbidden",
            ),
            (
                200,
                r#"{"series":[{"pointlist":[[1598867910000,"12"],[1598867910000,[1]]]}]}"#,
                r#"1598867910=other "12"; 1598867910=other [1]"#,
            ),
            (
                200,
                r#"{"series":[{"pointlist":[["x",1]]}]}"#,
                "Malformed: malformed answer at $.series[0].pointlist[0][0]: expected a number, found a text",
            ),
            (
                200,
                "{}",
                "Malformed: malformed answer at $: expected a member `series`, found an object",
            ),
        ],
    );
    check_common(|answer| parse(&v1(), &window(), answer));
}

#[test]
fn scalars_come_in_columns() {
    let scalar = query(Form::Scalar(formula()));
    let columns = |text: &str| {
        format!(r#"{{"data":{{"type":"scalar_response","attributes":{{"columns":{text}}}}}}}"#)
    };
    check(
        |answer| parse(&scalar, &window(), answer),
        &[
            (
                200,
                &columns(r#"[{"name":"a","type":"number","values":[0.5]}]"#),
                "1700001000=0.5",
            ),
            (
                200,
                &columns(
                    r#"[{"name":"env","type":"group","values":[["prod"],["test"]]},
                        {"name":"a","type":"number","values":[0.5,null]}]"#,
                ),
                r#"1700001000{env="prod"}=0.5; 1700001000{env="test"}=null"#,
            ),
            (200, &columns("[]"), "empty"),
            (
                200,
                &columns(r#"[{"name":"a","type":"number","values":[]}]"#),
                "empty",
            ),
            (
                200,
                &columns(r#"[{"name":"a","type":"picture","values":[]}]"#),
                "Malformed: malformed answer at $.data.attributes.columns[0].type: expected group or number, found a text",
            ),
            (
                200,
                r#"{"data":null,"errors":"timed out"}"#,
                "BadQuery: the query was refused: timed out",
            ),
            (
                400,
                r#"{"errors":[{"detail":"bad formula","status":"400"}]}"#,
                "BadQuery: the query was refused: bad formula",
            ),
        ],
    );
}

#[test]
fn version_2_answers_series_in_parallel_lists() {
    let series = query(Form::Series(formula()));
    let attributes = |text: &str| format!(r#"{{"data":{{"attributes":{text}}}}}"#);
    check(
        |answer| parse(&series, &window(), answer),
        &[
            (
                200,
                &attributes(
                    r#"{"series":[{"group_tags":["env:prod"],"query_index":0}],
                        "times":[1568899800000,1568899860000],"values":[[1575.5,null]]}"#,
                ),
                r#"1568899800{env="prod"}=1575.5; 1568899860{env="prod"}=null"#,
            ),
            (
                200,
                &attributes(r#"{"series":[],"times":[],"values":[]}"#),
                "empty",
            ),
            (
                200,
                &attributes(r#"{"series":[{}],"times":[1568899800000],"values":[[]]}"#),
                "Malformed: malformed answer at $.data.attributes.values[0]: expected as many values as times, found a list",
            ),
        ],
    );
}
