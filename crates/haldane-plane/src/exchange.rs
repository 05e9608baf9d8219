//! One HTTP request over one connection, from outside and from inside of a plane alike.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// How large an answer may be.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// Where a pod says which version it is.
const VERSION_HEADER: &str = "x-version";

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: StatusCode,
    /// What the pod says its version is; empty if no pod has answered.
    pub version: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

/// What a conversation fails with.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends a request, to the host that its address names unless it names one itself, and reads the whole answer.
pub(crate) async fn exchange(
    stream: TcpStream,
    mut request: Request<Bytes>,
) -> Result<Reply, Failure> {
    if !request.headers().contains_key(header::HOST) {
        let host = HeaderValue::try_from(stream.peer_addr()?.to_string())?;
        request.headers_mut().insert(header::HOST, host);
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request.map(Full::new)).await?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, REPLY_BYTES_MAX)
        .collect()
        .await?
        .to_bytes();
    let version = parts.headers.get(VERSION_HEADER).map(HeaderValue::to_str);
    Ok(Reply {
        status: parts.status,
        version: version.transpose()?.unwrap_or_default().to_owned(),
        body: String::from_utf8(body.into())?,
        headers: parts.headers,
    })
}
