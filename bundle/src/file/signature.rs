//! Checks who made a bundle: a minisign signature (Ed25519) of its `SHA256SUMS`, from which every other byte follows.
//!
//! The signature is a file of its own. A signature inside the bundle would be a member that its checksums do not know.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use minisign_verify::{PublicKey, Signature};

use super::{SUMS, verify};

/// The file with a bundle's signature, if none is named.
pub fn signature_file(bundle: &Path) -> PathBuf {
    let mut name = OsString::from(bundle);
    name.push(".minisig");
    name.into()
}

/// Checks that the owner of a key signed a bundle. Answers the trusted comment. Only the checksums are compared: whether
/// the rest is as they say, [`verify`](super::verify()) finds out. `key` is a public key or a file with one.
///
/// # Errors
/// When the key or the signature cannot be read, or the signature is of another key or of other checksums.
pub fn check_signature(bundle: &Path, key: &str, signature: &Path) -> Result<String> {
    let key = match fs::read_to_string(key) {
        Ok(text) => PublicKey::decode(&text),
        Err(_) => PublicKey::from_base64(key),
    };
    let key = key.map_err(|error| anyhow!("read the public key: {error}"))?;
    let named = signature.display();
    let text = fs::read_to_string(signature).with_context(|| format!("read the signature {named}"))?;
    let sums = verify::begin(bundle)?.text;
    check(&sums, &key, &text).with_context(|| format!("{named} is no signature of {SUMS} in {}", bundle.display()))
}

fn check(sums: &[u8], key: &PublicKey, signature: &str) -> Result<String> {
    let signature = Signature::decode(signature).map_err(|error| anyhow!("{error}"))?;
    key.verify(sums, &signature, true).map_err(|error| anyhow!("{error}"))?;
    Ok(signature.trusted_comment().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::save;
    use crate::file::verify::tests::bundle;

    /// A key and its signature of the text `test`, from minisign's own documentation.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n\
        trusted comment: timestamp:1555779966\tfile:test\n\
        QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==";
    const OTHER_KEY: &str = "RWQf6LRCGA9i5wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn only_the_signature_of_these_bytes_by_this_key_is_taken() {
        let key = PublicKey::from_base64(KEY).unwrap();
        assert_eq!(check(b"test", &key, SIGNATURE).unwrap(), "timestamp:1555779966\tfile:test");
        check(b"tesT", &key, SIGNATURE).unwrap_err();
        check(b"test", &PublicKey::from_base64(OTHER_KEY).unwrap(), SIGNATURE).unwrap_err();
        check(b"test", &key, &SIGNATURE.replace("file:test", "file:best")).unwrap_err();
        check(b"test", &key, "").unwrap_err();
    }

    #[test]
    fn bundle_that_somebody_else_signed_is_refused_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.tar");
        save(&bundle("x").1, &file).unwrap();
        let signature = signature_file(&file);
        let error = |key: &str| {
            let error = format!("{:#}", check_signature(&file, key, &signature).unwrap_err());
            assert!(!error.contains('\n'), "{error}");
            error
        };
        assert!(error(KEY).contains("x.tar.minisig"), "no signature");
        fs::write(&signature, SIGNATURE).unwrap();
        assert!(error(KEY).contains("is no signature of SHA256SUMS"));
        assert!(error("none").starts_with("read the public key"));
    }
}
