//! The proxy's own answers, which say that they are its own (RFC 9209) and why.
//!
//! **Invariant:** every response with a status that no endpoint gave carries `proxy-status: haldane; error=…`. Those that the HTTP
//! parser gives (400, 414, 431 to what is no request) get it on their way out, see [`crate::connection`].

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use crate::{
    body::Source,
    count::{Fault, Limit},
    sanitize::Refusal,
};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What a response says of a request that is wrong in itself.
pub(crate) const BAD_REQUEST: &str = "haldane; error=http_request_error";

/// Why the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Refused(Refusal),
    NoRoute,
    BodyTooLarge,
    BodyStalled,
    BodyBroken,
    /// The service has no endpoint.
    Unavailable,
    /// An endpoint didn't answer the knock in time.
    ConnectTimeout,
    OutOfResources,
    Fault(Fault),
}

impl Answer {
    /// Returns the limit that the client met, if it met one.
    pub(crate) const fn limit(self) -> Option<Limit> {
        match self {
            Self::Refused(Refusal::Loop) => Some(Limit::Loop),
            Self::Refused(_) => Some(Limit::BadRequest),
            Self::NoRoute => Some(Limit::NotFound),
            Self::BodyTooLarge => Some(Limit::BodySize),
            Self::BodyStalled => Some(Limit::BodyTime),
            Self::OutOfResources => Some(Limit::Resources),
            Self::BodyBroken | Self::Unavailable | Self::ConnectTimeout | Self::Fault(_) => None,
        }
    }

    pub(crate) fn into_response(self) -> Response<Source> {
        let (status, proxy_status, text) = self.parts();
        let mut response = Response::new(Source::Own(Some(Bytes::from_static(text.as_bytes()))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(PROXY_STATUS, HeaderValue::from_static(proxy_status));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// Returns status, `proxy-status` and text.
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Refused(refusal) => refusal.parts(),
            Self::NoRoute => (
                StatusCode::NOT_FOUND,
                "haldane; error=destination_not_found",
                "no service for this host and path\n",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                BAD_REQUEST,
                "the body is too large\n",
            ),
            Self::BodyStalled => (
                StatusCode::REQUEST_TIMEOUT,
                BAD_REQUEST,
                "the body did not arrive in time\n",
            ),
            Self::BodyBroken => (StatusCode::BAD_REQUEST, BAD_REQUEST, "the body broke off\n"),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "haldane; error=destination_unavailable",
                "no endpoint is available\n",
            ),
            Self::ConnectTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "haldane; error=connection_timeout",
                "the endpoint did not accept in time\n",
            ),
            Self::OutOfResources => (
                StatusCode::SERVICE_UNAVAILABLE,
                "haldane; error=proxy_internal_error",
                "the proxy is out of resources\n",
            ),
            Self::Fault(fault) => fault_parts(fault),
        }
    }
}

const fn fault_parts(fault: Fault) -> (StatusCode, &'static str, &'static str) {
    match fault {
        Fault::Connect => (
            StatusCode::BAD_GATEWAY,
            "haldane; error=connection_refused",
            "the endpoint refused the connection\n",
        ),
        Fault::Reset => (
            StatusCode::BAD_GATEWAY,
            "haldane; error=connection_terminated",
            "the endpoint closed the connection\n",
        ),
        Fault::Timeout => (
            StatusCode::GATEWAY_TIMEOUT,
            "haldane; error=http_response_timeout",
            "the endpoint did not answer in time\n",
        ),
        Fault::Body => (
            StatusCode::BAD_GATEWAY,
            "haldane; error=http_response_incomplete",
            "the response broke off\n",
        ),
        Fault::Saturated => (
            StatusCode::SERVICE_UNAVAILABLE,
            "haldane; error=connection_limit_reached",
            "the endpoint has all connections that it may have\n",
        ),
        Fault::Protocol => (
            StatusCode::BAD_GATEWAY,
            "haldane; error=http_protocol_error",
            "the endpoint did not answer with HTTP/1.1\n",
        ),
    }
}

impl Refusal {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        let (status, text) = match self {
            Self::TwoHosts => (StatusCode::BAD_REQUEST, "more than one host\n"),
            Self::NoHost => (StatusCode::BAD_REQUEST, "no host\n"),
            Self::BadHost => (StatusCode::BAD_REQUEST, "the host is not valid\n"),
            Self::BadTarget => (StatusCode::BAD_REQUEST, "the target is not valid\n"),
            Self::Connect => (StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served\n"),
            Self::Coding => (
                StatusCode::NOT_IMPLEMENTED,
                "no transfer coding but chunked is served\n",
            ),
            Self::Loop => {
                return (
                    StatusCode::LOOP_DETECTED,
                    "haldane; error=proxy_loop_detected",
                    "the service leads back to this proxy\n",
                );
            }
        };
        (status, BAD_REQUEST, text)
    }
}
