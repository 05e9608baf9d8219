//! Splunk Observability Cloud (SignalFx): SignalFlow over HTTP.
//!
//! <https://dev.splunk.com/observability/reference/api/signalflow/latest> and
//! <https://dev.splunk.com/observability/docs/signalflow/messages/stream_messages_specification>. A program with a start and a stop
//! gives a stream of server-sent events that ends with `END_OF_CHANNEL`; one that ends without is cut, and partial.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    answer::Answer,
    auth::Auth,
    encoding::Address,
    error::{Error, Result, short},
    json::{self, Node},
    reading::{Labels, Point, Reading, Value},
    request::{Request, check_query},
    window::{self, Window},
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The realm's address: `https://api.us1.signalfx.com`, or `stream` in place of `api`.
    pub address: String,
    /// The SignalFlow program.
    pub program: String,
}

/// Returns the request.
///
/// # Errors
/// When the query or its address can't be sent, or the credentials don't fit.
pub fn request(query: &Query, window: &Window, auth: &Auth) -> Result<Request> {
    // Flagger's addresses name the API host, or the stream by its websocket.
    let address = query.address.trim();
    let address = match (
        address.strip_prefix("wss://"),
        address.strip_prefix("ws://"),
    ) {
        (Some(rest), _) => format!("https://{rest}"),
        (None, Some(rest)) => format!("http://{rest}"),
        (None, None) => address.to_owned(),
    };
    let address = Address::parse(&address.replacen("://api.", "://stream.", 1))?;
    let program = check_query(&query.program)?;
    let start = window.from().as_millisecond().to_string();
    let stop = window.to().as_millisecond().to_string();
    let resolution = window.step_seconds().saturating_mul(1_000).to_string();
    let parameters = [
        ("start", start.as_str()),
        ("stop", stop.as_str()),
        ("resolution", resolution.as_str()),
        ("immediate", "true"),
    ];
    let url = address.join("/v2/signalflow/execute", &parameters);
    let mut request = Request::post(url, "text/plain", program.to_owned());
    request.set("Accept", "text/event-stream");
    auth.header(request, "X-SF-Token")
}

/// Reads the answer.
///
/// # Errors
/// When it is none, or not of the documented form.
pub fn parse(answer: &Answer<'_>) -> Result<Reading> {
    if answer.status >= 300 {
        answer.json(message)?;
    }
    let mut stream = Stream::default();
    for event in events(answer.success()?) {
        stream.take(&event)?;
    }
    stream.reading()
}

/// What was read of a stream.
#[derive(Default)]
struct Stream {
    labels: BTreeMap<String, Labels>,
    points: Vec<(String, Timestamp, Value)>,
    warnings: Vec<String>,
    is_ended: bool,
}

/// One event: its kind and its data, with the number of its first line.
struct Event {
    kind: String,
    data: String,
    line: usize,
}

/// Splits a stream of events; comments, ids and pauses are left out.
fn events(text: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut event = Event {
        kind: String::new(),
        data: String::new(),
        line: 1,
    };
    for (index, line) in text.lines().chain([""]).enumerate() {
        if line.is_empty() {
            let line = index.saturating_add(2);
            let next = Event {
                kind: String::new(),
                data: String::new(),
                line,
            };
            let done = std::mem::replace(&mut event, next);
            if !done.data.is_empty() || !done.kind.is_empty() {
                events.push(done);
            }
        } else if let Some(kind) = line.strip_prefix("event:") {
            kind.trim().clone_into(&mut event.kind);
        } else if let Some(data) = line.strip_prefix("data:") {
            event.data.push_str(data);
            event.data.push('\n');
        } else if !["id:", "retry:", ":"]
            .iter()
            .any(|sign| line.starts_with(sign))
        {
            // Not an event stream: an event that nobody knows.
            "unknown".clone_into(&mut event.kind);
        }
    }
    events
}

