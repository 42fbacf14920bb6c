//! Free ports of 127.0.0.1. They are below the range of outgoing connections, so none of these takes a port between
//! the check and its use. A process never gets the same port twice.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A port that no process listens on.
pub(crate) fn free() -> u16 {
    // Two parallel runs start at different ports.
    let start = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).unwrap_or(0);
    loop {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(step < COUNT, "no port from {FIRST} on is free");
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
