//! InfluxDB 2 with Flux, and InfluxDB 3 with SQL or InfluxQL.
//!
//! <https://docs.influxdata.com/influxdb/v2/api/v2/#operation/PostQuery> (answers in annotated CSV:
//! <https://docs.influxdata.com/influxdb/v2/reference/syntax/annotated-csv/>) and
//! <https://docs.influxdata.com/influxdb3/core/query-data/execute-queries/influxdb-v3-api/> (answers in rows of JSON). An error in the
//! middle of a Flux query comes as a table with the columns `error` and `reference`. No rows are no data: Flagger takes them for zero.

mod csv;

use jiff::Timestamp;
use serde_json::json;

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result},
    json::Node,
    provider::rows::{self, Field},
    reading::Reading,
    request::{Request, check_query},
    window::Window,
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The server's address.
    pub address: String,
    /// The query.
    pub text: String,
    /// Its language, and where it is run.
    pub language: Language,
}

/// The language of a query, and where it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Language {
    /// InfluxDB 2: Flux, in an organization.
    Flux {
        /// The organization.
        org: String,
    },
    /// InfluxDB 3: SQL, in a database.
    Sql {
        /// The database.
        database: String,
    },
    /// InfluxDB 3: InfluxQL, in a database.
    InfluxQl {
        /// The database.
        database: String,
    },
}

/// Returns the request. The window is the query's own matter: `range(start: -5m)`, `WHERE time > …`.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, _window: &Window, auth: &Auth) -> Result<Request> {
    let address = Address::parse(&query.address)?;
    let text = check_query(&query.text)?;
    let version_3 = |path: &str, database: &str| {
        let body = json!({"db": database, "q": text, "format": "json"});
        let request = Request::post_json(address.join(path, &[]), &body);
        auth.scheme(request, "Bearer")
    };
    match &query.language {
        Language::Flux { org } => {
            let dialect =
                json!({"annotations": ["datatype", "default"], "header": true, "delimiter": ","});
            let body = json!({"query": text, "type": "flux", "dialect": dialect});
            let url = address.join("/api/v2/query", &[("org", org)]);
            let mut request = Request::post_json(url, &body);
            request.set("Accept", "application/csv");
            auth.scheme(request, "Token")
        }
        Language::Sql { database } => version_3("/api/v3/query_sql", database),
        Language::InfluxQl { database } => version_3("/api/v3/query_influxql", database),
    }
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(query: &Query, window: &Window, answer: &Answer<'_>) -> Result<Reading> {
    match query.language {
        Language::Flux { .. } => {
            if answer.status >= 400 {
                answer.json(message)?;
            }
            csv::read(answer.success()?, window.to())
        }
        Language::Sql { .. } | Language::InfluxQl { .. } => json_rows(window, answer),
    }
}

fn json_rows(window: &Window, answer: &Answer<'_>) -> Result<Reading> {
    let value = answer.json(message)?;
    let root = Node::root(&value);
    if let Some(message) = message(root) {
        return Err(Error::bad_query(&message));
    }
    let mut reading = Reading::default();
    for row in root.items()? {
        let fields = row.members()?.map(|(name, node)| match name {
            "time" => time(node),
            _ => Ok(rows::of_json(name, node)),
        });
        rows::push(&mut reading, fields, window.to())?;
    }
    Ok(reading)
}

/// Reads a time: RFC 3339, the same without a zone (UTC), or nanoseconds since 1970.
fn time(node: Node<'_>) -> Result<Field> {
    let expected = || node.wrong("a time");
    // Aggregates without a group have none.
    if node.value().is_null() {
        return Ok(Field::Nothing);
    }
    let at: Option<Timestamp> = match node.value().as_str() {
        Some(text) => text.parse().or_else(|_| format!("{text}Z").parse()).ok(),
        None => Timestamp::from_nanosecond(i128::from(node.integer()?)).ok(),
    };
    at.map(Field::Time).ok_or_else(expected)
}

