//! Ports that somebody else put into a Service of ours.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use novasphere_core::label::{self, Owner};
use novasphere_runtime::{apply::ApplyError, lease::NotLeader};
use serde_json::json;

use super::Context;
use crate::run::VM_ACCESS_MANAGER;

/// Makes the ports of the live Service those of `desired`, when it has others after an apply that answered `applied` or was
/// refused. Returns whether it did.
///
/// Server-side apply leaves items of a list to whoever wrote them, so a port that a person added would stay reachable, and
/// one that he changed would stay beside ours, which the apiserver refuses for ever ("Duplicate value" of the name). A
/// merge patch replaces the whole list.
///
/// # Errors
///
/// [`NotLeader`] when this process may not write any more.
pub(super) async fn take_back(
    desired: &Service,
    applied: Option<&Service>,
    owner: &Owner,
    context: &Context,
) -> Result<bool, NotLeader> {
    let namespace = desired.namespace().unwrap_or_default();
    let cached = context.caches.services.get(&namespace, &desired.name_any());
    let Some(live) = applied.or(cached.as_deref()) else {
        return Ok(false);
    };
    let ours = label::owner_uid(&live.metadata) == Some(&owner.uid) && live.metadata.deletion_timestamp.is_none();
    if !ours || !has_others(ports(live), ports(desired)) {
        return Ok(false);
    }
    tracing::info!(
        namespace,
        name = desired.name_any(),
        "taking back the ports of a Service"
    );
    let patch = json!({
        // Only over what was seen.
        "metadata": {"uid": live.uid(), "resourceVersion": live.resource_version()},
        "spec": {"ports": ports(desired)},
    });
    let parameters = PatchParams {
        field_manager: Some(VM_ACCESS_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api: Api<Service> = Api::namespaced(context.client.clone(), &namespace);
    match api.patch(&desired.name_any(), &parameters, &Patch::Merge(patch)).await {
        Ok(service) => {
            context.caches.services.written(service);
            Ok(true)
        }
        Err(error) => match ApplyError::from(error) {
            ApplyError::NotLeader(lost) => Err(lost),
            error => {
                tracing::info!(name = desired.name_any(), %error, "the ports were not taken back");
                Ok(false)
            }
        },
    }
}

fn ports(service: &Service) -> &[ServicePort] {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default()
}

/// Whether `live` has a port that is none of `desired`. The apiserver tells ports apart by number and protocol
/// (k8s.io/api/core/v1/types.go, `ServiceSpec.Ports`).
fn has_others(live: &[ServicePort], desired: &[ServicePort]) -> bool {
    let key = |port: &ServicePort| (port.port, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()));
    live.iter()
        .any(|port| !desired.iter().any(|wanted| key(wanted) == key(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: i32, protocol: Option<&str>) -> ServicePort {
        ServicePort {
            port: number,
            protocol: protocol.map(str::to_owned),
            ..ServicePort::default()
        }
    }

    #[test]
    fn a_port_is_known_by_number_and_protocol() {
        let desired = [port(53, Some("UDP")), port(80, None)];
        assert!(!has_others(&[port(80, Some("TCP"))], &desired));
        assert!(!has_others(&[], &desired));
        assert!(has_others(&[port(53, Some("TCP"))], &desired));
        assert!(has_others(&[port(80, None), port(81, None)], &desired));
    }
}
