//! Which version a request asks for, before the split has its say. Pure.
//!
//! An override by the client comes first, then the rules in their order. What neither decides goes to the split.
//!
//! **Invariant:** an override never leads to an arm that isn't reachable by override; it leads to stable then.

use haldane_core::VersionName;
use http::{HeaderMap, header::COOKIE};

use crate::table::{Matcher, Override, ServiceRoute, ValueMatch};

/// An arm that was not drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The client asked for it by name.
    Asked(usize),
    /// A rule gives it.
    Ruled(usize),
}

/// Returns the arm that an override or a rule gives the request, if any.
pub(crate) fn decide(
    service: &ServiceRoute,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Option<Choice> {
    let asked = override_of(service.overrides(), headers, query);
    asked
        .and_then(|wish| arm_for(service, wish).map(Choice::Asked))
        .or_else(|| rule_for(service, headers, query).map(Choice::Ruled))
}

/// Returns what the client wishes: the header's value, else the cookie's, else the query's.
fn override_of<'a>(
    names: &'a Override,
    headers: &'a HeaderMap,
    query: Option<&'a str>,
) -> Option<&'a str> {
    let header = names
        .header
        .as_ref()
        .and_then(|name| headers.get(name)?.to_str().ok());
    let cookie = || {
        names
            .cookie
            .as_ref()
            .and_then(|name| cookies(headers, name).next())
    };
    let query = || {
        names
            .query
            .as_ref()
            .and_then(|name| params(query, name).next())
    };
    header.or_else(cookie).or_else(query)
}

/// Returns the arm for a wish; nothing for a wish that names neither a version nor a choice.
fn arm_for(service: &ServiceRoute, wish: &str) -> Option<usize> {
    let stable = service.fallback();
    let is_reachable = |at: usize| {
        service
            .arms()
            .get(at)
            .is_some_and(|arm| arm.is_reachable_by_override)
    };
    match wish.trim() {
        "false" | "never" => Some(stable),
        "true" | "always" => {
            let canary = (0..service.arms().len()).find(|at| *at != stable && is_reachable(*at));
            Some(canary.unwrap_or(stable))
        }
        wish => {
            let named = |version: &VersionName| version.as_str() == wish;
            let at = service.arms().iter().position(|arm| named(&arm.version))?;
            Some(if is_reachable(at) { at } else { stable })
        }
    }
}

fn rule_for(service: &ServiceRoute, headers: &HeaderMap, query: Option<&str>) -> Option<usize> {
    let is_met = |condition: &Matcher| condition.is_met(headers, query);
    service
        .rules()
        .iter()
        .find(|(all_of, _)| all_of.iter().all(is_met))
        .map(|(_, arm)| *arm)
}

/// Returns the values of the cookie `name`.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Returns the values of the query parameter `name`.
fn params<'a>(query: Option<&'a str>, name: &'a str) -> impl Iterator<Item = &'a str> {
    query
        .unwrap_or_default()
        .split('&')
        .filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix('='))
}

impl Matcher {
    fn is_met(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        match self {
            Self::Header(name, value) => headers
                .get_all(name)
                .iter()
                .any(|header| value.is_met(header.as_bytes())),
            Self::Cookie(name, value) => {
                cookies(headers, name).any(|cookie| value.is_met(cookie.as_bytes()))
            }
            Self::Query(name, value) => {
                params(query, name).any(|param| value.is_met(param.as_bytes()))
            }
        }
    }
}

