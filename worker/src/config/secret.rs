//! Values that must never be printed: `Debug` and `Serialize` show only that they are set.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What is shown instead of a secret.
pub(super) const MASK: &str = "***";

/// A string that only [`Secret::expose`] reveals.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("format" = "password")))]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// A URL whose password is a secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("format" = "uri")))]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL with its password and the secrets of its query masked. A text that is not a URL is masked
    /// completely.
    pub fn masked(&self) -> String {
        let Ok(mut url) = url::Url::parse(&self.0) else {
            return MASK.to_owned();
        };
        if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
            return MASK.to_owned();
        }
        if url.query_pairs().any(|(key, _)| key.eq_ignore_ascii_case("password")) {
            url.set_query(Some(MASK));
        }
        url.to_string()
    }
}

impl From<&str> for SecretUrl {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_everything_but_its_password() {
        let url = SecretUrl::from("postgres://slipway:hunter2@postgres:5432/documents");
        assert_eq!(url.masked(), "postgres://slipway:***@postgres:5432/documents");
        assert!(!format!("{url:?}").contains("hunter2"));
    }

    #[test]
    fn a_password_in_the_query_is_masked_as_well() {
        let url = SecretUrl::from("postgres://postgres/documents?user=a&password=hunter2");
        assert!(!url.masked().contains("hunter2"));
    }

    #[test]
    fn a_secret_is_masked_when_serialized() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
    }
}
