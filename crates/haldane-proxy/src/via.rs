//! Tells requests that have been here before, so that a service that leads back to this proxy is answered instead of turned for ever.
//!
//! Each request that is forwarded says in `Via` (RFC 9110, 7.6.3) that it came by here, under a name that no other proxy has, not even
//! one of the same program on the same machine. So a chain of several is fine, and a circle is seen by the first one that it reaches
//! again, whatever lies between.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderValue, Version, header::VIA};

/// The name of one running proxy. Chance, not a seed, because two proxies may well be given the same seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pseudonym(String);

/// What requests carry that came by here. Each thread has its own, so that copies share nothing with other threads.
#[derive(Debug)]
pub(crate) struct Via {
    pseudonym: Pseudonym,
    http_10: HeaderValue,
    http_11: HeaderValue,
}

impl Pseudonym {
    pub(crate) fn new() -> Self {
        let token = RandomState::new().hash_one("haldane");
        Self(format!("haldane-{token:016x}"))
    }
}

impl Via {
    pub(crate) fn new(pseudonym: Pseudonym) -> Self {
        let line = |version| {
            HeaderValue::try_from(format!("{version} {}", pseudonym.0))
                .unwrap_or(HeaderValue::from_static("1.1 haldane"))
        };
        Self {
            http_10: line("1.0"),
            http_11: line("1.1"),
            pseudonym,
        }
    }

    /// Whether a request has been here before.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let name = self.pseudonym.0.as_bytes();
        headers
            .get_all(VIA)
            .iter()
            .any(|line| line.as_bytes().windows(name.len()).any(|at| at == name))
    }

    /// Notes that a request came by here.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap, version: Version) {
        let line = if version < Version::HTTP_11 {
            &self.http_10
        } else {
            &self.http_11
        };
        headers.append(VIA, line.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_again_whatever_stands_around_the_name() {
        let (ours, other) = (Via::new(Pseudonym::new()), Via::new(Pseudonym::new()));
        let mut headers = HeaderMap::new();
        assert!(!ours.is_in(&headers));
        other.add_to(&mut headers, Version::HTTP_11);
        assert!(!ours.is_in(&headers), "another proxy's name is not ours");
        ours.add_to(&mut headers, Version::HTTP_10);
        assert!(ours.is_in(&headers) && other.is_in(&headers));

        // Proxies on the way may join the lines and add comments.
        let joined = format!("1.1 a (b, c), 1.1 {} (d),1.1 \u{e9}", ours.pseudonym.0);
        let mut headers = HeaderMap::new();
        headers.insert(VIA, HeaderValue::from_bytes(joined.as_bytes()).unwrap());
        assert!(ours.is_in(&headers));
    }

    #[test]
    fn the_version_is_that_of_the_request() {
        let via = Via::new(Pseudonym("haldane-x".to_owned()));
        let mut headers = HeaderMap::new();
        via.add_to(&mut headers, Version::HTTP_10);
        via.add_to(&mut headers, Version::HTTP_11);
        let lines: Vec<_> = headers.get_all(VIA).iter().collect();
        assert_eq!(lines, ["1.0 haldane-x", "1.1 haldane-x"]);
    }
}
