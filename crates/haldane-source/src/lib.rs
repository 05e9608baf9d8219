//! Metric sources: what to ask a metric system, and what its answer means.
//!
//! Each provider is one file with two pure functions: `request`, which gives the HTTP request to a query over a [`Window`], and
//! `parse`, which turns the [`Answer`] into a [`Reading`] or an [`Error`]. Who sends the request, with which timeout and how often
//! again, is the host's matter. [`query::Query`] is their union, so that the host needs one way only.
//!
//! From readings of counters [`delta`] makes what was counted between two scrapes, ready to become the counts of a judge. [`traffic`]
//! asks for all that is counted of a version's requests at once.
//! [`template`] holds the queries of the usual meshes and ingresses, and puts names into queries so that no name breaks out.
//!
//! **Invariant:** nothing in this crate reads the outside world or the clock, or panics; a value that is missing, null, NaN, stale,
//! partial or of another type is told as that, and never becomes a number; secrets are never shown.

pub mod answer;
pub mod auth;
pub mod delta;
pub mod error;
pub mod histogram;
pub mod provider;
pub mod query;
pub mod reading;
pub mod request;
pub mod secret;
pub mod target;
pub mod template;
pub mod traffic;
pub mod window;

mod encoding;
mod json;
mod jsonpath;
mod sigv4;
#[cfg(test)]
mod testing;

pub use answer::Answer;
pub use auth::Auth;
pub use error::{Error, Retry};
pub use histogram::Histogram;
pub use query::Query;

pub use reading::{Absence, Labels, Point, Reading, Value};
pub use request::{Header, Method, Request};
pub use secret::Secret;
pub use window::Window;
