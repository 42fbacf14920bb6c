//! Answers of S3 that are not a success: whose fault each is, what becomes of the document, and the way out.
//!
//! Pure. `docs/reference/failures.md` is generated from [`SAMPLES`].

use std::{error::Error as StdError, fmt, time::Duration};

use crate::{
    external::Blame,
    text::{PoisonError, shortened},
};

/// Maximum length of a key of S3 in bytes.
pub(super) const MAX_KEY_BYTES: usize = 1024;

/// An answer of S3 that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The code in the answer's XML; empty if there is none.
    pub code: String,
    /// The region of the bucket, if the answer names it.
    pub region: Option<String>,
    /// The pause that S3 asks for.
    pub retry_after: Option<Duration>,
}

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The object does not exist.
    Missing,
    /// The object is in an archive, and has to be restored first.
    Archived,
    /// The object may not be read, or is missing and may not be listed. S3 does not say which.
    Forbidden,
    /// The key is longer than S3 allows.
    KeyTooLong,
    /// The object cannot be read with a plain request, for example without the customer's encryption key.
    Unreadable,
    /// The settings are wrong: bucket, region, credentials, clock. All objects are affected.
    Settings,
    /// The service asks for fewer requests.
    Load,
    /// The service fails.
    Service,
}

impl Cause {
    /// Whose fault it is. What is not the service's fault never opens the circuit.
    pub fn blame(self) -> Blame {
        match self {
            Self::Service => Blame::Service,
            Self::Load => Blame::Load,
            _ => Blame::Request,
        }
    }

    /// What becomes of a document if this answer about it stays.
    pub(crate) fn poison(self, source: &str, refusal: &Refusal) -> Option<PoisonError> {
        let (document, answer) = (shortened(source), refusal.to_string());
        match self {
            Self::Missing => Some(PoisonError::Missing { document }),
            Self::Archived => Some(PoisonError::Archived { document, answer }),
            Self::Forbidden => Some(PoisonError::Forbidden { document, answer }),
            Self::KeyTooLong => Some(PoisonError::KeyTooLong { document, limit: MAX_KEY_BYTES }),
            Self::Unreadable => Some(PoisonError::Unreadable { document, answer }),
            Self::Settings | Self::Load | Self::Service => None,
        }
    }
}

impl Refusal {
    /// What the answer is about.
    pub fn cause(&self) -> Cause {
        match (self.status, self.code.as_str()) {
            (_, code) if code.starts_with("SlowDown") || code.starts_with("Throttl") => Cause::Load,
            (429, _) | (_, "RequestLimitExceeded" | "TooManyRequests") | (503, "ServiceUnavailable") => Cause::Load,
            (503, _) if self.retry_after.is_some() => Cause::Load,
            (_, "NoSuchBucket") => Cause::Settings,
            (404, _) => Cause::Missing,
            (403, "InvalidObjectState") => Cause::Archived,
            (403, "AccessDenied" | "") => Cause::Forbidden,
            (400, "KeyTooLongError" | "KeyTooLong") | (414, _) => Cause::KeyTooLong,
            (400, "InvalidRequest" | "InvalidArgument" | "InvalidURI" | "XMinioInvalidObjectName") => Cause::Unreadable,
            (400, "RequestTimeout") | (408, _) => Cause::Service,
            (501, _) => Cause::Settings,
            (status, _) if status >= 500 => Cause::Service,
            _ => Cause::Settings,
        }
    }

    /// The way out, if somebody has to act.
    fn remedy(&self) -> Option<String> {
        let remedy = match (self.status, self.code.as_str()) {
            (_, "NoSuchBucket") => "set DOCUMENT_STORE_URL to a bucket that exists".to_owned(),
            (300..=399, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect") => match &self.region {
                Some(region) => format!("the bucket is in another region: set AWS_REGION to {region}"),
                None => "set AWS_REGION to the region of the bucket, and AWS_ENDPOINT_URL to its address".to_owned(),
            },
            (_, "RequestTimeTooSkewed") => "correct the clock of this machine".to_owned(),
            (401, _) | (_, "ExpiredToken" | "InvalidToken" | "InvalidAccessKeyId" | "SignatureDoesNotMatch") => {
                "replace the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or the role)".to_owned()
            }
            _ => return None,
        };
        Some(remedy)
    }

