//! Random numbers of the distributions that the simulator needs.

use rand::RngExt as _;
use rand::rngs::ChaCha8Rng;

/// From 0 to 1, without 1.
pub(super) fn uniform(random: &mut ChaCha8Rng) -> f64 {
    random.random::<f64>()
}

/// Exponential with the mean 1.
pub(super) fn exponential(random: &mut ChaCha8Rng) -> f64 {
    -(1.0 - uniform(random)).ln()
}

/// Lognormal with the mean 1, by the standard deviation of its logarithm.
pub(super) fn lognormal(random: &mut ChaCha8Rng, sigma: f64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(random)).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * uniform(random)).cos();
    (sigma * normal - sigma * sigma / 2.0).exp()
}
