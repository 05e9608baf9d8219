//! What all routers are tried with: tables of cases, properties, and the documentation.

pub(crate) mod case;
mod documentation;
mod property;