    /// The refusal that an error of the store carries.
    pub fn of(error: &object_store::Error) -> Option<&Self> {
        causes(error).find_map(|cause| cause.downcast_ref())
    }
}

/// An error and its sources.
pub(super) fn causes(error: &object_store::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |error| <dyn StdError>::source(*error))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3 answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " ({})", self.code)?;
        }
        match self.remedy() {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl StdError for Refusal {}

/// Answers for the reference: status, code, and when S3 gives it.
#[cfg(test)]
pub(crate) const SAMPLES: [(u16, &str, &str); 20] = [
    (404, "NoSuchKey", "the object does not exist"),
    (403, "AccessDenied", "the object may not be read; or it does not exist, and the bucket may not be listed"),
    (403, "InvalidObjectState", "the object is in an archive"),
    (400, "KeyTooLongError", "the key has more than 1024 bytes"),
    (400, "InvalidRequest", "the object needs the customer's encryption key"),
    (404, "NoSuchBucket", "the bucket does not exist"),
    (301, "PermanentRedirect", "the bucket is in another region"),
    (400, "AuthorizationHeaderMalformed", "the bucket is in another region"),
    (400, "ExpiredToken", "the credentials have expired"),
    (403, "InvalidAccessKeyId", "the credentials do not exist"),
    (403, "SignatureDoesNotMatch", "the secret access key is wrong"),
    (403, "RequestTimeTooSkewed", "the clock of the worker is wrong"),
    (401, "", "a proxy asks for credentials"),
    (400, "", "anything else that is wrong with the request"),
    (429, "", "too many requests"),
    (503, "SlowDown", "too many requests"),
    (503, "", "the service or a proxy is not available"),
    (500, "InternalError", "the service failed"),
    (504, "", "a proxy had no answer of the service"),
    (400, "RequestTimeout", "the connection was too slow"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        Refusal { status, code: code.into(), region: None, retry_after: None }
    }

    #[test]
    fn only_the_service_and_its_load_are_not_the_requests_fault() {
        for (status, code, cause, blame) in [
            (404, "NoSuchKey", Cause::Missing, Blame::Request),
            (404, "", Cause::Missing, Blame::Request),
            (404, "NoSuchBucket", Cause::Settings, Blame::Request),
            (403, "AccessDenied", Cause::Forbidden, Blame::Request),
            (403, "", Cause::Forbidden, Blame::Request),
            (403, "InvalidObjectState", Cause::Archived, Blame::Request),
            (403, "InvalidAccessKeyId", Cause::Settings, Blame::Request),
            (403, "RequestTimeTooSkewed", Cause::Settings, Blame::Request),
            (400, "KeyTooLongError", Cause::KeyTooLong, Blame::Request),
            (400, "ExpiredToken", Cause::Settings, Blame::Request),
            (400, "RequestTimeout", Cause::Service, Blame::Service),
            (301, "PermanentRedirect", Cause::Settings, Blame::Request),
            (307, "", Cause::Settings, Blame::Request),
            (429, "", Cause::Load, Blame::Load),
            (503, "SlowDown", Cause::Load, Blame::Load),
            (503, "SlowDownRead", Cause::Load, Blame::Load),
            (503, "", Cause::Service, Blame::Service),
            (500, "InternalError", Cause::Service, Blame::Service),
            (501, "NotImplemented", Cause::Settings, Blame::Request),
            (418, "", Cause::Settings, Blame::Request),
        ] {
            let found = refusal(status, code).cause();
            assert_eq!((found, found.blame()), (cause, blame), "{status} {code}");
        }
        let asked = Refusal { retry_after: Some(Duration::from_secs(3)), ..refusal(503, "") };
        assert_eq!(asked.cause(), Cause::Load);
    }

    #[test]
    fn a_refusal_names_the_way_out() {
        let elsewhere = Refusal { region: Some("eu-west-1".into()), ..refusal(301, "PermanentRedirect") };
        assert!(elsewhere.to_string().ends_with("set AWS_REGION to eu-west-1"), "{elsewhere}");
        for (status, code, named) in [
            (404, "NoSuchBucket", "DOCUMENT_STORE_URL"),
            (307, "", "AWS_REGION"),
            (400, "ExpiredToken", "credentials"),
            (403, "RequestTimeTooSkewed", "clock"),
        ] {
            let refusal = refusal(status, code).to_string();
            assert!(refusal.contains(named), "{refusal}");
        }
    }
}
