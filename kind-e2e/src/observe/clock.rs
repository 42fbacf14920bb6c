//! The run's clock: seconds since it began, and where that lies in calendar time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Where seconds are counted from.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    unix: f64,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
        Self { origin: Instant::now(), unix }
    }

    /// Seconds since the run began. It never goes back.
    pub fn now(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }

    /// When `second` of the run is.
    pub fn instant(&self, second: f64) -> Instant {
        self.origin + Duration::from_secs_f64(second.max(0.0))
    }

    /// When the run began, in seconds since 1970.
    pub fn began_unix(&self) -> f64 {
        self.unix
    }

    /// The run's second at which `unix` seconds had passed since 1970.
    pub fn from_unix(&self, unix: f64) -> f64 {
        unix - self.unix
    }
}
