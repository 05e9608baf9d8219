//! What all routers are tried with: tables of cases, and properties.

pub(crate) mod case;
mod property;
