//! Percent-encoding, base64 and the forms of an address: what turns values into parts of a request.

use crate::error::{Error, Result};

/// The longest address; the longest that proxies and servers commonly take.
const ADDRESS_BYTES_MAX: usize = 2_048;

/// The address of a provider: scheme, host, and a path before the provider's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    text: String,
    host_at: usize,
}

impl Address {
    /// Reads an address such as `https://prometheus.example:9090/prefix`.
    ///
    /// Credentials in it are refused: addresses are shown to people.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim().trim_end_matches('/');
        let refuse = |why: &str| Err(Error::invalid("the address", why));
        let lower = text.to_ascii_lowercase();
        let host_at = match (lower.starts_with("https://"), lower.starts_with("http://")) {
            (true, _) => "https://".len(),
            (_, true) => "http://".len(),
            (false, false) => return refuse("expected http:// or https://"),
        };
        let rest = text.get(host_at..).unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default();
        if host.contains('@') {
            return refuse("expected no user or password in it; name a secret instead");
        }
        if host.is_empty() || host.starts_with(':') {
            return refuse("expected a host");
        }
        if text.len() > ADDRESS_BYTES_MAX {
            return refuse("expected at most 2048 bytes");
        }
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '\\');
        if text.contains(is_odd) {
            return refuse("expected no spaces, query or fragment");
        }
        Ok(Self {
            text: text.to_owned(),
            host_at,
        })
    }

    /// Returns the address with `path` and the encoded `parameters`.
    pub(crate) fn join(&self, path: &str, parameters: &[(&str, &str)]) -> String {
        let mut url = format!("{}{path}", self.text);
        if !parameters.is_empty() {
            url.push('?');
            url.push_str(&form(parameters));
        }
        url
    }

    /// Returns host and port.
    pub(crate) fn host(&self) -> &str {
        let rest = self.text.get(self.host_at..).unwrap_or_default();
        rest.split('/').next().unwrap_or_default()
    }
}

/// Returns parameters in the form `a=b&c=d`, spaces as `%20`.
pub(crate) fn form(parameters: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(&percent(name));
        text.push('=');
        text.push_str(&percent(value));
    }
    text
}

/// Encodes every byte that is not unreserved (RFC 3986), so that the result fits in any part of a URL.
pub(crate) fn percent(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Returns bytes in lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns bytes in base64 with padding (RFC 4648 §4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for digit in 0..4_usize {
            let shift = 18_u32.saturating_sub(u32::try_from(digit).unwrap_or(0).saturating_mul(6));
            let index = usize::try_from((bits >> shift) & 63).unwrap_or_default();
            let is_used = digit <= chunk.len();
            let letter = ALPHABET.get(index).copied().filter(|_| is_used);
            text.push(char::from(letter.unwrap_or(b'=')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vectors_of_base64_hold() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn whatever_is_in_a_parameter_stays_in_it() {
        let address = Address::parse("http://h:1/p/").unwrap();
        let url = address.join("/q", &[("query", "a{b=\"c&d\"} + 1\n"), ("ä", "")]);
        assert_eq!(
            url,
            "http://h:1/p/q?query=a%7Bb%3D%22c%26d%22%7D%20%2B%201%0A&%C3%A4="
        );
        assert_eq!(address.host(), "h:1");
    }

    #[test]
    fn an_address_that_hides_something_is_refused() {
        for text in [
            "",
            "h:9090",
            "ftp://h",
            "http://",
            "http://:80",
            "http://user:password@h",
            "http://h/?a=b",
            "http://h/#a",
            "http://h\\@evil",
            "http://h /",
            "http://h\r\nX: y",
            &format!("http://{}", "h".repeat(3_000)),
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
        for text in ["http://h", "HTTPS://H/", "https://[::1]:9090/a/b"] {
            assert!(Address::parse(text).is_ok(), "{text:?}");
        }
    }
}
