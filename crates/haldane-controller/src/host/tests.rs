//! Tests of the host in a world of its own: objects as data, and the least of what Kubernetes does with them.

mod alone;
mod autoscaled;
mod claims;
mod crash;
mod faults;
mod frugal;
mod groups;
mod hooks;
mod judged;
mod pairs;
mod routed;
mod split;
mod stateful;
mod terminal;
mod world;
