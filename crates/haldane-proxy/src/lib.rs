//! The data plane of Haldane: matches requests to services, splits them between versions, forwards them over kept connections, and
//! counts what happened to each version.
//!
//! The host builds a [`Table`] and publishes it; each request reads it once. Everything else the host learns from [`Proxy::read`].
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use haldane_core::Weight;
//! use haldane_proxy::{
//!     Arm, Config, Endpoint, Override, PathPrefix, Proxy, Route, ServiceRoute, ServiceSpec, Table, Timeouts,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let arm = |version: &str, percent, port: u16| -> Result<Arm, Box<dyn std::error::Error>> {
//!     Ok(Arm {
//!         version: version.parse()?,
//!         share: Weight::from_percent(percent),
//!         endpoints: vec![Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)))],
//!         is_reachable_by_override: true,
//!     })
//! };
//! let shop = ServiceRoute::try_new(ServiceSpec {
//!     name: "shop".parse()?,
//!     arms: vec![arm("v1", 95, 9001)?, arm("v2", 5, 9002)?],
//!     fallback: "v1".parse()?,
//!     overrides: Override { header: Some("x-canary".parse()?), cookie: None, query: None },
//!     rules: vec![],
//!     unmeasured: vec!["/health".parse()?],
//!     timeouts: Timeouts::default(),
//!     conversions: vec![],
//!     body_bytes_max: 10 * 1024 * 1024,
//! })?;
//! let route = Route { listener: None, host: None, path: PathPrefix::root(), service: "shop".parse()? };
//!
//! let proxy = Proxy::start(Config::default())?;
//! proxy.publish(Table::try_new(vec![route], vec![shop])?);
//! assert_eq!(proxy.read().versions.len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! **Invariants:**
//! - One request in is one request out, with one framing; nothing that an endpoint may have begun to act on is sent again, unless it
//!   has no body and an idempotent method.
//! - A version with share zero gets no request, unless a rule or a permitted override leads there.
//! - Traffic moves from the canary to stable when the canary can't serve it, never the other way.
//! - No burst opens more connections to an endpoint than it may have; what must wait for one, waits for a bounded time.
//! - A request that comes by a second time is refused.
//! - Publishing a table loses no request and touches no listener.
//! - No lock on the way of a request is shared between threads.

mod body;
mod config;
mod connection;
mod count;
mod decide;
mod endpoint;
mod exposition;
mod forward;
mod health;
mod histogram;
mod lane;
mod listener;
mod pool;
mod proxy;
mod refuse;
mod sanitize;
mod socket;
mod split;
mod table;
mod via;
mod worker;

pub use config::{
    BODY_BYTES_MAX, CLIENT_IDLE_TIMEOUT, CLIENT_WRITE_TIMEOUT, CONNECTIONS_MAX, Config,
    HEADER_BYTES_MAX, HEADER_READ_TIMEOUT, Limits, UPSTREAM_CONNECTIONS_MAX, UPSTREAM_IDLE_MAX,
    UPSTREAM_IDLE_TIMEOUT, UPSTREAM_WAITING_MAX,
};
pub use count::{
    CONVERSIONS_MAX, Conversion, ConversionReading, Fault, FaultCounts, Limit, Reading,
    VersionReading,
};
pub use endpoint::{AuthorityError, Endpoint};
pub use exposition::{
    DELIMITED_TYPE, Delimited, NativeHistogram, TEXT_TYPE, encode_metrics, prefers_delimited,
    render_metrics,
};
pub use health::{Health, HealthChecker, Target};
pub use histogram::Histogram;
pub use listener::ListenError;
pub use proxy::{Drained, Proxy, StartError};
pub use table::{
    Arm, BODY_IDLE_TIMEOUT, CONNECT_TIMEOUT, HostPattern, Matcher, Override, PathPrefix,
    PatternError, RESPONSE_HEAD_TIMEOUT, Route, Rule, ServiceError, ServiceRoute, ServiceSpec,
    Table, TableError, Timeouts, ValueMatch,
};
