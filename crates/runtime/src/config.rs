//! The one configuration file.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is not YAML, has an unknown field, or a value of the wrong type.
    #[error("configuration file {origin} is not valid: {message}")]
    Parse {
        /// The file, or what the text came from.
        origin: String,
        /// What is wrong, with line and column.
        message: String,
    },
}

/// Reads `path` into `T`. Unknown fields are refused at every depth, whether or not `T` asks for it.
///
/// # Errors
///
/// [`ConfigError`] with the file, and the line for everything inside it.
pub fn load<T: DeserializeOwned + JsonSchema>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, &path.display().to_string())
}

/// As [`load`], or `T`'s defaults when no path is given.
///
/// # Errors
///
/// See [`load`].
pub fn load_or_default<T: DeserializeOwned + JsonSchema + Default>(path: Option<&Path>) -> Result<T, ConfigError> {
    path.map_or_else(|| Ok(T::default()), load)
}

/// Reads `text` into `T`; `origin` names it in errors.
///
/// # Errors
///
/// [`ConfigError::Parse`].
pub fn parse<T: DeserializeOwned + JsonSchema>(text: &str, origin: &str) -> Result<T, ConfigError> {
    let _ = (text, origin);
    todo!()
}

/// JSON Schema (draft 2020-12) of a configuration, for `cargo xtask generate` and editors.
#[must_use]
pub fn schema<T: JsonSchema>() -> serde_json::Value {
    todo!()
}
