//! Requests to web services of the user's: hooks, receivers of news, and metric systems.
//!
//! Whoever is behind a URL may be slow, broken, hostile or somebody else than was meant, so that everything has a limit: the time
//! of a request with its whole answer, and the size of the answer. Redirects aren't followed and no proxy is asked, for then the
//! address that is looked at here isn't the one that gets the request. Each request has a connection of its own: what a server says
//! beyond its answer is never taken for the answer to the next question.
//!
//! **Invariant:** no request goes to a link-local address, where clouds serve their machines' credentials, whatever name led there.
//!
//! **Invariant:** no text made here holds a URL, because the paths and queries of hooks are secrets; [`host`] is all that is told.

pub(crate) mod tls;

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use haldane_source::{Method, Request as Question, target::is_allowed_target};
use jiff::Timestamp;
use reqwest::{
    Client, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use rustls::RootCertStore;
use serde_json::Value;
use tokio::{sync::OnceCell, time::timeout};

use self::tls::Tls;

/// How long a request may take, from the look-up of the name to the last byte of the answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How large an answer may be: a status and a message for people, with much room.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Sends requests; clones share one client.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    /// Made by the first request, for most daemons never send one and the system's certificates take time and memory.
    client: Arc<OnceCell<Client>>,
    timeout: Duration,
    tls: Arc<Tls>,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// How long the other side wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the body is said to be JSON.
    pub(crate) is_json: bool,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// The whole answer of a metric system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    /// Those that are texts.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    /// The URL is none, or none of the web.
    #[error("the URL is none of the web")]
    Url,
    /// A header can't be sent.
    #[error("a header is not one line of text")]
    Header,
    /// The name leads to an address that isn't asked.
    #[error("{0} is a link-local or metadata address, which is never asked")]
    Forbidden(IpAddr),
    /// It took too long.
    #[error("no whole answer within {} ms", .0.as_millis())]
    Slow(Duration),
    /// The answer is larger than so many bytes.
    #[error("the answer has more than {0} bytes")]
    Large(usize),
    /// There is no client.
    #[error("no TLS on this machine: {0}")]
    Setup(String),
    /// A certificate or key is none.
    #[error("{what} is not usable: {why}")]
    Certificate {
        /// Which.
        what: &'static str,
        /// What was expected.
        why: String,
    },
    /// Nobody is there, or the connection broke.
    #[error("{0}")]
    Broken(String),
}

/// Looks up names, and leaves out addresses that must not be asked.
#[derive(Debug)]
struct Lookup;

/// The address that was left out.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{0} is never asked")]
struct Forbidden(IpAddr);

impl Web {
    /// Returns what sends requests that may take so long.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self::with_tls(timeout, Tls::default())
    }

    /// Returns what sends requests that may take so long, with certificates of the user's.
    pub(crate) fn with_tls(timeout: Duration, tls: Tls) -> Self {
        Self {
            client: Arc::default(),
            timeout,
            tls: Arc::new(tls),
        }
    }

    /// Posts something to be known; how the answer goes on after its head doesn't matter.
    ///
    /// # Errors
    /// See [`WebError`].
    pub(crate) async fn tell(&self, url: &str, body: &Value) -> Result<Head, WebError> {
        let send = async { Ok(head(&self.send(url, body).await?)) };
        timeout(self.timeout, send)
            .await
            .unwrap_or(Err(WebError::Slow(self.timeout)))
    }

    /// Posts a question and returns the whole answer.
    ///
    /// # Errors
    /// See [`WebError`].
    pub(crate) async fn ask(&self, url: &str, body: &Value) -> Result<Reply, WebError> {
        let ask = async {
            let response = self.send(url, body).await?;
            Ok(Reply {
                head: head(&response),
                body: read(response, ANSWER_BYTES_MAX).await?,
            })
        };
        timeout(self.timeout, ask)
            .await
            .unwrap_or(Err(WebError::Slow(self.timeout)))
    }

    /// Sends a question to a metric system and returns the whole answer, of at most so many bytes.
    ///
    /// # Errors
    /// See [`WebError`].
    pub(crate) async fn fetch(
        &self,
        question: &Question,
        bytes_max: usize,
    ) -> Result<Fetched, WebError> {
        let fetch = async {
            let method = match question.method {
                Method::Get => reqwest::Method::GET,
                Method::Post => reqwest::Method::POST,
                Method::Put => reqwest::Method::PUT,
                Method::Delete => reqwest::Method::DELETE,
            };
            let url = target(&question.url)?;
            let client = self.client().await?;
            let mut request = client.request(method, url);
            for header in &question.headers {
                // Logs of the client's layers leave such values out.
                let value = HeaderValue::from_str(header.value.expose());
                let mut value = value.map_err(|_| WebError::Header)?;
                value.set_sensitive(true);
                request = request.header(header.name.as_str(), value);
            }
            if !question.body.is_empty() {
                request = request.body(question.body.clone());
            }
            let response = request.send().await?;
            let headers = response.headers().iter();
            Ok(Fetched {
                status: response.status(),
                headers: headers
                    .filter_map(|(name, value)| {
                        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
                    })
                    .collect(),
                body: read(response, bytes_max).await?,
            })
        };
        timeout(self.timeout, fetch)
            .await
            .unwrap_or(Err(WebError::Slow(self.timeout)))
    }

    async fn send(&self, url: &str, body: &Value) -> Result<Response, WebError> {
        let url = target(url)?;
        let client = self.client().await?;
        client
            .post(url)
            .json(body)
            .send()
            .await
            .map_err(WebError::from)
    }

    async fn client(&self) -> Result<&Client, WebError> {
        let tls = Arc::clone(&self.tls);
        let client = async {
            let made = tokio::task::spawn_blocking(move || {
                let roots = tls.roots()?.unwrap_or_else(system_roots);
                make_client(roots, &tls)
            });
            let made = made.await;
            made.map_err(|error| WebError::Setup(error.to_string()))?
        };
        self.client.get_or_try_init(|| client).await
    }
}