impl Stream {
    fn take(&mut self, event: &Event) -> Result<()> {
        let place = format!("the event in line {}", event.line);
        let value = json::parse(&event.data);
        let value = value.map_err(|_| Error::malformed("an event with JSON", place.clone()))?;
        let root = Node::root(&value);
        match event.kind.as_str() {
            "control-message" => match root.need("event")?.text()? {
                "END_OF_CHANNEL" => self.is_ended = true,
                "CHANNEL_ABORT" => {
                    return Err(Error::Unavailable {
                        status: 200,
                        message: short(&format!("the computation was aborted: {value}")),
                        retry_after: None,
                    });
                }
                _ => {}
            },
            "metadata" => {
                let id = root.need("tsId")?.text()?.to_owned();
                let labels = Labels::of_json(root.need("properties")?)?;
                // Names that begin so are SignalFlow's own.
                let labels = labels.iter().filter(|(name, _)| !name.starts_with("sf_"));
                self.labels.insert(id, labels.collect());
            }
            "data" => {
                let at = root.need("logicalTimestampMs")?;
                let time = window::from_milliseconds_float(at.number()?)
                    .ok_or_else(|| at.wrong("milliseconds since 1970"))?;
                for item in root.need("data")?.items()? {
                    let id = item.need("tsId")?.text()?.to_owned();
                    let value = Value::of_json(item.need("value")?.value());
                    self.points.push((id, time, value));
                }
            }
            "message" => {
                let message = root.get("message").unwrap_or(root);
                let level = message.get("messageLevel").and_then(|l| l.text().ok());
                if level.is_some_and(|level| level != "INFO") {
                    self.warnings.push(short(&message.value().to_string()));
                }
            }
            "error" => {
                return Err(Error::BadQuery {
                    message: message(root).unwrap_or_else(|| short(&value.to_string())),
                });
            }
            // Detectors' events and ends of computations.
            "event" | "expired-tsid" => {}
            kind => {
                let what = format!("a known kind of event, found {:?}", short(kind));
                return Err(Error::malformed(what, place));
            }
        }
        Ok(())
    }

    fn reading(self) -> Result<Reading> {
        let mut reading = Reading::default();
        for (id, at, value) in self.points {
            // Two series without dimensions must not become one.
            let labels = self
                .labels
                .get(&id)
                .filter(|labels| labels.iter().len() > 0);
            let is_alone = self.labels.len() <= 1;
            let labels = match labels {
                Some(labels) => labels.clone(),
                None if is_alone => Labels::default(),
                None => [("tsId".to_owned(), id)].into_iter().collect(),
            };
            reading.push(Point { at, labels, value })?;
        }
        for warning in self.warnings {
            reading.warn(&warning);
        }
        if !self.is_ended {
            reading.partial("the stream ended before its end");
        }
        Ok(reading)
    }
}

