//! Containerized Data Importer (`cdi.kubevirt.io/v1beta1`), by hand from `kubevirt.io/containerized-data-importer-api`
//! v1.64.0 `pkg/apis/core/v1beta1/types.go`.

use serde::{Deserialize, Serialize};

use crate::{kubevirt::Condition, object::namespaced_object};

namespaced_object! {
    /// A volume that CDI fills with data. KubeVirt makes them from a VM's `dataVolumeTemplates`; novasphere only reads.
    DataVolume, "cdi.kubevirt.io"/"v1beta1", "datavolumes" {
        /// What CDI says about it.
        status("status"): DataVolumeStatus,
    }
}

/// The part of a data volume's status that explains why a machine waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataVolumeStatus {
    /// For example `ImportInProgress`, `Succeeded`, `Failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// For example `42.10%`, or `N/A`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// `Bound`, `Running` and `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
