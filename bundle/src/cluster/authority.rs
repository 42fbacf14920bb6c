//! The certificate authority of a cluster, and the certificates that it issues. It signs, and keeps nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// Years for which certificates are valid: longer than a cluster that nobody renews exists.
const YEARS: i32 = 10;
/// Seconds of a mean year.
const YEAR: u64 = 31_556_952;

/// A certificate and its private key, in PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    Server,
    Client,
    /// A server that also calls others of its kind.
    Both,
}

/// An authority that can sign.
pub(super) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Makes an authority.
    pub(super) fn make() -> Result<Identity> {
        let mut parameters = parameters("Slipway cluster", &[])?;
        // It signs servers and clients, and no other authority.
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("make the key of the authority")?;
        let certificate = parameters.self_signed(&key).context("sign the authority's certificate")?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// An authority that was made before, here or by somebody else.
    pub(super) fn of(identity: &Identity) -> Result<Self> {
        let key = KeyPair::from_pem(&identity.key).context("read the key of the authority")?;
        let issuer = Issuer::from_ca_cert_pem(&identity.certificate, key);
        Ok(Self(issuer.context("read the certificate of the authority")?))
    }

    /// Issues a certificate for these names, which may be addresses.
    pub(super) fn issue(&self, subject: &str, names: &[String], usage: Usage) -> Result<Identity> {
        let issued = || -> Result<Identity> {
            let mut parameters = parameters(subject, names)?;
            parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            parameters.extended_key_usages = match usage {
                Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
                Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
                Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            };
            parameters.use_authority_key_identifier_extension = true;
            let key = KeyPair::generate()?;
            let certificate = parameters.signed_by(&key, &self.0)?;
            Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
        };
        issued().with_context(|| format!("issue the certificate of {subject}"))
    }
}

fn parameters(subject: &str, names: &[String]) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, subject);
    // From a year ago: the clocks of hosts differ.
    let year = 1970 + i32::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / YEAR)?;
    parameters.not_before = date_time_ymd(year - 1, 1, 1);
    parameters.not_after = date_time_ymd(year + YEARS, 1, 1);
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::server::WebPkiClientVerifier;

    use super::*;

    fn roots(authority: &Identity) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(authority)).unwrap();
        Arc::new(roots)
    }

    fn der(identity: &Identity) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()
    }

    fn is_server(certificate: &Identity, name: &str, authority: &Identity) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots(authority), provider).build().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&der(certificate), &[], &name, &[], UnixTime::now()).is_ok()
    }

    fn is_client(certificate: &Identity, authority: &Identity) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority), provider).build().unwrap();
        verifier.verify_client_cert(&der(certificate), &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_certificate_is_valid_for_its_names_its_use_and_its_authority_alone() {
        let [authority, other] = [(); 2].map(|()| Authority::make().unwrap());
        let names = ["postgres.storage.svc", "127.0.0.1"].map(str::to_owned);
        let issue = |usage| Authority::of(&authority).unwrap().issue("postgres", &names, usage).unwrap();
        let server = issue(Usage::Server);
        assert!(is_server(&server, "postgres.storage.svc", &authority) && is_server(&server, "127.0.0.1", &authority));
        assert!(!is_server(&server, "redis.storage.svc", &authority) && !is_server(&server, "127.0.0.2", &authority));
        assert!(!is_server(&server, "127.0.0.1", &other) && !is_client(&server, &authority));
        let client = issue(Usage::Client);
        assert!(is_client(&client, &authority) && !is_client(&client, &other));
        assert!(!is_server(&client, "127.0.0.1", &authority));
        let both = issue(Usage::Both);
        assert!(is_server(&both, "127.0.0.1", &authority) && is_client(&both, &authority));
        assert!(!is_server(&authority, "127.0.0.1", &authority));
    }
}
