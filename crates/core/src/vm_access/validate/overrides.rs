//! What overrides may not say.

use novasphere_crd::RawObject;
use novasphere_foreign::kubevirt::LABEL_VMI_ID;
use serde_json::{Map, Value};

use super::ValidateError;
use crate::label::KEY_OWNER_UID;

/// The overrides, when they leave alone what novasphere decides.
pub(super) fn validate(overrides: &RawObject) -> Result<Map<String, Value>, ValidateError> {
    let overrides = &overrides.0;
    if let Some(field) = ["running", "runStrategy"]
        .into_iter()
        .find(|field| overrides.contains_key(*field))
    {
        return Err(ValidateError::Override {
            field: field.to_owned(),
            problem: "spec.power decides when the machine runs; remove it, and set spec.power.state to Running or Stopped, or \
                      leave spec.power out to start and stop by hand",
        });
    }
    let labels = overrides
        .get("template")
        .and_then(|template| template.pointer("/metadata/labels"));
    let refused = |key: &&str| labels.is_some_and(|labels| labels.get(*key).is_some());
    match [LABEL_VMI_ID, KEY_OWNER_UID].into_iter().find(refused) {
        None => Ok(overrides.clone()),
        Some(key) => Err(ValidateError::Override {
            field: format!("template.metadata.labels[{key}]"),
            problem: "Services and the controller find the machine by this label; remove it",
        }),
    }
}

/// Whether the overrides say anything about the machine's networks.
pub(super) fn touch_networks(overrides: &Map<String, Value>) -> bool {
    overrides
        .get("template")
        .and_then(|template| template.pointer("/spec/networks"))
        .is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn overrides(value: Value) -> RawObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_novasphere_decides_is_refused() {
        for (value, field) in [
            (json!({"runStrategy": "Always"}), "overrides.runStrategy:"),
            (json!({"running": null}), "overrides.running:"),
            (
                json!({"template": {"metadata": {"labels": {"vmi.kubevirt.io/id": "x"}}}}),
                "labels[vmi.kubevirt.io/id]:",
            ),
        ] {
            let error = validate(&overrides(value)).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn everything_else_passes() {
        let value =
            json!({"template": {"metadata": {"labels": {"kubevirt.io/size": "small"}}, "spec": {"hostname": "a"}}});
        assert!(validate(&overrides(value)).is_ok());
    }
}
