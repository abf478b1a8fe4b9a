//! The query of `vmaccesses/console` and `vncworkspaces/console`.

use novasphere_crd::{ConsoleInput, ConsoleProtocol, Takeover};
use novasphere_runtime::serve::status::StatusError;
use serde::de::DeserializeOwned;
use serde_json::json;

/// What `vmaccesses/console` and `vncworkspaces/console` can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsoleOptions {
    /// Which console. Default: the target's `defaultProtocol`.
    pub protocol: Option<ConsoleProtocol>,
    /// Whether keyboard and pointer reach the guest. Default: the target's.
    pub input: Option<ConsoleInput>,
    /// What happens to a present viewer. Default `Refuse`.
    pub takeover: Option<Takeover>,
}

impl ConsoleOptions {
    /// Reads a query such as `protocol=serial&takeover=Replace`.
    ///
    /// # Errors
    ///
    /// 400 for a parameter that there is not or that has another value: a misspelt `input` must not give more than was meant.
    pub fn read(query: &str) -> Result<Self, StatusError> {
        let mut options = Self::default();
        // Not serde_html_form: it brings a second hashbrown into the graph, and kube has this one.
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "protocol" => options.protocol = Some(word(&name, &value, "vnc, serial or ssh")?),
                "input" => options.input = Some(word(&name, &value, "Control or ViewOnly")?),
                "takeover" => options.takeover = Some(word(&name, &value, "Refuse or Replace")?),
                _ => {
                    return Err(StatusError::BadRequest(format!(
                        "there is no query parameter {name:?}; there are protocol, input and takeover"
                    )));
                }
            }
        }
        Ok(options)
    }
}

fn word<T: DeserializeOwned>(name: &str, value: &str, allowed: &str) -> Result<T, StatusError> {
    serde_json::from_value(json!(value))
        .map_err(|_| StatusError::BadRequest(format!("the query parameter {name} is {value:?}; it may be {allowed}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_strictly() {
        assert_eq!(ConsoleOptions::read("").unwrap(), ConsoleOptions::default());
        let options = ConsoleOptions::read("protocol=serial&input=ViewOnly&takeover=Replace&").unwrap();
        assert_eq!(options.protocol, Some(ConsoleProtocol::Serial));
        assert_eq!(options.input, Some(ConsoleInput::ViewOnly));
        assert_eq!(options.takeover, Some(Takeover::Replace));
        for query in [
            "input=viewonly",
            "inputs=ViewOnly",
            "protocol=",
            "protocol",
            "takeover=Share",
        ] {
            let error = ConsoleOptions::read(query).unwrap_err();
            assert_eq!(error.code(), 400, "{query}");
        }
    }
}
