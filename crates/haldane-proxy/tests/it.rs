//! The data plane over real sockets: endpoints, proxy and clients in one process.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::indexing_slicing,
    reason = "clippy exempts test functions, but not the functions that they share"
)]

#[path = "it/attacks.rs"]
mod attacks;
#[path = "it/circle.rs"]
mod circle;
#[path = "it/descriptors.rs"]
mod descriptors;
#[path = "it/endpoint.rs"]
mod endpoint;
#[path = "it/faults.rs"]
mod faults;
#[path = "it/health.rs"]
mod health;
#[path = "it/life.rs"]
mod life;
#[path = "it/limits.rs"]
mod limits;
#[path = "it/rig.rs"]
mod rig;
#[path = "it/routing.rs"]
mod routing;
#[path = "it/saturation.rs"]
mod saturation;
#[path = "it/streaming.rs"]
mod streaming;
#[path = "it/vectors.rs"]
mod vectors;
#[path = "it/wire.rs"]
mod wire;
