//! TLS with certificates of the user's: private authorities, and servers that want to know who asks.
//!
//! Certificates and keys are read anew with each question, as all secrets are. What was made of them is kept as long as they stay the
//! same, for making a client costs more than a question.
//!
//! **Invariant:** an authority that is given is the only one that is trusted.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use haldane_source::Secret;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{Web, WebError};

/// How many clients are kept: more than a file has sources with certificates.
const CLIENTS_MAX: usize = 16;

/// What TLS needs besides what this machine has, as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The authorities that are trusted, instead of the system's.
    pub(crate) ca: Option<Secret>,
    /// Who asks.
    pub(crate) identity: Option<Identity>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The certificate, and those between it and its authority.
    pub(crate) certificate: Secret,
    /// Its private key.
    pub(crate) key: Secret,
}

/// Clients by what their TLS needs; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Webs {
    timeout: Duration,
    /// The one that was made last stands last.
    kept: Arc<Mutex<VecDeque<Web>>>,
}

impl Webs {
    /// Returns what makes clients whose requests may take so long.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            kept: Arc::default(),
        }
    }

    /// Returns the client for this TLS.
    pub(crate) fn of(&self, tls: Tls) -> Web {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(web) = kept.iter().find(|web| *web.tls == tls) {
            return web.clone();
        }
        if kept.len() >= CLIENTS_MAX {
            kept.pop_front();
        }
        let web = Web::with_tls(self.timeout, tls);
        kept.push_back(web.clone());
        web
    }

    /// Returns how many clients are kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.kept.lock().unwrap().len()
    }
}

impl Tls {
    /// Returns the authorities that are trusted, if they are given.
    pub(super) fn roots(&self) -> Result<Option<RootCertStore>, WebError> {
        let Some(ca) = &self.ca else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca", ca)? {
            let added = roots.add(certificate);
            added.map_err(|error| unusable("ca", &error.to_string()))?;
        }
        Ok(Some(roots))
    }

    /// Adds who asks.
    pub(super) fn identify(
        &self,
        config: ConfigBuilder<ClientConfig, WantsClientCert>,
    ) -> Result<ClientConfig, WebError> {
        let Some(identity) = &self.identity else {
            return Ok(config.with_no_client_auth());
        };
        let chain = certificates("clientCertificate", &identity.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes());
        let key = key.map_err(|_| unusable("clientKey", "expected a private key in PEM"))?;
        let config = config.with_client_auth_cert(chain, key);
        config.map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                return unusable("clientKey", "it is not the key of clientCertificate");
            }
            unusable("clientCertificate", &error.to_string())
        })
    }
}

fn certificates(
    what: &'static str,
    pem: &Secret,
) -> Result<Vec<CertificateDer<'static>>, WebError> {
    let found = CertificateDer::pem_slice_iter(pem.expose().as_bytes());
    let found: Result<Vec<_>, _> = found.collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(unusable(what, "expected certificates in PEM")),
    }
}

fn unusable(what: &'static str, why: &str) -> WebError {
    let why = why.to_owned();
    WebError::Certificate { what, why }
}

/// Says what an error of TLS means for who has set it up.
pub(super) fn explain(error: &rustls::Error) -> Option<&'static str> {
    if let rustls::Error::InvalidCertificate(why) = error {
        let is_expired = matches!(
            why,
            CertificateError::Expired | CertificateError::ExpiredContext { .. }
        );
        return match (is_expired, why) {
            (true, _) => Some("the server's certificate has expired"),
            (false, CertificateError::UnknownIssuer) => Some(
                "nobody who is trusted here vouches for the server's certificate; give its authority as ca",
            ),
            (false, _) => None,
        };
    }
    let rustls::Error::AlertReceived(alert) = error else {
        return None;
    };
    if *alert == AlertDescription::CertificateRequired {
        return Some("the server wants a certificate; give clientCertificate and clientKey");
    }
    let is_refusal = matches!(
        alert,
        AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
    );
    is_refusal.then_some("the server refuses clientCertificate")
}
