//! Logs to standard error.

use crate::args::LogFormat;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not a list of `EnvFilter` directives.
    #[error("--log-filter {filter:?} is not valid: {message}. Write directives such as info,kube=warn")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        message: String,
    },
    /// Something else in this process has set a subscriber already.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Sends `tracing` events to standard error and logs panics as errors (with the place) before the process acts on them.
///
/// # Errors
///
/// [`TelemetryError`]; call it once, at the start of `main`.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let _ = (format, filter);
    todo!()
}
