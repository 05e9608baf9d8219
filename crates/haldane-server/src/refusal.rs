//! Every answer that is not a success: a status, and a [`Refused`] that says why.

use std::error::Error;

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use haldane_api::http::Refused;
use haldane_engine::handle::RequestError;

use crate::{
    extras::LogError,
    limit::{APPLY_BODY_BYTES_MAX, BODY_BYTES_MAX},
};

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: Refused,
}

impl Refusal {
    /// The request makes no sense.
    pub(crate) fn invalid(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// There is no such thing.
    pub(crate) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// The path exists, but not with this method.
    pub(crate) fn method_not_allowed(error: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, error)
    }

    /// The daemon can't do it now.
    pub(crate) fn unavailable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    /// Whether it is about the size of the body.
    pub(crate) fn is_too_large(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE
    }

    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            body: Refused {
                error: error.into(),
                problems: Vec::new(),
            },
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        let text = error.to_string();
        match error {
            RequestError::NotFound(_) => Self::not_found(text),
            RequestError::Invalid { error, problems } => Self {
                status: StatusCode::BAD_REQUEST,
                body: Refused { error, problems },
            },
            RequestError::Refused(_) => Self::new(StatusCode::CONFLICT, text),
            RequestError::Store(_) | RequestError::Unavailable => Self::unavailable(text),
        }
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        match &error {
            LogError::NotFound(_) => Self::not_found(error.to_string()),
            LogError::Unreadable(_) => Self::unavailable(error.to_string()),
        }
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body is too large; expected at most {APPLY_BODY_BYTES_MAX} bytes for /v1/apply and {BODY_BYTES_MAX} bytes elsewhere"
                ),
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body is not JSON; expected the header `content-type: application/json`",
            ),
            _ => Self::invalid(format!("the body is wrong: {}", cause(&rejection))),
        }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::invalid(format!("the query is wrong: {}", cause(&rejection)))
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::invalid(format!("the path is wrong: {}", cause(&rejection)))
    }
}

/// Returns the text that names the place and what was expected there, without the rejection's own preface.
fn cause(rejection: &dyn Error) -> String {
    rejection
        .source()
        .map_or_else(|| rejection.to_string(), ToString::to_string)
}
