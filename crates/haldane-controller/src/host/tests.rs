//! Tests of the host in a world of its own: objects as data, and the least of what Kubernetes does with them.

mod alone;
mod crash;
mod pairs;
mod routed;
mod split;
mod stateful;
mod terminal;
mod world;
