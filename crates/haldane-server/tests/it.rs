//! The server on real sockets, with a driver at the other end of the engine's channels and a plain HTTP client before it.

// Only code under this attribute counts as test code for the lints.
#[cfg(test)]
mod it {
    mod client;
    mod document;
    mod event;
    mod log;
    mod open;
    mod refusal;
    mod route;
    mod socket;
    mod stop;
    mod world;
}
