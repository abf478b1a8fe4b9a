//! TLS for servers: certificate and key from files, read again when they change.

use std::{path::Path, sync::Arc};

use rustls::ServerConfig;

use crate::shutdown::Shutdown;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("cannot read {path}: {message}")]
    Read {
        /// The file.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// They are readable but do not go together or cannot be used.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
}

/// A server configuration (TLS 1.2 and 1.3, no session tickets) whose certificate follows the files until `shutdown`.
///
/// # Errors
///
/// [`TlsError`] when the first pair cannot be used. A later bad pair is logged and the good one kept.
pub fn server_config(certificate: &Path, key: &Path, shutdown: Shutdown) -> Result<Arc<ServerConfig>, TlsError> {
    let _ = (certificate, key, shutdown);
    todo!()
}
