//! The server on real sockets, with a driver at the other end of the engine's channels and a plain HTTP client before it.

#[path = "it/client.rs"]
mod client;
#[path = "it/document.rs"]
mod document;
#[path = "it/event.rs"]
mod event;
#[path = "it/log.rs"]
mod log;
#[path = "it/open.rs"]
mod open;
#[path = "it/refusal.rs"]
mod refusal;
#[path = "it/route.rs"]
mod route;
#[path = "it/socket.rs"]
mod socket;
#[path = "it/stop.rs"]
mod stop;
#[path = "it/world.rs"]
mod world;
