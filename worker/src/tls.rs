//! The one TLS provider of the process: ring. Connections to S3 ask the process for it.

/// Makes ring the provider; later calls change nothing.
pub fn install_provider() {
    // An error says that a provider is installed already, and this function is the only one that does that.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