impl ValueMatch {
    fn is_met(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Present => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use haldane_core::Weight;
    use http::{HeaderName, HeaderValue};

    use super::{
        Choice::{Asked, Ruled},
        *,
    };
    use crate::table::{Arm, Rule, ServiceSpec, Timeouts};

    fn arm(version: &str, bps: u16, is_reachable_by_override: bool) -> Arm {
        Arm {
            version: version.parse().unwrap(),
            share: Weight::try_from_bps(bps).unwrap(),
            endpoints: vec![],
            is_reachable_by_override,
        }
    }

    fn rule(matcher: Matcher, to: &str) -> Rule {
        Rule {
            all_of: vec![matcher],
            to: to.parse().unwrap(),
        }
    }

    /// Arms: 0 is v1 (stable), 1 is v2 (not reachable by override), 2 is v3 (reachable).
    fn service() -> ServiceRoute {
        let header = HeaderName::from_static("x-team");
        let rules = vec![
            rule(
                Matcher::Header(header.clone(), ValueMatch::Exact("red".into())),
                "v2",
            ),
            rule(Matcher::Cookie("beta".into(), ValueMatch::Present), "v3"),
            rule(
                Matcher::Query("lang".into(), ValueMatch::Prefix("de".into())),
                "v2",
            ),
            Rule {
                all_of: vec![
                    Matcher::Header(header, ValueMatch::Exact("blue".into())),
                    Matcher::Query("debug".into(), ValueMatch::Exact("1".into())),
                ],
                to: "v3".parse().unwrap(),
            },
        ];
        ServiceRoute::try_new(ServiceSpec {
            name: "s".parse().unwrap(),
            arms: vec![
                arm("v1", 10_000, false),
                arm("v2", 0, false),
                arm("v3", 0, true),
            ],
            fallback: "v1".parse().unwrap(),
            overrides: Override {
                header: Some(HeaderName::from_static("x-canary")),
                cookie: Some("canary".into()),
                query: Some("canary".into()),
            },
            rules,
            unmeasured: vec![],
            conversions: vec![],
            timeouts: Timeouts::default(),
            body_bytes_max: u64::MAX,
        })
        .unwrap()
    }

    fn check(headers: &[(&'static str, &str)], query: &str, expected: Option<Choice>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let query = (!query.is_empty()).then_some(query);
        assert_eq!(
            decide(&service(), &map, query),
            expected,
            "{headers:?} {query:?}"
        );
    }

    #[test]
    fn an_override_leads_only_to_reachable_arms() {
        check(&[("x-canary", "true")], "", Some(Asked(2)));
        check(&[("x-canary", "always")], "", Some(Asked(2)));
        check(&[("x-canary", "v3")], "", Some(Asked(2)));
        check(&[("x-canary", "v2")], "", Some(Asked(0)));
        check(&[("x-canary", "v1")], "", Some(Asked(0)));
        check(&[("x-canary", "false")], "", Some(Asked(0)));
        check(&[("x-canary", "never")], "", Some(Asked(0)));
    }

    #[test]
    fn an_override_that_means_nothing_is_ignored() {
        check(&[("x-canary", "banana")], "", None);
        check(&[("x-canary", "")], "", None);
        check(&[("x-canary", "v9"), ("x-team", "red")], "", Some(Ruled(1)));
    }

    #[test]
    fn header_comes_before_cookie_before_query() {
        check(
            &[("x-canary", "never"), ("cookie", "canary=v3")],
            "canary=v3",
            Some(Asked(0)),
        );
        check(
            &[("cookie", "a=b; canary=never")],
            "canary=v3",
            Some(Asked(0)),
        );
        check(&[], "a=1&canary=v3", Some(Asked(2)));
    }

    #[test]
    fn names_match_whole() {
        check(
            &[("cookie", "xcanary=v3; canaryx=v3")],
            "xcanary=v3&canaryx=v3",
            None,
        );
    }

    #[test]
    fn an_override_comes_before_the_rules() {
        check(
            &[("x-canary", "never"), ("x-team", "red")],
            "",
            Some(Asked(0)),
        );
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        check(&[("x-team", "red")], "", Some(Ruled(1)));
        check(
            &[("x-team", "red"), ("cookie", "beta=1")],
            "",
            Some(Ruled(1)),
        );
        check(&[("cookie", "beta=")], "", Some(Ruled(2)));
        check(&[], "lang=de-AT", Some(Ruled(1)));
        check(&[], "lang=fr", None);
    }

    #[test]
    fn all_conditions_of_a_rule_must_hold() {
        check(&[("x-team", "blue")], "", None);
        check(&[("x-team", "blue")], "debug=1", Some(Ruled(2)));
    }
}
