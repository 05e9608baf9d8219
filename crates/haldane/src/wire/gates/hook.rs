//! What a web service's answer to a gate means.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use crate::wire::{
    job::printable,
    web::{Reply, WebError},
};

/// When to ask again if the service doesn't say.
const AGAIN_DEFAULT: Duration = Duration::from_secs(30);

/// The shortest and the longest wait that a service may ask for: neither may it be flooded, nor forgotten.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(300);

/// How much of a message for people is kept.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// What was heard from the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The rollout may go on.
    Open(String),
    /// The rollout may not go on.
    Closed(String),
    /// It isn't decided; ask again after this time.
    Undecided(String, Duration),
    /// Nothing that counts; ask again as the pace says, but not before this time.
    Unwell(String, Duration),
}

/// Returns what an answer means.
pub(super) fn heard(answer: &Result<Reply, WebError>) -> Heard {
    match answer {
        Ok(reply) if reply.head.status.is_success() => heard_well(reply),
        Ok(reply) => {
            let said = said(reply);
            if is_passing(reply.head.status) {
                Heard::Unwell(said, reply.head.retry_after.unwrap_or_default())
            } else {
                Heard::Closed(said)
            }
        }
        Err(error) if error.is_passing() => Heard::Unwell(error.to_string(), Duration::ZERO),
        Err(error) => Heard::Closed(error.to_string()),
    }
}

fn heard_well(reply: &Reply) -> Heard {
    let body = reply.body.trim_ascii();
    let is_json = reply.head.is_json || body.starts_with(b"{");
    if body.is_empty() || !is_json {
        return Heard::Open(code(reply.head.status));
    }
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return Heard::Closed(format!(
            "{}, but its body should be JSON and isn't",
            code(reply.head.status)
        ));
    };
    let said = said(reply);
    // What ECS asks hooks for has names of its own, and no other words than those three.
    let hook = body.get("hookStatus");
    let status = hook.or_else(|| body.get("status"));
    let status = status.and_then(Value::as_str).unwrap_or_default();
    // `InProgress`, `IN_PROGRESS`, `in-progress`
    let status: String = status.chars().filter(char::is_ascii_alphabetic).collect();
    match (status.to_ascii_lowercase().as_str(), hook) {
        ("inprogress", _) => {
            let seconds = |key| body.get(key).and_then(Value::as_u64);
            let seconds = seconds("retryAfterSeconds").or_else(|| seconds("callBackDelay"));
            let seconds = seconds.map(Duration::from_secs);
            let again = seconds.or(reply.head.retry_after).unwrap_or(AGAIN_DEFAULT);
            Heard::Undecided(said, again.clamp(AGAIN_MIN, AGAIN_MAX))
        }
        ("failed", _) => Heard::Closed(said),
        ("succeeded", _) | (_, None) => Heard::Open(said),
        (_, Some(other)) => {
            let other: String = printable(&other.to_string()).chars().take(100).collect();
            Heard::Closed(format!(
                "{}: hookStatus is {other}; expected SUCCEEDED, FAILED or IN_PROGRESS",
                code(reply.head.status)
            ))
        }
    }
}

/// Whether a code speaks of a state of the service rather than of the rollout.
fn is_passing(status: StatusCode) -> bool {
    let is_for_now = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ]
    .contains(&status);
    status.is_server_error() || is_for_now
}