/// Finds `message` (version 2) or `error` (version 3).
fn message(root: Node<'_>) -> Option<String> {
    let node = root.get("message").or_else(|| root.get("error"))?;
    node.text().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secret::Secret,
        testing::{check, check_common, show_request, window},
    };

    fn query(language: Language) -> Query {
        Query {
            address: "http://influx:8086".to_owned(),
            text: "from(bucket: \"b\") |> range(start: -5m)".to_owned(),
            language,
        }
    }

    fn flux() -> Query {
        query(Language::Flux {
            org: "my org".to_owned(),
        })
    }

    fn sql() -> Query {
        query(Language::Sql {
            database: "db".to_owned(),
        })
    }

    #[test]
    fn each_language_is_asked_in_its_form() {
        let auth = Auth::Key(Secret::new("t"));
        let show = |query| show_request(&request(&query, &window(), &auth).unwrap());
        assert_eq!(
            show(flux()),
            "POST http://influx:8086/api/v2/query?org=my%20org\nContent-Type: application/json\nAccept: application/csv\nAuthorization: Token t\n\
             {\"dialect\":{\"annotations\":[\"datatype\",\"default\"],\"delimiter\":\",\",\"header\":true},\
             \"query\":\"from(bucket: \\\"b\\\") |> range(start: -5m)\",\"type\":\"flux\"}"
        );
        let head =
            "Accept: application/json\nContent-Type: application/json\nAuthorization: Bearer t\n";
        let body = "{\"db\":\"db\",\"format\":\"json\",\"q\":\"from(bucket: \\\"b\\\") |> range(start: -5m)\"}";
        assert_eq!(
            show(sql()),
            format!("POST http://influx:8086/api/v3/query_sql\n{head}{body}")
        );
        let influxql = query(Language::InfluxQl {
            database: "db".to_owned(),
        });
        assert_eq!(
            show(influxql),
            format!("POST http://influx:8086/api/v3/query_influxql\n{head}{body}")
        );
        assert!(request(&sql(), &window(), &Auth::None).is_err());
    }

    #[test]
    fn version_2_answers_tables() {
        let table = "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string\r\n\
            #default,_result,,,,,,,\r\n\
            ,result,table,_start,_stop,_time,_value,_field,host\r\n\
            ,,0,2023-11-14T22:00:00Z,2023-11-14T22:15:00Z,2023-11-14T22:10:00Z,15.43,used,\"a,\"\"b\"\"\"\r\n\
            ,,0,2023-11-14T22:00:00Z,2023-11-14T22:15:00Z,2023-11-14T22:11:00Z,,used,c\r\n\
            \r\n\
            #datatype,string,long,dateTime:RFC3339,boolean,long\r\n\
            #default,_result,,,,7\r\n\
            ,result,table,_stop,ok,_value\r\n\
            ,,1,2023-11-14T22:15:00Z,true,\r\n\r\n";
        let error = "#datatype,string,string\r\n#default,,\r\n,error,reference\r\n,Failed to parse query,897\r\n";
        check(
            |answer| parse(&flux(), &window(), answer),
            &[
                (
                    200,
                    table,
                    r#"1699999800{_field="used", host="a,\"b\""}=15.43; 1699999860{_field="used", host="c"}=null; 1700000100{ok="true"}=7"#,
                ),
                (200, "", "empty"),
                (200, "\r\n", "empty"),
                (
                    200,
                    error,
                    "BadQuery: the query was refused: Failed to parse query",
                ),
                (
                    200,
                    "#datatype,string,string\r\n#default,,\r\n,result,_value\r\n,x,high\r\n",
                    r#"1700001000{result="x"}=other "high""#,
                ),
                (
                    200,
                    "#datatype,string,double\r\n#default,,\r\n,result,_value\r\n,,NaN\r\n",
                    "1700001000=NaN",
                ),
            ],
        );
    }

    #[test]
    fn version_2_answers_errors() {
        check(
            |answer| parse(&flux(), &window(), answer),
            &[
                (
                    200,
                    "#datatype,string,double\r\n,result,_value\r\n,x\r\n",
                    "Malformed: malformed answer at row 3: expected 3 columns, found 2",
                ),
                (
                    200,
                    ",result,_value\r\n,\"x,1\r\n",
                    "Malformed: malformed answer at row 2: expected the end of a text in quotes",
                ),
                (
                    200,
                    ",result,host\r\n,x,a\r\n",
                    "Malformed: malformed answer at row 1: expected a column `_value`",
                ),
                (
                    400,
                    r#"{"code":"invalid","message":"compilation failed"}"#,
                    "BadQuery: the query was refused: compilation failed",
                ),
                (
                    401,
                    r#"{"code":"unauthorized","message":"unauthorized access"}"#,
                    "Unauthorized: not authorized: unauthorized access",
                ),
                (
                    404,
                    r#"{"code":"not found","message":"organization not found"}"#,
                    "NotFound: not found: organization not found",
                ),
                (503, "", "Unavailable: unavailable (status 503): "),
                (
                    200,
                    "<html>\n",
                    "Malformed: malformed answer at row 1: expected a column `_value`",
                ),
                (
                    200,
                    ",result,_value\r\n,,15.4",
                    "Malformed: malformed answer at row 2: expected the end of the row",
                ),
            ],
        );
    }

    #[test]
    fn version_3_answers_rows() {
        check(
            |answer| parse(&sql(), &window(), answer),
            &[
                (
                    200,
                    r#"[{"time":"2023-11-14T22:10:00","host":"a","rate":0.5,"count":3}]"#,
                    r#"1699999800{field="count", host="a"}=3; 1699999800{field="rate", host="a"}=0.5"#,
                ),
                (
                    200,
                    r#"[{"time":"2023-11-14T22:10:00Z","rate":null},{"time":1699999800000000000,"rate":1}]"#,
                    r#"1699999800{field="rate"}=null; 1699999800{field="rate"}=1"#,
                ),
                (200, r#"[{"avg":1.5}]"#, r#"1700001000{field="avg"}=1.5"#),
                (200, "[]", "empty"),
                (
                    200,
                    r#"[{"time":"noon","rate":1}]"#,
                    "Malformed: malformed answer at $[0].time: expected a time, found a text",
                ),
                (
                    200,
                    r#"{"error":"table not found"}"#,
                    "BadQuery: the query was refused: table not found",
                ),
                (
                    400,
                    "Error during planning: table not found",
                    "BadQuery: the query was refused: Error during planning: table not found",
                ),
            ],
        );
        check_common(|answer| parse(&sql(), &window(), answer));
    }
}
