//! The one configuration file.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a `SocketAddr` is read from, for schemas of configurations: an IPv4 address, or an IPv6 address in brackets, and a port.
pub const SOCKET_ADDRESS_PATTERN: &str = r"^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}|\[[0-9A-Fa-f:.]+\]):([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {}: {source}", path.display())]
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

/// Reads the YAML file at `path` into `T`. An empty file is the same as `{}`.
///
/// Every struct in `T` must refuse unknown fields (`#[serde(deny_unknown_fields)]`), so that a misspelt setting is an error
/// and not a silent default: [`open_objects`] finds those that do not, for a unit test of the role.
///
/// # Errors
///
/// [`ConfigError`] with the file, and the line for everything inside it.
pub fn load<T: DeserializeOwned + JsonSchema>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
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

/// Reads YAML `text` into `T`; `origin` names it in errors.
///
/// # Errors
///
/// [`ConfigError::Parse`].
pub fn parse<T: DeserializeOwned + JsonSchema>(text: &str, origin: &str) -> Result<T, ConfigError> {
    let only_comments = text
        .lines()
        .map(str::trim)
        .all(|line| line.is_empty() || line.starts_with('#') || line == "---");
    serde_saphyr::from_str(if only_comments { "{}" } else { text }).map_err(|error| ConfigError::Parse {
        origin: origin.to_owned(),
        message: error.to_string(),
    })
}

/// JSON Schema (draft 2020-12) of a configuration, for `cargo xtask generate` and for editors.
#[must_use]
pub fn schema<T: JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

/// JSON pointers of the objects in `T`'s schema that would take an unknown field. Empty when every struct refuses them;
/// maps whose values have a schema are meant to be open and are left out.
#[must_use]
pub fn open_objects<T: JsonSchema>() -> Vec<String> {
    let mut found = Vec::new();
    collect_open_objects(&schema::<T>(), "", &mut found);
    found
}

fn collect_open_objects(schema: &Value, pointer: &str, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let has_properties = fields.get("properties").is_some_and(Value::is_object);
            if has_properties && fields.get("additionalProperties") != Some(&Value::Bool(false)) {
                found.push(pointer.to_owned());
            }
            for (key, value) in fields {
                collect_open_objects(value, &format!("{pointer}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_open_objects(item, &format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
    #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
    struct Example {
        workers: u16,
        lease: Lease,
    }

    #[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
    #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
    struct Lease {
        duration_seconds: u32,
    }

    #[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
    struct Open {
        inner: Option<Lease>,
        also: u8,
    }

    #[test]
    fn reads_values_and_defaults() {
        let read: Example = parse("lease:\n  durationSeconds: 15\n", "test").unwrap();
        assert_eq!(
            read,
            Example {
                workers: 0,
                lease: Lease { duration_seconds: 15 }
            }
        );
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        for text in ["", "# nothing yet\n", "---\n# nothing yet\n"] {
            assert_eq!(parse::<Example>(text, "test").unwrap(), Example::default());
        }
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let error = parse::<Example>("workers: 3\nlease:\n  durationSecond: 15\n", "c.yaml")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("c.yaml") && error.contains("durationSecond") && error.contains("line 3"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_line() {
        let error = parse::<Example>("workers: many\n", "c.yaml").unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Example>(Path::new("no/such/file.yaml")).unwrap_err().to_string();
        assert!(error.contains("no/such/file.yaml"), "{error}");
    }

    #[test]
    fn structs_that_take_unknown_fields_are_found() {
        assert!(open_objects::<Example>().is_empty());
        assert_eq!(open_objects::<Open>(), [""]);
    }
}
