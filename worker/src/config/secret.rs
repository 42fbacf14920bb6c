//! Values that must never be printed: `Debug` and `Serialize` show only that they are set. `secrecy` clears their
//! memory when they are dropped.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// What is shown instead of a secret.
pub(super) const MASK: &str = "***";

/// Parts of the names of query parameters whose values are secrets.
const SECRET_PARAMETERS: [&str; 6] = ["pass", "secret", "token", "key", "auth", "sig"];

/// A string that only [`Secret::expose`] reveals.
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("format" = "password")))]
#[serde(transparent)]
pub struct Secret(#[cfg_attr(test, schemars(with = "String"))] SecretString);

impl Secret {
    /// The secret.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A URL that may hold a password or a token.
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("format" = "uri")))]
#[serde(transparent)]
pub struct SecretUrl(#[cfg_attr(test, schemars(with = "String"))] SecretString);

impl SecretUrl {
    /// The URL with its secrets.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The URL with its password, and the secrets of its query, masked. A text that is not a URL is masked
    /// completely.
    ///
    /// The text is masked by its parts and not by a parser, which takes a `/`, `?` or `#` in a password for the end
    /// of the host.
    pub fn masked(&self) -> String {
        let Some(parts) = Parts::of(self.expose()) else {
            return MASK.to_owned();
        };
        let user = match (parts.user, parts.password) {
            (None, _) => String::new(),
            (Some(user), Some(_)) => format!("{user}:{MASK}@"),
            // Alone in an http URL, it is a token.
            (Some(_), None) if parts.scheme.starts_with("http") => format!("{MASK}@"),
            (Some(user), None) => format!("{user}@"),
        };
        format!("{}://{user}{}{}", parts.scheme, parts.host, masked_tail(parts.tail))
    }

    /// A reserved character of the user or the password that is not percent-encoded. Another program may find
    /// another host, user or password in such a URL.
    pub(super) fn unescaped(&self) -> Option<char> {
        let parts = Parts::of(self.expose())?;
        if let Some(end) = parts.ended_by {
            return Some(end);
        }
        let password = parts.password.unwrap_or_default();
        let reserved = |text: &str| text.chars().find(|c| ['@', ':'].contains(c));
        parts.user.and_then(reserved).or_else(|| reserved(password)).or_else(|| {
            let whole = [parts.user.unwrap_or_default(), password];
            whole.iter().any(|text| has_stray_percent(text)).then_some('%')
        })
    }
}

/// The parts of a URL's text, as they are written.
struct Parts<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    password: Option<&'a str>,
    /// Host and port.
    host: &'a str,
    /// Path, query and fragment.
    tail: &'a str,
    /// A character in the password that a parser takes for the end of the host.
    ended_by: Option<char>,
}

impl<'a> Parts<'a> {
    /// `None` if the text has no host.
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let end = |text: &str| text.find(['/', '?', '#']).unwrap_or(text.len());
        let first = end(rest);
        // An `@` after the host belongs to a password with one of these characters.
        let (userinfo, after) = match rest.rsplit_once('@') {
            Some((userinfo, after)) => (Some(userinfo), after),
            None => (None, rest),
        };
        let (host, tail) = after.split_at(end(after));
        let (user, password) = match userinfo.map(|userinfo| userinfo.split_once(':').ok_or(userinfo)) {
            None => (None, None),
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
        };
        let ended_by = userinfo.filter(|userinfo| first < userinfo.len()).and_then(|_| rest[first..].chars().next());
        Some(Self { scheme, user, password, host, tail, ended_by })
    }
}

/// Path and query with masked secrets. A fragment is never sent, so what it holds is unknown.
fn masked_tail(tail: &str) -> String {
    let (tail, fragment) = tail.split_once('#').map_or((tail, ""), |(tail, _)| (tail, "#***"));
    let Some((path, query)) = tail.split_once('?') else {
        return format!("{tail}{fragment}");
    };
    let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
        _ => parameter.to_owned(),
    });
    format!("{path}?{}{fragment}", parameters.collect::<Vec<_>>().join("&"))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PARAMETERS.iter().any(|part| name.contains(part))
}

/// Whether a percent sign does not begin an encoded character.
fn has_stray_percent(text: &str) -> bool {
    text.split('%').skip(1).any(|after| {
        let digits = after.bytes().take(2).filter(u8::is_ascii_hexdigit).count();
        digits < 2
    })
}

macro_rules! masked {
    ($($kind:ident shown as $shown:expr;)*) => {$(
        impl From<&str> for $kind {
            fn from(value: &str) -> Self {
                Self(value.into())
            }
        }

        impl From<String> for $kind {
            fn from(value: String) -> Self {
                Self(value.into())
            }
        }

        impl PartialEq for $kind {
            fn eq(&self, other: &Self) -> bool {
                self.expose() == other.expose()
            }
        }

        impl Eq for $kind {}

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$shown(self))
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&$shown(self))
            }
        }
    )*};
}

masked! {
    Secret shown as |_: &Self| MASK.to_owned();
    SecretUrl shown as Self::masked;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_everything_but_its_secrets() {
        let cases = [
            ("postgres://slipway:hunter2@postgres:5432/documents", "postgres://slipway:***@postgres:5432/documents"),
            ("postgres://slipway@postgres/documents", "postgres://slipway@postgres/documents"),
            ("postgres://db/d?user=a&password=hunter2", "postgres://db/d?user=a&password=***"),
            ("redis://:hunter2@redis/1", "redis://:***@redis/1"),
            ("https://hunter2@collector:4317", "https://***@collector:4317"),
            ("https://llm/v1?api-version=1&api-key=hunter2#hunter2", "https://llm/v1?api-version=1&api-key=***#***"),
            ("https://[::1]:4317/v1", "https://[::1]:4317/v1"),
            ("hunter2", "***"),
            ("slipway:hunter2@postgres", "***"),
        ];
        for (url, shown) in cases {
            let url = SecretUrl::from(url);
            assert_eq!((url.masked().as_str(), url.unescaped()), (shown, None));
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(serde_json::to_value(&url).unwrap(), shown);
        }
    }

    #[test]
    fn a_password_with_a_reserved_character_is_masked_and_the_character_is_found() {
        for reserved in ['/', '?', '#', ':', '@', '%'] {
            for password in
                [format!("hun{reserved}ter2"), format!("{reserved}hunter2"), format!("1234{reserved}hunter2")]
            {
                let url = SecretUrl::from(format!("postgres://slipway:{password}@postgres:5432/documents"));
                assert_eq!(url.masked(), "postgres://slipway:***@postgres:5432/documents", "{password}");
                assert_eq!(url.unescaped(), Some(reserved), "{password}");
                let encoded = password.replace(reserved, &format!("%{:02X}", u32::from(reserved)));
                let url = SecretUrl::from(format!("postgres://slipway:{encoded}@postgres:5432/documents"));
                assert_eq!(url.unescaped(), None, "{encoded}");
            }
        }
    }

    #[test]
    fn a_secret_is_masked_when_serialized() {
        let secret = Secret::from("hunter2");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(format!("{secret:?}"), "***");
    }
}
