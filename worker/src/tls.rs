//! The TLS provider of the process, ring, and a client certificate that is read again.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use tracing::warn;

/// Installs ring as the provider. Every TLS client in the process uses it. Later calls have no effect.
pub fn install_provider() {
    // An error means that this function has installed the provider before; no other code installs one.
    let _ = ring::default_provider().install_default();
}

/// A client certificate in files, which are read at each handshake. So a connection after a renewal of the certificate
/// uses the new one.
#[derive(Debug)]
pub struct ClientCertificate {
    certificate: PathBuf,
    key: PathBuf,
    /// What was read last.
    last: Mutex<Arc<CertifiedKey>>,
}

impl ClientCertificate {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// A file cannot be read, or the key does not belong to the certificate.
    pub fn read(certificate: PathBuf, key: PathBuf) -> anyhow::Result<Self> {
        let last = Mutex::new(Arc::new(load(&certificate, &key)?));
        Ok(Self { certificate, key, last })
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match load(&self.certificate, &self.key) {
            Ok(read) => *last = Arc::new(read),
            // The two files may be of two renewals for a moment.
            Err(error) => warn!(error = format!("{error:#}"), "the client certificate cannot be read again"),
        }
        Some(Arc::clone(&last))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn load(certificate: &PathBuf, key: &PathBuf) -> anyhow::Result<CertifiedKey> {
    let reading = |path: &PathBuf| format!("reading {}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate).with_context(|| reading(certificate))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().with_context(|| reading(certificate))?;
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| reading(key))?;
    let (certificate, key) = (certificate.display(), key.display());
    CertifiedKey::from_der(chain, private, &ring::default_provider())
        .with_context(|| format!("using the certificate {certificate} with the key {key}"))
}
