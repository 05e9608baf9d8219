//! Releases of a Deployment behind a router, mostly an HTTPRoute of Contour, with requests through it.

mod deaths;
mod faults;
mod hands;
mod load;
mod others;
mod plain;
mod refused;
mod road;
mod routers;
mod scaled;
pub(crate) mod shop;