impl WebError {
    /// Whether the same request may succeed later.
    pub(crate) const fn is_passing(&self) -> bool {
        match self {
            Self::Slow(_) | Self::Broken(_) => true,
            Self::Url
            | Self::Header
            | Self::Forbidden(_)
            | Self::Large(_)
            | Self::Setup(_)
            | Self::Certificate { .. } => false,
        }
    }
}

impl From<reqwest::Error> for WebError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_builder() {
            return Self::Url;
        }
        // The outer errors name layers of the client, and the URL; the innermost one says what happened.
        let mut cause: Option<&(dyn Error + 'static)> = error.source();
        let mut text = "the request failed".to_owned();
        while let Some(inner) = cause {
            if let Some(Forbidden(address)) = inner.downcast_ref() {
                return Self::Forbidden(*address);
            }
            let known = inner.downcast_ref().and_then(tls::explain);
            text = known.map_or_else(|| inner.to_string(), str::to_owned);
            // An I/O error answers with the source of what it wraps, and leaves out what it wraps.
            let wrapped = inner
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            cause = wrapped
                .map(|wrapped| wrapped as _)
                .or_else(|| inner.source());
        }
        Self::Broken(text)
    }
}

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (forbidden, allowed): (Vec<_>, Vec<_>) = found
                .into_iter()
                .partition(|found| is_forbidden(found.ip()));
            match forbidden.first() {
                Some(first) if allowed.is_empty() => Err(Forbidden(first.ip()).into()),
                Some(_) | None => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Returns the host of a URL for people, without the secrets around it.
pub(crate) fn host(url: &str) -> String {
    let url = Url::parse(url).ok();
    url.and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_else(|| "(no host)".to_owned())
}

/// Reads the certificates that this machine trusts.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (known, _) = roots.add_parsable_certificates(found.certs);
    if known == 0 {
        // Plain HTTP works without them.
        tracing::warn!(errors = ?found.errors, "No root certificates on this machine; HTTPS to webhooks will fail");
    }
    roots
}

fn make_client(roots: RootCertStore, tls: &Tls) -> Result<Client, WebError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| WebError::Setup(error.to_string()))?
        .with_root_certificates(roots);
    let client = Client::builder()
        .tls_backend_preconfigured(tls.identify(config)?)
        .dns_resolver(Lookup)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("haldane/", env!("CARGO_PKG_VERSION")));
    client
        .build()
        .map_err(|error| WebError::Setup(error.to_string()))
}

fn head(response: &Response) -> Head {
    let headers = response.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // `application/json`, `application/problem+json; charset=utf-8`
    let media = text(CONTENT_TYPE)
        .and_then(|media| media.split(';').next())
        .unwrap_or_default()
        .trim();
    let is_json = media.to_ascii_lowercase().ends_with("json");
    Head {
        status: response.status(),
        retry_after: retry_after(headers, Timestamp::now()),
        is_json,
    }
}

fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, WebError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > bytes_max {
            return Err(WebError::Large(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads a URL; one that names a forbidden address is refused.
fn target(url: &str) -> Result<Url, WebError> {
    let url = Url::parse(url).map_err(|_| WebError::Url)?;
    // A literal address isn't looked up, so `Lookup` never sees it.
    match literal(&url).filter(|address| is_forbidden(*address)) {
        Some(address) => Err(WebError::Forbidden(address)),
        None => Ok(url),
    }
}

/// Returns the address that a URL names literally.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Whether an address belongs to the link or to a cloud's metadata service, in any of its spellings.
fn is_forbidden(address: IpAddr) -> bool {
    !is_allowed_target(address)
}

#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;