/// Returns what the service said, in its own words if it has any.
fn said(reply: &Reply) -> String {
    let code = code(reply.head.status);
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text = |key| {
        body.get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let words = text("message").or_else(|| text("hookStatus"));
    match words.or_else(|| text("status")) {
        Some(text) => {
            let text: String = printable(text).chars().take(MESSAGE_CHARS_MAX).collect();
            format!("{code}: {text}")
        }
        None if reply.head.status.is_redirection() => {
            format!("{code}, and redirects are not followed")
        }
        None => code,
    }
}

fn code(status: StatusCode) -> String {
    format!("HTTP {status}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::web::Head;

    fn reply(status: u16, is_json: bool, body: &str) -> Reply {
        let status = StatusCode::from_u16(status).unwrap();
        Reply {
            head: Head {
                status,
                retry_after: None,
                is_json,
            },
            body: body.into(),
        }
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: &Heard) {
        assert_eq!(&heard(&Ok(reply(status, false, body))), expected);
    }

    fn open(said: &str) -> Heard {
        Heard::Open(said.to_owned())
    }

    fn closed(said: &str) -> Heard {
        Heard::Closed(said.to_owned())
    }

    fn undecided(said: &str, seconds: u64) -> Heard {
        Heard::Undecided(said.to_owned(), Duration::from_secs(seconds))
    }

    #[test]
    fn success_opens_unless_the_body_says_otherwise() {
        check(200, "", &open("HTTP 200 OK"));
        check(204, "", &open("HTTP 204 No Content"));
        check(200, "fine <b>", &open("HTTP 200 OK"));
        check(200, r#"{"a": 1}"#, &open("HTTP 200 OK"));
        check(200, r#"{"status": 7}"#, &open("HTTP 200 OK"));
        check(
            200,
            r#" {"status": "Succeeded"}"#,
            &open("HTTP 200 OK: Succeeded"),
        );
        check(
            200,
            r#"{"status": "Failed", "message": "p99 is \u001b[31m2 s"}"#,
            &closed("HTTP 200 OK: p99 is [31m2 s"),
        );
        check(
            200,
            r#"{"status": "FAILED"}"#,
            &closed("HTTP 200 OK: FAILED"),
        );
    }

    #[test]
    fn in_progress_asks_again_within_bounds() {
        check(
            200,
            r#"{"status": "InProgress"}"#,
            &undecided("HTTP 200 OK: InProgress", 30),
        );
        check(
            202,
            r#"{"status": "IN_PROGRESS", "message": "40 %"}"#,
            &undecided("HTTP 202 Accepted: 40 %", 30),
        );
        for (asked, got) in [
            ("0", 1),
            ("-5", 30),
            ("1", 1),
            ("77", 77),
            ("1e3", 30),
            ("86400", 300),
        ] {
            let body = format!(r#"{{"status": "InProgress", "retryAfterSeconds": {asked}}}"#);
            check(200, &body, &undecided("HTTP 200 OK: InProgress", got));
        }
    }

    #[test]
    fn hooks_made_for_ecs_are_understood_and_nothing_else_they_say_opens() {
        check(
            200,
            r#"{"hookStatus": "SUCCEEDED"}"#,
            &open("HTTP 200 OK: SUCCEEDED"),
        );
        check(
            200,
            r#"{"hookStatus": "FAILED", "message": "smoke test"}"#,
            &closed("HTTP 200 OK: smoke test"),
        );
        let again = |body: &str, seconds| {
            check(200, body, &undecided("HTTP 200 OK: IN_PROGRESS", seconds));
        };
        again(r#"{"hookStatus": "IN_PROGRESS"}"#, 30);
        again(r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 45}"#, 45);
        again(r#"{"hookStatus": "IN_PROGRESS", "callBackDelay": 0}"#, 1);
        again(r#"{"status": "IN_PROGRESS", "callBackDelay": 9999}"#, 300);
        for other in [r#""OK""#, "true", "null", r#"["SUCCEEDED"]"#] {
            let said = format!(
                "HTTP 200 OK: hookStatus is {other}; expected SUCCEEDED, FAILED or IN_PROGRESS"
            );
            check(
                200,
                &format!(r#"{{"hookStatus": {other}, "status": "Succeeded"}}"#),
                &closed(&said),
            );
        }
    }

    #[test]
    fn broken_json_opens_nothing() {
        let not_json = "HTTP 200 OK, but its body should be JSON and isn't";
        check(200, r#"{"status": "Fai"#, &closed(not_json));
        let deep = "{\"a\":".repeat(10_000);
        check(200, &deep, &closed(not_json));
        assert_eq!(heard(&Ok(reply(200, true, "<html>"))), closed(not_json));
        assert_eq!(heard(&Ok(reply(200, true, "\"ok\""))), open("HTTP 200 OK"));
    }

    #[test]
    fn refusals_close_and_troubles_are_tried_again() {
        check(403, "", &closed("HTTP 403 Forbidden"));
        check(
            422,
            r#"{"message": "freeze"}"#,
            &closed("HTTP 422 Unprocessable Entity: freeze"),
        );
        check(
            302,
            "",
            &closed("HTTP 302 Found, and redirects are not followed"),
        );
        check(
            400,
            r#"{"status": "InProgress"}"#,
            &closed("HTTP 400 Bad Request: InProgress"),
        );
        check(
            503,
            "",
            &Heard::Unwell("HTTP 503 Service Unavailable".to_owned(), Duration::ZERO),
        );
        let mut busy = reply(429, false, "");
        busy.head.retry_after = Some(Duration::from_secs(9));
        let unwell = Heard::Unwell(
            "HTTP 429 Too Many Requests".to_owned(),
            Duration::from_secs(9),
        );
        assert_eq!(heard(&Ok(busy)), unwell);
        let forbidden = WebError::Forbidden([169, 254, 169, 254].into());
        let said = "169.254.169.254 is a link-local or metadata address, which is never asked";
        assert_eq!(heard(&Err(forbidden)), closed(said));
        let broken = WebError::Broken("gone".to_owned());
        assert_eq!(
            heard(&Err(broken)),
            Heard::Unwell("gone".to_owned(), Duration::ZERO)
        );
    }

    #[test]
    fn a_long_message_is_cut() {
        let body = format!(
            r#"{{"status": "Failed", "message": "{}"}}"#,
            "ä".repeat(5_000)
        );
        let Heard::Closed(said) = heard(&Ok(reply(200, true, &body))) else {
            panic!()
        };
        assert_eq!(
            said.chars().count(),
            "HTTP 200 OK: ".len() + MESSAGE_CHARS_MAX
        );
    }
}
