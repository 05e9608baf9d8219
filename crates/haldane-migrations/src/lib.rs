//! Schema changes: which statements of a migration are safe while two versions of a service run beside each other.
//!
//! Files of SQL go in, and each statement comes out as one of the [`Sort`]s, with the rule that says so. **Invariant:** what can't be read
//! is never taken for safe.

mod check;
mod dialect;
mod judge;
mod known;
mod naming;
mod rule;
mod script;
mod token;

pub use crate::{
    check::{Advice, Checked, File, Finding, Judged, Phase, Settings, check},
    dialect::{Dialect, ServerVersion, VersionError},
    naming::is_number_of,
    rule::{ALL as RULES, Rule, Sort},
    script::Direction,
};
