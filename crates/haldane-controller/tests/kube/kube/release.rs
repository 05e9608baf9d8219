//! Releases of a Deployment behind an HTTPRoute of Contour, with requests through its Envoy.

mod deaths;
mod faults;
mod hands;
mod load;
mod others;
mod plain;
pub(crate) mod shop;
