//! Keeping a user on the canary: a cookie that its answers set, and a route for requests that bring it.
//!
//! Weights are drawn per request, so without it users change sides. The cookie counts only while the canary has weight: after an abort
//! nobody is bound to it.

use haldane_core::plan::{HeaderMatch, HeaderRoute, ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{pattern::literally, split::Split};

/// Keeps who got the canary there, by a cookie, as long as the canary has weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sticky {
    /// The name of the cookie; `haldane-` and the release's name if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// How long a browser keeps it, in seconds; 3600 if left out.
    #[serde(default = "hour")]
    pub max_age_seconds: u32,
}

impl Sticky {
    /// Returns how the values of our cookie begin.
    pub(crate) fn begin(&self, split: &Split) -> String {
        match &self.cookie {
            Some(name) => format!("{name}=canary"),
            None => format!("haldane-{}=canary", split.release),
        }
    }

    /// Returns the value of `Set-Cookie` on the canary's answers, if it is to be set.
    pub(crate) fn set_cookie(&self, split: &Split) -> Option<String> {
        let (begin, age) = (self.begin(split), self.max_age_seconds);
        let is_weighed = !split.traffic.weight.is_zero();
        is_weighed.then(|| format!("{begin}; Max-Age={age}; Path=/; HttpOnly"))
    }

    /// Returns the route of the requests that bring the cookie, if it counts.
    pub(crate) fn route(&self, split: &Split) -> Option<HeaderRoute> {
        let cookie = literally(&self.begin(split));
        let is_weighed = !split.traffic.weight.is_zero();
        is_weighed.then(|| HeaderRoute {
            name: "sticky".to_owned(),
            matches: vec![HeaderMatch {
                header: "cookie".to_owned(),
                value: ValueMatch::Regex(format!("(.*; *)?{cookie}(;.*)?")),
            }],
        })
    }
}

const fn hour() -> u32 {
    3600
}
