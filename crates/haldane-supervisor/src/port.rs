//! Ports: each replica gets a loopback port of its own, and keeps it over restarts if it can.
//!
//! The port is found by binding to port 0 and closing again. Until the child binds it, another program may take it; then the
//! child fails, and its next start finds the port in use and gets another.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, TcpListener},
};

/// How many ports the kernel may offer that belong to one of our replicas already, before we give up.
const TRIES_MAX: usize = 64;

/// Returns `wanted` if it is free, else another free loopback port; never one in `taken`.
pub(crate) fn choose(wanted: Option<u16>, taken: &BTreeSet<u16>) -> io::Result<u16> {
    let is_free = |port: &u16| {
        !taken.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
    };
    if let Some(port) = wanted.filter(|port| *port != 0).filter(is_free) {
        return Ok(port);
    }
    // The refused ones stay bound until the end, so that the kernel offers different ones.
    let mut refused = Vec::new();
    for _ in 0..TRIES_MAX {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if !taken.contains(&port) {
            return Ok(port);
        }
        refused.push(listener);
    }
    Err(io::Error::from(io::ErrorKind::AddrInUse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_or_taken_is_replaced() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let used = listener.local_addr().unwrap().port();
        assert_ne!(choose(Some(used), &BTreeSet::new()).unwrap(), used);
        drop(listener);
        assert_eq!(choose(Some(used), &BTreeSet::new()).unwrap(), used);
        assert_ne!(choose(Some(used), &BTreeSet::from([used])).unwrap(), used);
    }

    #[test]
    fn many_choices_are_all_different() {
        let mut taken = BTreeSet::new();
        for _ in 0..200 {
            let port = choose(None, &taken).unwrap();
            assert!(taken.insert(port));
        }
    }
}
