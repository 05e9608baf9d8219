//! The host of the decision core: it gathers inputs, steps, makes the decision durable, and brings the effects about.
//!
//! What touches the world is behind a port (a trait in [`port`]); the driver loop knows nothing else.
//!
//! **Invariant:** no effect that could send more traffic to a version begins before its decision is durable.

pub mod calendar;
pub mod driver;
pub mod evidence;
pub mod handle;
pub mod port;
mod record;
pub mod recording;
pub mod store;
