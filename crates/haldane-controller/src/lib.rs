//! The Kubernetes home: objects are read from watches, decisions are made by the core and kept in the status of a `Release`, and what
//! follows from them is written.
//!
//! A [`Host`](turn::Host) is pure: it sees the objects of one release and the time, and says what to write. The runtime around it, a
//! [`Controller`], watches, writes, leads and reports. So each crash between two writes can be played in a test. A [`client`] is how
//! people look at releases and give them commands.
//!
//! **Invariants:** a decision is in the status before anything follows from it, except that traffic may be taken from the canary first;
//! nothing is written without the lease; nothing is read by polling.

pub mod asker;
pub mod client;
pub mod host;
pub mod kinds;
pub mod meter;
pub mod release;
pub mod terminal;
pub mod turn;
pub mod view;

mod api;
mod cache;
mod carrier;
mod controller;
mod endpoint;
mod events;
mod gate;
mod hub;
mod interest;
mod lease;
mod metrics;
mod queue;
mod shadow;
mod watch;
mod worker;
mod writer;

pub use crate::controller::{Config, Controller, ControllerError, run};
