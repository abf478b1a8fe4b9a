//! Logs to standard error, and traces to a collector when there is one.

pub mod traces;

use std::io::IsTerminal as _;
use std::{backtrace::Backtrace, panic::PanicHookInfo};

use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use self::traces::{Traces, TracesError};
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
    /// The collector cannot be used.
    #[error("--otlp-endpoint: {0}")]
    Traces(#[from] TracesError),
    /// Something else in this process has set a subscriber already.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// What logs and traces are set up with.
#[derive(Clone, Copy, Debug)]
pub struct TelemetryOptions<'a> {
    /// The format of log lines.
    pub format: LogFormat,
    /// Which log lines are written.
    pub filter: &'a str,
    /// The collector of traces; see [`traces`].
    pub otlp_endpoint: Option<&'a str>,
    /// The role's name, for the name of the service in traces.
    pub role: &'a str,
}

/// Sends `tracing` events to standard error, every panic as an error event with its place and stack, and spans to the collector
/// when there is one. Must be called inside a tokio runtime when there is.
///
/// The panic itself goes on as before: an unwinding task, or the end of the process.
///
/// # Errors
///
/// [`TelemetryError`]; call it once, at the start of `main`.
pub fn init(options: TelemetryOptions<'_>) -> Result<Option<Traces>, TelemetryError> {
    let TelemetryOptions {
        format,
        filter,
        otlp_endpoint,
        role,
    } = options;
    let traces = otlp_endpoint.map(|endpoint| Traces::to(endpoint, role)).transpose()?;
    let filter = EnvFilter::try_new(filter).map_err(|error| TelemetryError::Filter {
        filter: filter.to_owned(),
        message: error.to_string(),
    })?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces.as_ref().map(Traces::layer))
        .try_init()
        .map_err(|_| TelemetryError::AlreadySet)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(traces)
}

/// Replaces the default hook, whose plain lines would break a collector that reads JSON.
fn log_panic(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(a panic without a text)");
    let place = info.location().map_or_else(String::new, ToString::to_string);
    tracing::error!(place, stack = %Backtrace::force_capture(), "panic: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_traces(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
        let options = TelemetryOptions {
            format,
            filter,
            otlp_endpoint: None,
            role: "test",
        };
        init(options).map(drop)
    }

    #[test]
    fn a_bad_filter_is_named_in_the_error() {
        let error = without_traces(LogFormat::Text, "info,kube=loudly")
            .unwrap_err()
            .to_string();
        assert!(error.contains("info,kube=loudly"), "{error}");
    }

    #[test]
    fn the_second_call_is_refused() {
        // Which of the calls of this process wins does not matter, so this test needs no order among the others.
        let results = [
            without_traces(LogFormat::Json, "info"),
            without_traces(LogFormat::Text, "info"),
        ];
        assert!(matches!(results.last(), Some(Err(TelemetryError::AlreadySet))));
    }
}