/// Finds `message`, or the codes of `errors`.
fn message(root: Node<'_>) -> Option<String> {
    if let Some(text) = root.get("message").and_then(|node| node.text().ok()) {
        return Some(short(text));
    }
    let errors = root.get("errors")?;
    let codes = errors.items().ok()?.filter_map(|error| error.get("code"));
    let codes: Vec<&str> = codes.filter_map(|code| code.text().ok()).collect();
    Some(short(&codes.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        secret::Secret,
        testing::{check, check_common, show_request, window},
    };

    fn query(address: &str) -> Query {
        Query {
            address: address.to_owned(),
            program: "data('requests').sum().publish()".to_owned(),
        }
    }

    const END: &str =
        "event: control-message\ndata: {\"event\":\"END_OF_CHANNEL\",\"timestampMs\":1}\n\n";

    fn stream(events: &str) -> String {
        format!(
            "event: control-message\ndata: {{\ndata:   \"event\" : \"STREAM_START\",\ndata:   \"timestampMs\" : 1\ndata: }}\n\n{events}{END}"
        )
    }

    fn data(items: &str) -> String {
        format!(
            "id: data-1\nevent: data\ndata:  {{\ndata:    \"data\" : {items},\ndata:    \"logicalTimestampMs\" : 1700000460000\ndata:  }}\n\n"
        )
    }

    #[test]
    fn the_program_goes_to_the_stream() {
        let auth = Auth::Key(Secret::new("sf"));
        let expected = "POST https://stream.us1.signalfx.com/v2/signalflow/execute?start=1700000400000&stop=1700001000000&resolution=60000&immediate=true\n\
             Content-Type: text/plain\nAccept: text/event-stream\nX-SF-Token: sf\ndata('requests').sum().publish()";
        for address in [
            "https://api.us1.signalfx.com",
            "https://stream.us1.signalfx.com/",
            "wss://stream.us1.signalfx.com",
        ] {
            let request = request(&query(address), &window(), &auth).unwrap();
            assert_eq!(show_request(&request), expected);
        }
        let address = "https://api.us1.signalfx.com";
        assert!(request(&query(address), &window(), &Auth::None).is_err());
    }

    #[test]
    fn each_documented_answer_has_its_reading() {
        let metadata = |id: &str, more: &str| {
            format!(
                "event: metadata\ndata: {{\"properties\":{{\"sf_key\":[\"x\"]{more}}},\"tsId\":\"{id}\"}}\n\n"
            )
        };
        let one = metadata("A", ",\"host\":\"h\"") + &data(r#"[{"tsId":"A","value":82}]"#);
        let two = metadata("A", "")
            + &metadata("B", "")
            + &data(r#"[{"tsId":"A","value":1.5},{"tsId":"B","value":null}]"#);
        check(
            parse,
            &[
                (200, &stream(&one), r#"1700000460{host="h"}=82"#),
                (
                    200,
                    &stream(&two),
                    r#"1700000460{tsId="A"}=1.5; 1700000460{tsId="B"}=null"#,
                ),
                (200, &stream(""), "empty"),
                (200, &stream(&data("[]")), "empty"),
                (
                    200,
                    &one,
                    r#"1700000460{host="h"}=82; partial the stream ended before its end"#,
                ),
            ],
        );
    }

    #[test]
    fn messages_and_errors_are_told_apart() {
        check(
            parse,
            &[
                (
                    200,
                    &stream(
                        "event: message\ndata: {\"message\":{\"messageCode\":\"FETCH_NUM_TIMESERIES\",\"messageLevel\":\"INFO\"}}\n\n",
                    ),
                    "empty",
                ),
                (
                    200,
                    &stream(
                        "event: message\ndata: {\"message\":{\"messageCode\":\"FIND_LIMITED_RESULT_SET\",\"messageLevel\":\"WARNING\"}}\n\n",
                    ),
                    r#"warning {"messageCode":"FIND_LIMITED_RESULT_SET","messageLevel":"WARNING"}"#,
                ),
                (
                    200,
                    &stream(
                        "event: error\ndata: {\"error\":400,\"errors\":[{\"code\":\"ANALYTICS_PROGRAM_NAME_ERROR\"}]}\n\n",
                    ),
                    "BadQuery: the query was refused: ANALYTICS_PROGRAM_NAME_ERROR",
                ),
                (
                    200,
                    "event: control-message\ndata: {\"event\":\"CHANNEL_ABORT\"}\n\n",
                    r#"Unavailable: unavailable (status 200): the computation was aborted: {"event":"CHANNEL_ABORT"}"#,
                ),
                (
                    200,
                    &stream(&data(r#"[{"tsId":"A"}]"#)),
                    "Malformed: malformed answer at $.data[0]: expected a member `value`, found an object",
                ),
                (
                    200,
                    "event: data\ndata: {\"da",
                    "Malformed: malformed answer at the event in line 1: expected an event with JSON",
                ),
                (
                    400,
                    r#"{"code":400,"message":"Invalid program"}"#,
                    "BadQuery: the query was refused: Invalid program",
                ),
            ],
        );
    }

    #[test]
    fn what_is_no_stream_is_malformed() {
        check_common(|answer| {
            // An empty body is a stream that was cut at once: partial, which no judge takes.
            if answer.status == 200 && answer.body.is_empty() {
                assert!(parse(answer)?.partial.is_some());
                return Err(Error::malformed("x", "y"));
            }
            parse(answer)
        });
    }
}
