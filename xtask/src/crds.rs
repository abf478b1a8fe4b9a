//! `crds/`: the definitions of the three kinds, one file each.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

use crate::{
    files::{Files, yaml_header},
    yaml,
};

/// One file for each kind, named as controller-gen names them: `<group>_<plural>.yaml`.
pub(crate) fn files() -> anyhow::Result<Files> {
    novasphere_crd::crds()
        .into_iter()
        .map(|crd| {
            let path = PathBuf::from(format!("crds/{}_{}.yaml", crd.spec.group, crd.spec.names.plural));
            let mut value = serde_json::to_value(&crd).with_context(|| path.display().to_string())?;
            whole_numbers(&mut value);
            let text = format!("{}{}", yaml_header("crates/crd"), yaml::print(&value)?);
            Ok((path, text))
        })
        .collect()
}

/// Writes `1` for `1.0`: bounds of a schema are floating point in Rust, but whole numbers in YAML.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0 && number.is_f64())
                && let Ok(whole) = format!("{float:.0}").parse::<i64>()
            {
                *value = whole.into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_are_whole_numbers() {
        let mut value = json!({"minimum": 0.0, "maximum": [65535.0, 0.5], "text": "1.0", "negative": -1.0});
        whole_numbers(&mut value);
        assert_eq!(
            value,
            json!({"minimum": 0, "maximum": [65535, 0.5], "text": "1.0", "negative": -1})
        );
    }

    #[test]
    fn every_file_reads_back_as_the_definition() {
        for ((path, text), crd) in files().unwrap().into_iter().zip(novasphere_crd::crds()) {
            let mut expected = serde_json::to_value(&crd).unwrap();
            whole_numbers(&mut expected);
            assert_eq!(yaml::parse(&text).unwrap(), expected, "{}", path.display());
        }
    }
}
