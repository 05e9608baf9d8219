//! Where services listen and where their versions run: addresses, host names and paths.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::tree::shorten;

/// The longest host name, as in DNS.
const HOST_BYTES_MAX: usize = 253;

/// The port of an `http://` URL without one.
const HTTP_PORT: u16 = 80;

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address to listen on.
    #[error(
        "cannot read {text:?}; expected an address such as 0.0.0.0:8080, [::1]:8080, :8080 or 8080"
    )]
    Listen {
        /// The text, cut to a length that fits a message.
        text: String,
    },
    /// Not the URL of a server.
    #[error("cannot read {text:?}; expected a URL of host and port such as http://127.0.0.1:9001")]
    Url {
        /// The text, cut to a length that fits a message.
        text: String,
    },
    /// A URL of a server that speaks TLS.
    #[error(
        "https:// to a version is not supported yet; expected a URL such as http://127.0.0.1:9001"
    )]
    Https,
    /// Not a host or a wildcard.
    #[error("cannot read {text:?}; expected a host such as auth.example.com or *.example.com")]
    Host {
        /// The text, cut to a length that fits a message.
        text: String,
    },
    /// Not a path.
    #[error("cannot read {text:?}; expected a path such as /auth")]
    Path {
        /// The text, cut to a length that fits a message.
        text: String,
    },
}

/// A server where a version runs already: a host and a port, reached by plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstream {
    host: String,
    port: u16,
}

/// The host that a request must name: exact, or `*.example.com` for the hosts one level below. In lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(String);

impl Upstream {
    /// Returns the host: a name, an IPv4 address, or an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl HostPattern {
    /// Returns the pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what must follow the first label and its dot, where the pattern begins with `*.`.
    #[must_use]
    pub fn wildcard_of(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }
}

impl FromStr for Upstream {
    type Err = AddressError;

    /// Reads `http://host:port`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.starts_with("https://") {
            return Err(AddressError::Https);
        }
        let error = || AddressError::Url {
            text: shorten(text),
        };
        let authority = text.strip_prefix("http://").ok_or_else(error)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if let Some(rest) = authority.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(error)?;
            let host = host.parse::<Ipv6Addr>().map_err(|_| error())?.to_string();
            let port = if port.is_empty() {
                Some(HTTP_PORT)
            } else {
                port.strip_prefix(':').and_then(port_of)
            };
            return Ok(Self {
                host,
                port: port.filter(|port| *port != 0).ok_or_else(error)?,
            });
        }
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (
                host,
                port_of(port).filter(|port| *port != 0).ok_or_else(error)?,
            ),
            None => (authority, HTTP_PORT),
        };
        if is_host(host) {
            Ok(Self {
                host: host.to_ascii_lowercase(),
                port,
            })
        } else {
            Err(error())
        }
    }
}

impl FromStr for HostPattern {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        if is_host(name) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(AddressError::Host {
                text: shorten(text),
            })
        }
    }
}

impl fmt::Display for Upstream {
    /// Writes `http://host:port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Upstream {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Upstream> for String {
    fn from(upstream: Upstream) -> Self {
        upstream.to_string()
    }
}

impl TryFrom<String> for HostPattern {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(host: HostPattern) -> Self {
        host.0
    }
}

/// Reads an address to listen on; without a host it is all IPv4 interfaces, `localhost` is 127.0.0.1.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let host = match host {
        "" => Ipv4Addr::UNSPECIFIED,
        "localhost" => Ipv4Addr::LOCALHOST,
        _ => {
            return Err(AddressError::Listen {
                text: shorten(text),
            });
        }
    };
    let port = port_of(port).ok_or_else(|| AddressError::Listen {
        text: shorten(text),
    })?;
    Ok(SocketAddr::new(IpAddr::V4(host), port))
}

/// Reads a path; nothing but what can stand in the first line of a request.
pub(crate) fn parse_path(text: &str) -> Result<String, AddressError> {
    let is_allowed = |c: char| {
        c.is_ascii_graphic()
            && !matches!(
                c,
                '?' | '#' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'
            )
    };
    if text.starts_with('/') && text.chars().all(is_allowed) {
        return Ok(text.to_owned());
    }
    Err(AddressError::Path {
        text: shorten(text),
    })
}

fn port_of(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Whether a text is a DNS name or an IPv4 address; underscores are allowed, because container names have them.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(is_allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_read() {
        for (text, expected) in [
            ("0.0.0.0:8080", Some("0.0.0.0:8080")),
            ("[::1]:8080", Some("[::1]:8080")),
            (":8080", Some("0.0.0.0:8080")),
            ("8080", Some("0.0.0.0:8080")),
            ("0", Some("0.0.0.0:0")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("65536", None),
            ("+80", None),
            ("", None),
            (":", None),
            ("example.com:80", None),
            ("::1:8080", None),
        ] {
            let read = parse_listen(text).ok().map(|address| address.to_string());
            assert_eq!(read.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn urls_of_servers_are_read_and_written_back() {
        for (text, expected) in [
            ("http://127.0.0.1:9001", Some("http://127.0.0.1:9001")),
            ("http://Auth.internal/", Some("http://auth.internal:80")),
            ("http://[::1]:9001", Some("http://[::1]:9001")),
            ("http://my_auth", Some("http://my_auth:80")),
            ("http://a:0", None),
            ("http://a:b", None),
            ("http://a/b", None),
            ("http://u:p@a:80", None),
            ("http://", None),
            ("http://[::1", None),
            ("a:80", None),
            ("https://a", None),
        ] {
            let read = text.parse::<Upstream>().ok();
            assert_eq!(
                read.as_ref().map(ToString::to_string).as_deref(),
                expected,
                "{text:?}"
            );
            if let Some(read) = read {
                assert_eq!(read.to_string().parse(), Ok(read));
            }
        }
        assert_eq!("https://a".parse::<Upstream>(), Err(AddressError::Https));
    }

    #[test]
    fn hosts_are_exact_or_one_wildcard() {
        assert_eq!(
            "*.Example.com"
                .parse::<HostPattern>()
                .unwrap()
                .wildcard_of(),
            Some("example.com")
        );
        assert_eq!(
            "a.example.com"
                .parse::<HostPattern>()
                .unwrap()
                .wildcard_of(),
            None
        );
        for text in [
            "",
            "*",
            "*.",
            "a.*.com",
            "a..b",
            "a:80",
            "-a.b",
            "a b",
            &"a.".repeat(200),
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_begin_with_a_slash_and_have_no_query() {
        for (text, is_path) in [
            ("/", true),
            ("/a/b-c.d", true),
            ("", false),
            ("a", false),
            ("/a?b", false),
            ("/a b", false),
            ("/ü", false),
        ] {
            assert_eq!(parse_path(text).is_ok(), is_path, "{text:?}");
        }
    }
}
