//! Tokens for Temporal: signed statements of who somebody is and what they may do there (JSON Web Tokens, ES256).

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Seconds for which the token of a program is valid: as long as its certificate.
pub(super) const OF_A_PROGRAM: u64 = 10 * 365 * 86_400;
/// Seconds for which a token is valid that is used at once.
pub(super) const FOR_NOW: u64 = 300;

/// A key that signs tokens.
pub(super) struct Signer {
    key: EcdsaKeyPair,
    id: String,
}

impl Signer {
    /// Makes a key, as text.
    pub(super) fn make() -> Result<String> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let document = document.map_err(|_| anyhow!("make a key for tokens"))?;
        Ok(STANDARD.encode(document))
    }

    /// Reads a key that was made before.
    pub(super) fn of(text: &str) -> Result<Self> {
        let document = STANDARD.decode(text).context("read the key for tokens")?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &SystemRandom::new());
        let key = key.map_err(|refused| anyhow!("read the key for tokens: {refused}"))?;
        let id = hex::encode(&Sha256::digest(key.public_key())[..8]);
        Ok(Self { key, id })
    }

    /// What Temporal checks signatures with: the public key, as a JSON Web Key Set.
    pub(super) fn key_set(&self) -> String {
        // A byte that says that the point is not compressed, then both coordinates.
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        let key = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id, "x": x, "y": y});
        json!({"keys": [key]}).to_string()
    }

    /// A token: who it is for, what it permits (`namespace:role`), and for how many seconds from now.
    pub(super) fn token(&self, subject: &str, permissions: &[&str], seconds: u64) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.id});
        let claims = json!({"sub": subject, "permissions": permissions, "iat": now, "exp": now + seconds});
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|_| anyhow!("sign the token of {subject}"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_token_is_signed_by_the_key_of_the_set_and_says_who_may_do_what() {
        let signer = Signer::of(&Signer::make().unwrap()).unwrap();
        let token = signer.token("worker", &["default:write"], 60).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else { panic!("{token}") };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let value = |part: &str| -> Value { serde_json::from_slice(&decode(part)).unwrap() };
        let keys: Value = serde_json::from_str(&signer.key_set()).unwrap();
        let key = &keys["keys"][0];
        assert_eq!((&value(header)["kid"], &value(header)["alg"]), (&key["kid"], &json!("ES256")));
        assert_eq!(value(claims)["permissions"], json!(["default:write"]));
        assert_eq!(value(claims)["exp"].as_u64(), value(claims)["iat"].as_u64().map(|issued| issued + 60));
        let coordinate = |name: &str| decode(key[name].as_str().unwrap());
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        let signed = format!("{header}.{claims}");
        public.verify(signed.as_bytes(), &decode(signature)).unwrap();
        assert!(public.verify(signed.replace('A', "B").as_bytes(), &decode(signature)).is_err());
    }
}
