//! Credentials: passed in by value, and put into headers or signatures.

use jiff::Timestamp;

use crate::{
    encoding,
    error::{Error, Result},
    request::Request,
    secret::Secret,
};

/// Shorter secrets are not looked for in what a provider says: they would be found in every word.
const SECRET_BYTES_MIN: usize = 4;

/// What a provider is asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    None,
    /// A token in `Authorization: Bearer`; also one that an OAuth 2 flow gave.
    Bearer(Secret),
    /// User and password in `Authorization: Basic`.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A key in the header that the provider names.
    Key(Secret),
    /// A key and a second one: Datadog's API and application keys.
    KeyPair {
        /// The API key.
        key: Secret,
        /// The application key.
        application: Secret,
    },
    /// Keys of AWS that sign the request, and the time at which they do: AWS takes a signature for a few minutes.
    Aws {
        /// The keys.
        keys: AwsKeys,
        /// When the request is signed.
        signed_at: Timestamp,
    },
}

/// Keys of AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKeys {
    /// Names the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: Secret,
    /// The token of temporary keys.
    pub session_token: Option<Secret>,
}

impl Auth {
    /// Returns `error` without these credentials: some providers repeat the token that they refuse.
    #[must_use]
    pub fn redact(&self, error: Error) -> Error {
        let secrets = match self {
            Self::None => Vec::new(),
            Self::Bearer(secret) | Self::Key(secret) => vec![secret],
            Self::Basic { password, .. } => vec![password],
            Self::KeyPair { key, application } => vec![key, application],
            Self::Aws { keys, .. } => {
                let token = keys.session_token.iter();
                token.chain([&keys.secret_access_key]).collect()
            }
        };
        let texts = secrets.into_iter().map(|secret| secret.expose().trim());
        let texts: Vec<&str> = texts
            .filter(|text| text.len() >= SECRET_BYTES_MIN)
            .collect();
        error.map_text(|said| {
            let said = said.to_owned();
            texts
                .iter()
                .fold(said, |said, text| said.replace(text, "***"))
        })
    }

    /// Puts `None`, a token, or user and password into the request.
    pub(crate) fn plain(&self, request: Request) -> Result<Request> {
        match self {
            Self::None => Ok(request),
            Self::Bearer(token) => authorize(request, &format!("Bearer {}", token.expose())),
            Self::Basic { username, password } => {
                let pair = format!("{username}:{}", password.expose());
                authorize(
                    request,
                    &format!("Basic {}", encoding::base64(pair.as_bytes())),
                )
            }
            Self::Key(_) | Self::KeyPair { .. } | Self::Aws { .. } => Err(Error::Credentials {
                expected: "none, a token, or user and password",
            }),
        }
    }

    /// Puts a key or token into the request as `Authorization: {scheme} {key}`.
    pub(crate) fn scheme(&self, request: Request, scheme: &str) -> Result<Request> {
        authorize(request, &format!("{scheme} {}", self.key()?.expose()))
    }

    /// Puts a key or token into the header `name`.
    pub(crate) fn header(&self, mut request: Request, name: &str) -> Result<Request> {
        let key = one_line(self.key()?)?;
        request.set(name, key.expose());
        Ok(request)
    }

    /// Returns the key or token.
    fn key(&self) -> Result<&Secret> {
        match self {
            Self::Key(key) | Self::Bearer(key) => Ok(key),
            Self::None | Self::Basic { .. } | Self::KeyPair { .. } | Self::Aws { .. } => {
                Err(Error::Credentials {
                    expected: "a key or token",
                })
            }
        }
    }
}

fn authorize(mut request: Request, value: &str) -> Result<Request> {
    let value = one_line(&Secret::new(value))?;
    request.set("Authorization", value.expose());
    Ok(request)
}

/// Returns the secret without the line break that files end with; one in the middle would add a header.
pub(crate) fn one_line(secret: &Secret) -> Result<Secret> {
    let text = secret.expose().trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err(Error::Credentials {
            expected: "a text on one line",
        });
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(auth: &Auth) -> Result<String> {
        let request = auth.plain(Request::get("http://h".to_owned()))?;
        let found = request.headers.iter().find(|h| h.name == "Authorization");
        Ok(found.map_or_else(String::new, |h| h.value.expose().to_owned()))
    }

    #[test]
    fn tokens_and_passwords_become_headers() {
        let basic = Auth::Basic {
            username: "Aladdin".to_owned(),
            password: Secret::new("open sesame"),
        };
        // The example of RFC 7617.
        assert_eq!(
            header(&basic),
            Ok("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned())
        );
        let bearer = Auth::Bearer(Secret::new("abc\n"));
        assert_eq!(header(&bearer), Ok("Bearer abc".to_owned()));
        assert_eq!(header(&Auth::None), Ok(String::new()));
    }

    #[test]
    fn a_secret_adds_no_header() {
        assert!(header(&Auth::Bearer(Secret::new("a\r\nX: y"))).is_err());
        assert!(header(&Auth::Key(Secret::new("a"))).is_err());
    }

    #[test]
    fn a_provider_that_repeats_a_secret_does_not_show_it() {
        let auth = Auth::KeyPair {
            key: Secret::new("hunter2\n"),
            application: Secret::new("a"),
        };
        let message = "key hunter2 of app a is not known".to_owned();
        let error = auth.redact(Error::Unauthorized { message });
        let message = "key *** of app a is not known".to_owned();
        assert_eq!(error, Error::Unauthorized { message });
        let error =
            Auth::Key(Secret::new("hunter2")).redact(Error::malformed("\"hunter2\"", "$.hunter2"));
        assert_eq!(error, Error::malformed("\"***\"", "$.***"));
    }

    #[test]
    fn credentials_are_never_shown() {
        let auth = Auth::Aws {
            keys: AwsKeys {
                access_key_id: "AKID".to_owned(),
                secret_access_key: Secret::new("hunter2"),
                session_token: Some(Secret::new("hunter2")),
            },
            signed_at: Timestamp::UNIX_EPOCH,
        };
        assert!(!format!("{auth:?}").contains("hunter2"));
    }
}
