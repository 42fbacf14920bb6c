//! Certificates, and a proxy that ends TLS in front of a server: it may ask its clients for certificates, and change
//! whose it accepts.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A private certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// Creates an authority.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let pem = parameters.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(parameters, key), pem })
    }

    /// Writes the authority's own certificate, for `SSL_CERT_FILE`.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = folder.join(name);
        std::fs::write(&path, &self.pem).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// A server's certificate for this host, or a client's.
    pub(crate) fn identity(&self) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let names = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
        let mut parameters = CertificateParams::new(names)?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The settings of a server with a certificate of this authority. With `clients`, every client needs a certificate
    /// of that authority.
    pub(crate) fn server(&self, clients: Option<&Authority>) -> Result<ServerConfig> {
        let identity = self.identity()?;
        let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
        let builder = ServerConfig::builder();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes())?)?;
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        // The collector and Temporal speak HTTP/2.
        config.alpn_protocols.push(b"h2".to_vec());
        Ok(config)
    }
}

/// A proxy that ends TLS. Dropping it closes its port and its connections.
#[derive(Debug)]
pub(crate) struct TlsProxy {
    /// Its port.
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

struct Shared {
    upstream: u16,
    config: Mutex<Arc<ServerConfig>>,
    connections: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "to {}", self.upstream)
    }
}

impl TlsProxy {
    /// Starts a proxy to a port.
    pub(crate) async fn start(upstream: u16, config: ServerConfig) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("taking a port for a TLS proxy")?;
        let port = listener.local_addr()?.port();
        let config = Mutex::new(Arc::new(config));
        let shared = Arc::new(Shared { upstream, config, connections: Mutex::default() });
        let mut server = JoinSet::new();
        let accepting = Arc::clone(&shared);
        server.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let config = Arc::clone(&lock(&accepting.config));
                lock(&accepting.connections).spawn(serve(client, config, accepting.upstream));
            }
        });
        Ok(Self { port, shared, _server: server })
    }

    /// Closes every connection, and serves new ones with other settings.
    pub(crate) fn restart(&self, config: ServerConfig) {
        *lock(&self.shared.config) = Arc::new(config);
        lock(&self.shared.connections).abort_all();
    }
}

async fn serve(client: TcpStream, config: Arc<ServerConfig>, upstream: u16) {
    let carry = async {
        let mut client = TlsAcceptor::from(config).accept(client).await?;
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await
    };
    // A client that is refused, or a connection that is closed, is part of a test.
    let _ended = carry.await;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
