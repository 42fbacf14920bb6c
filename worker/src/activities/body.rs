//! The claim-check pattern: a small body travels inline; a larger one is kept in the store, and its hash travels.

use sha2::{Digest, Sha256};

use crate::{
    cpu::compute,
    memory::{Memory, Reservation},
    store::ObjectStore,
    text::{Passage, Structure},
    wire::{Bytes, Carried},
};

use super::StepError;

/// A body that can be kept in the store.
pub(super) trait Body: Sized + Send + 'static {
    /// About how many bytes it takes.
    fn size(&self) -> usize;
    /// The body as it travels, inline if it takes at most `room` bytes.
    fn encode(self, room: usize) -> Result<Encoded<Self>, StepError>;
    fn decode(bytes: Vec<u8>) -> Result<Self, StepError>;
}

/// A body as it travels.
pub(super) enum Encoded<T> {
    /// The body itself, and the bytes that it takes.
    Inline(T, usize),
    /// The bytes of the claim.
    Claim(Vec<u8>),
}

impl Body for Bytes {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn encode(self, room: usize) -> Result<Encoded<Self>, StepError> {
        let size = self.0.len();
        Ok(if size <= room { Encoded::Inline(self, size) } else { Encoded::Claim(self.0) })
    }

    fn decode(bytes: Vec<u8>) -> Result<Self, StepError> {
        Ok(Self(bytes))
    }
}

macro_rules! body_as_json {
    ($($type:ty, $size:expr;)*) => {$(
        impl Body for $type {
            fn size(&self) -> usize {
                let size: fn(&Self) -> usize = $size;
                size(self)
            }

            fn encode(self, room: usize) -> Result<Encoded<Self>, StepError> {
                let json = serde_json::to_vec(&self)?;
                Ok(if json.len() <= room { Encoded::Inline(self, json.len()) } else { Encoded::Claim(json) })
            }

            fn decode(bytes: Vec<u8>) -> Result<Self, StepError> {
                Ok(serde_json::from_slice(&bytes)?)
            }
        }
    )*};
}

body_as_json! {
    Vec<Passage>, |passages| passages.iter().map(|passage| passage.text.len()).sum();
    Structure, |structure| {
        let headings = structure.headings.iter().map(|heading| heading.text.len());
        headings.chain(structure.links.iter().map(|link| link.target.len() + link.text.len())).sum()
    };
}

/// Encodes a body. Bodies that travel together share `room`, the number of inline bytes that are left.
pub(super) async fn encode<T: Body>(body: T, room: &mut usize) -> Result<Encoded<T>, StepError> {
    let limit = *room;
    let encoded = compute(body.size(), move || body.encode(limit)).await?;
    if let Encoded::Inline(_, size) = &encoded {
        *room -= size;
    }
    Ok(encoded)
}

/// The body as a result carries it. A claim is written to the store.
pub(super) async fn carry<T>(store: &ObjectStore, body: Encoded<T>) -> Result<Carried<T>, StepError> {
    Ok(match body {
        Encoded::Inline(body, _) => Carried::Inline(body),
        Encoded::Claim(bytes) => Carried::Claim(store.put_claim(bytes).await?),
    })
}

/// The SHA-256 of a document's bytes, in hex. A claim is that hash, so nothing is read.
pub(super) fn sha256(carried: &Carried<Bytes>) -> String {
    match carried {
        Carried::Inline(bytes) => hex::encode(Sha256::digest(&bytes.0)),
        Carried::Claim(claim) => claim.clone(),
    }
}

/// The body, read from the store if it is a claim, and the memory that is reserved for it. `need` says how much memory
/// a claim of this size takes, with what is made of it.
pub(super) async fn unpack<T: Body>(
    store: &ObjectStore,
    carried: Carried<T>,
    memory: &Memory,
    need: impl Fn(u64) -> u64,
) -> Result<(T, Reservation), StepError> {
    match carried {
        Carried::Inline(body) => Ok((body, Reservation::default())),
        Carried::Claim(claim) => {
            let (bytes, reserved) = store.claim(&claim, memory, need).await?;
            let (size, held) = (bytes.len(), reserved.clone());
            let decode = move || {
                let _held = held;
                T::decode(bytes)
            };
            Ok((compute(size, decode).await?, reserved))
        }
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

    async fn pack<T: Body>(store: &ObjectStore, body: T, room: &mut usize) -> Carried<T> {
        carry(store, encode(body, room).await.unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn only_a_body_over_the_limit_becomes_a_claim_and_both_can_be_read() {
        let (_folder, store) = folder_store();
        for (size, claimed) in [(64, false), (65, true)] {
            let body = Bytes(vec![b'x'; size]);
            let carried = pack(&store, body.clone(), &mut 64).await;
            assert_eq!(matches!(carried, Carried::Claim(_)), claimed, "{size} bytes");
            assert_eq!(sha256(&carried), hex::encode(Sha256::digest(&body.0)), "{size} bytes");
            assert_eq!(unpack(&store, carried, &Memory::of(1 << 30), |bytes| bytes).await.unwrap().0, body);
        }
    }

    #[tokio::test]
    async fn bodies_that_travel_together_share_the_room() {
        let (_folder, store) = folder_store();
        let mut room = 100;
        let mut claims = Vec::new();
        for size in [60, 60, 40] {
            let carried = pack(&store, Bytes(vec![b'x'; size]), &mut room).await;
            claims.push(matches!(carried, Carried::Claim(_)));
        }
        assert_eq!((claims, room), (vec![false, true, false], 0));
    }
}
