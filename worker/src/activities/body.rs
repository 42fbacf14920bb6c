//! The claim-check pattern: a small body travels inline; a larger one is kept in the store, and its hash travels.

use sha2::{Digest, Sha256};

use crate::{
    store::ObjectStore,
    text::{Passage, Structure},
    wire::{Bytes, Carried},
};

use super::StepError;

/// A body that can be kept in the store.
pub(super) trait Body: Sized {
    fn encode(&self) -> Result<Vec<u8>, StepError>;
    fn decode(bytes: Vec<u8>) -> Result<Self, StepError>;
}

impl Body for Bytes {
    fn encode(&self) -> Result<Vec<u8>, StepError> {
        Ok(self.0.clone())
    }

    fn decode(bytes: Vec<u8>) -> Result<Self, StepError> {
        Ok(Self(bytes))
    }
}

macro_rules! body_as_json {
    ($($type:ty),*) => {$(
        impl Body for $type {
            fn encode(&self) -> Result<Vec<u8>, StepError> {
                Ok(serde_json::to_vec(self)?)
            }

            fn decode(bytes: Vec<u8>) -> Result<Self, StepError> {
                Ok(serde_json::from_slice(&bytes)?)
            }
        }
    )*};
}

body_as_json!(Vec<Passage>, Structure);

/// Stores the body as a claim if it is larger than `inline_bytes`.
pub(super) async fn pack<T: Body>(store: &ObjectStore, body: T, inline_bytes: usize) -> Result<Carried<T>, StepError> {
    pack_within(store, body, &mut { inline_bytes }).await
}

/// Like [`pack`], for several bodies that share one limit: `room` is the number of inline bytes that are left.
pub(super) async fn pack_within<T: Body>(
    store: &ObjectStore,
    body: T,
    room: &mut usize,
) -> Result<Carried<T>, StepError> {
    let encoded = body.encode()?;
    if encoded.len() <= *room {
        *room -= encoded.len();
        return Ok(Carried::Inline(body));
    }
    drop(body);
    Ok(Carried::Claim(store.put_claim(encoded).await?))
}

/// The SHA-256 of a document's bytes, in hex. A claim is that hash, so nothing is read.
pub(super) fn sha256(carried: &Carried<Bytes>) -> String {
    match carried {
        Carried::Inline(bytes) => hex::encode(Sha256::digest(&bytes.0)),
        Carried::Claim(claim) => claim.clone(),
    }
}

/// The body, read from the store if it is a claim.
pub(super) async fn unpack<T: Body>(store: &ObjectStore, carried: Carried<T>) -> Result<T, StepError> {
    match carried {
        Carried::Inline(body) => Ok(body),
        Carried::Claim(claim) => T::decode(store.claim(&claim).await?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::DocumentsConfig, external::Guards};

    fn folder_store() -> (tempfile::TempDir, ObjectStore) {
        let folder = tempfile::tempdir().unwrap();
        let store_url = format!("file://{}", folder.path().display());
        let config = DocumentsConfig { store_url, ..DocumentsConfig::default() };
        let store = ObjectStore::open(&config, &Guards::for_tests()).unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn only_a_body_over_the_limit_becomes_a_claim_and_both_can_be_read() {
        let (_folder, store) = folder_store();
        for (size, claimed) in [(64, false), (65, true)] {
            let body = Bytes(vec![b'x'; size]);
            let carried = pack(&store, body.clone(), 64).await.unwrap();
            assert_eq!(matches!(carried, Carried::Claim(_)), claimed, "{size} bytes");
            assert_eq!(sha256(&carried), hex::encode(Sha256::digest(&body.0)), "{size} bytes");
            assert_eq!(unpack(&store, carried).await.unwrap(), body);
        }
    }

    #[tokio::test]
    async fn bodies_that_travel_together_share_the_room() {
        let (_folder, store) = folder_store();
        let mut room = 100;
        let mut claims = Vec::new();
        for size in [60, 60, 40] {
            let carried = pack_within(&store, Bytes(vec![b'x'; size]), &mut room).await.unwrap();
            claims.push(matches!(carried, Carried::Claim(_)));
        }
        assert_eq!((claims, room), (vec![false, true, false], 0));
    }
}
