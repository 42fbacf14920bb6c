//! The port of /scale with TLS 1.3, for those who show a certificate of an authority that is named. It knows files and
//! connections, and no answer.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::serve::Listener;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::warn;

/// Timeout of a handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes at once. KEDA makes a few, and others shall not take memory.
const AT_A_TIME: usize = 64;

/// The files of the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// The certificate, with its chain.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
    /// The authorities of the clients' certificates.
    pub(crate) clients: PathBuf,
}

/// The settings of a server by files, which are read at each handshake. So a renewed certificate is used.
#[derive(Debug)]
pub(crate) struct Identity {
    files: Files,
    /// What was read last.
    last: Mutex<Arc<ServerConfig>>,
}

impl Identity {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// A file cannot be read, or the key does not belong to the certificate.
    pub(crate) fn read(files: Files) -> anyhow::Result<Self> {
        let last = Mutex::new(Arc::new(files.load()?));
        Ok(Self { files, last })
    }

    fn now(&self) -> Arc<ServerConfig> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match self.files.load() {
            Ok(read) => *last = Arc::new(read),
            // The files may be of two renewals for a moment.
            Err(error) => warn!(error = format!("{error:#}"), "the certificate cannot be read again"),
        }
        Arc::clone(&last)
    }
}

impl Files {
    fn load(&self) -> anyhow::Result<ServerConfig> {
        let Self { certificate, key, clients } = self;
        let mut authorities = RootCertStore::empty();
        for authority in certificates(clients)? {
            authorities.add(authority).with_context(|| format!("using {}", clients.display()))?;
        }
        let verifier = WebPkiClientVerifier::builder(Arc::new(authorities)).build();
        let verifier = verifier.with_context(|| format!("using {}", clients.display()))?;
        let private = PrivateKeyDer::from_pem_file(key).with_context(|| format!("reading {}", key.display()))?;
        ServerConfig::builder_with_protocol_versions(&[&TLS13])
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(certificate)?, private)
            .with_context(|| format!("using the certificate {} with the key {}", certificate.display(), key.display()))
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.with_context(|| format!("reading {}", path.display()))
}

/// Connections whose handshake is done.
#[derive(Debug)]
pub(crate) struct Door {
    address: SocketAddr,
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Door {
    /// Takes connections of a listener until it is dropped. A slow handshake holds up no other.
    ///
    /// # Errors
    /// The listener has no address.
    pub(crate) fn of(listener: TcpListener, identity: Identity) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (done, connections) = mpsc::channel(AT_A_TIME);
        tokio::spawn(shake_hands(listener, Arc::new(identity), done));
        Ok(Self { address, connections })
    }
}

async fn shake_hands(
    mut listener: TcpListener,
    identity: Arc<Identity>,
    done: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        // It retries what fails.
        let accepted = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = done.closed() => return,
        };
        let (stream, peer) = accepted;
        let (identity, done) = (Arc::clone(&identity), done.clone());
        tokio::spawn(async move {
            let handshake = TlsAcceptor::from(identity.now()).accept(stream);
            match timeout(HANDSHAKE, handshake).await.map_err(io::Error::from).flatten() {
                // The other end is gone after a shutdown.
                Ok(stream) => drop(done.send((stream, peer)).await),
                Err(error) => warn!(%peer, %error, "a client of /scale is refused"),
            }
            drop(place);
        });
    }
}

impl Listener for Door {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // The task that sends them ends after this value does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    use tempfile::TempDir;

    use super::*;

    /// An authority, and its certificate.
    struct Authority(Issuer<'static, KeyPair>, String);

    impl Authority {
        fn new() -> Self {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::default();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let pem = parameters.self_signed(&key).unwrap().pem();
            Self(Issuer::new(parameters, key), pem)
        }

        /// A certificate and its key.
        fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
            parameters.extended_key_usages = vec![usage];
            (parameters.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
        }

        /// Writes the files of a server whose clients have certificates of this authority, too.
        fn write(&self, folder: &Path) -> Files {
            let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
            let files = Files {
                certificate: folder.join("tls.crt"),
                key: folder.join("tls.key"),
                clients: folder.join("ca.crt"),
            };
            for (path, text) in [(&files.certificate, &certificate), (&files.key, &key), (&files.clients, &self.1)] {
                std::fs::write(path, text).unwrap();
            }
            files
        }

        /// A client that trusts this authority and has a certificate of `other`.
        fn client(&self, other: Option<&Self>) -> reqwest::Client {
            let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
            let client = client.tls_certs_only([reqwest::Certificate::from_pem(self.1.as_bytes()).unwrap()]);
            let identity = other.map(|other| {
                let (certificate, key) = other.issue(ExtendedKeyUsagePurpose::ClientAuth);
                reqwest::Identity::from_pem((certificate + &key).as_bytes()).unwrap()
            });
            match identity {
                Some(identity) => client.identity(identity).build().unwrap(),
                None => client.build().unwrap(),
            }
        }
    }

    /// A port whose answer is a word, its number, and the folder of its files.
    async fn start(authority: &Authority) -> (u16, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Door::of(listener, Identity::read(authority.write(folder.path())).unwrap()).unwrap();
        let port = Listener::local_addr(&door).unwrap().port();
        let router = Router::new().route("/scale", get(async || "three"));
        tokio::spawn(async move { axum::serve(door, router).await });
        (port, folder)
    }

    async fn ask(client: &reqwest::Client, scheme: &str, port: u16) -> Result<String, reqwest::Error> {
        client.get(format!("{scheme}://localhost:{port}/scale")).send().await?.error_for_status()?.text().await
    }

    #[tokio::test]
    async fn only_a_client_with_a_certificate_of_the_authority_has_an_answer() {
        let (ours, other) = (Authority::new(), Authority::new());
        let (port, _folder) = start(&ours).await;
        assert_eq!(ask(&ours.client(Some(&ours)), "https", port).await.unwrap(), "three");
        ask(&ours.client(None), "https", port).await.unwrap_err();
        ask(&ours.client(Some(&other)), "https", port).await.unwrap_err();
        ask(&ours.client(Some(&ours)), "http", port).await.unwrap_err();
    }

    #[tokio::test]
    async fn renewed_files_are_used_and_broken_ones_are_not() {
        let (old, new) = (Authority::new(), Authority::new());
        let (port, folder) = start(&old).await;
        std::fs::write(folder.path().join("tls.crt"), "half a fi").unwrap();
        assert_eq!(ask(&old.client(Some(&old)), "https", port).await.unwrap(), "three");
        new.write(folder.path());
        assert_eq!(ask(&new.client(Some(&new)), "https", port).await.unwrap(), "three");
        ask(&new.client(Some(&old)), "https", port).await.unwrap_err();
        ask(&old.client(Some(&new)), "https", port).await.unwrap_err();
    }

    #[tokio::test]
    async fn clients_that_say_nothing_hold_up_no_other() {
        let ours = Authority::new();
        let (port, _folder) = start(&ours).await;
        let mut silent = Vec::new();
        for _ in 1..AT_A_TIME {
            silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        assert_eq!(ask(&ours.client(Some(&ours)), "https", port).await.unwrap(), "three");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = Authority::new().write(folder.path());
        for path in [&files.certificate, &files.key, &files.clients] {
            let text = std::fs::read(path).unwrap();
            std::fs::write(path, "no PEM").unwrap();
            let error = format!("{:#}", Identity::read(files.clone()).unwrap_err());
            assert!(error.contains(&path.display().to_string()), "{error}");
            std::fs::write(path, text).unwrap();
        }
    }
}
