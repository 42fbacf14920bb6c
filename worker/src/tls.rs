//! The TLS provider of the process: ring. Every TLS client in the process uses it.

/// Installs ring as the provider. Later calls have no effect.
pub fn install_provider() {
    // An error means that this function has installed the provider before; no other code installs one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
