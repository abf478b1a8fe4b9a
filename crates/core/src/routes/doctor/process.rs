//! How a gateway was started: what its Pods say.

use std::collections::BTreeMap;

use serde_json::Value;

/// Arguments and variables of the containers of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessSettings {
    pub(super) arguments: Vec<String>,
    pub(super) variables: BTreeMap<String, String>,
    /// The numbers of named ports.
    pub(super) ports: BTreeMap<String, u16>,
}

impl ProcessSettings {
    /// Those of the youngest Pod: after a change, the others are about to go.
    pub(super) fn of(pods: &[Value]) -> Option<Self> {
        let created = |pod: &&Value| {
            let time = pod.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
            time.unwrap_or_default().to_owned()
        };
        let pod = pods.iter().max_by_key(created)?;
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array)?;
        Some(containers.iter().fold(Self::default(), Self::with))
    }

    fn with(mut self, container: &Value) -> Self {
        let list = |key: &str| container.get(key).and_then(Value::as_array).into_iter().flatten();
        let words = list("command").chain(list("args")).filter_map(Value::as_str);
        self.arguments.extend(words.map(str::to_owned));
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let variables = list("env").filter_map(|variable| Some((text(variable, "name")?, text(variable, "value")?)));
        self.variables.extend(variables);
        let port = |port: &Value| port.get("containerPort").and_then(Value::as_u64);
        let ports = list("ports").filter_map(|named| Some((text(named, "name")?, u16::try_from(port(named)?).ok()?)));
        self.ports.extend(ports);
        self
    }

    /// The value of a flag, whatever case its name is written in; `true` for one without a value.
    pub(super) fn flag(&self, name: &str) -> Option<&str> {
        let flags = self.flags();
        let mut values = flags.filter_map(|(flag, value)| flag.eq_ignore_ascii_case(name).then_some(value));
        values.next_back()
    }

    /// All flags, by their names without dashes, with their values.
    pub(super) fn flags(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        let flags = self.arguments.iter().filter_map(|word| word.strip_prefix("--"));
        flags.map(|flag| flag.split_once('=').unwrap_or((flag, "true")))
    }
}
