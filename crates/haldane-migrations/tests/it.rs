//! What is said of statements, tried on a real server.

#![expect(
    clippy::disallowed_methods,
    reason = "waiting for a real server has a deadline"
)]

// Only code under this attribute counts as test code for the lints.
#[cfg(test)]
mod it {
    mod postgres;
    mod server;
}
