//! The JSON in a workflow's history. What is read and written again is read as the same, and no argument of a workflow
//! stops its task.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use temporalio_common::{
    data_converters::{GenericPayloadConverter as _, PayloadConverter, SerializationContext, SerializationContextData},
    protos::temporal::api::common::v1::Payload,
};
use worker::wire::{
    DocumentRequest, DocumentResult, ExtractRequest, Extracted, Fetched, GivenRequest, StoreRequest, Summary,
    SummaryRequest,
};

use crate::{Outcome, documents::refused};

pub(crate) fn wire(bytes: &[u8]) -> Outcome {
    let types: [fn(&[u8]) -> bool; 8] = [
        is_read_again::<DocumentRequest>,
        is_read_again::<DocumentResult>,
        is_read_again::<ExtractRequest>,
        is_read_again::<Extracted>,
        is_read_again::<Fetched>,
        is_read_again::<StoreRequest>,
        is_read_again::<Summary>,
        is_read_again::<SummaryRequest>,
    ];
    let read = types.iter().filter(|is_read_again| is_read_again(bytes)).count();
    argument(bytes);
    if read > 0 { Outcome::Read } else { Outcome::Refused }
}

/// Whether the bytes are of this type.
fn is_read_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(bytes) else { return false };
    let json = serde_json::to_vec(&value).unwrap();
    assert_eq!(serde_json::from_slice::<T>(&json).unwrap(), value);
    true
}

/// The argument of a workflow is a request, or a fault for which the workflow fails.
fn argument(bytes: &[u8]) {
    let converter = PayloadConverter::default();
    let context = SerializationContext::new(&SerializationContextData::None, &converter);
    let payload = Payload { data: bytes.to_vec(), ..Payload::default() };
    let given: GivenRequest = converter.from_payloads(&context, vec![payload]).unwrap();
    match given.0.clone() {
        Err(fault) => {
            refused(fault);
        }
        Ok(request) => {
            if let Err(fault) = request.validate() {
                refused(fault);
            }
            let payload = converter.to_payload(&context, &given).unwrap();
            assert_eq!(converter.from_payloads::<GivenRequest>(&context, vec![payload]).unwrap(), given);
        }
    }
}
