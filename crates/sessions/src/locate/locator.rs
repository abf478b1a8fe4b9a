//! Where a server behind a Service is: its address and its password.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use k8s_openapi::api::{core::v1::Secret, discovery::v1::EndpointSlice};
use kube::{Api, Client, ResourceExt, api::ListParams};
use novasphere_core::{
    console_session::target::{Console, SecretKey},
    label::KEY_OWNER_UID,
};
use novasphere_dataplane::upstream::tcp::TcpUpstream;
use novasphere_wire::{
    close::{EndReason, StreamEnd},
    rfb::{security::vnc_auth::VncPassword, upstream::Authentication},
};
use rand::seq::IndexedRandom;
use tokio::time::timeout;

/// The `ClusterRole` that lets gateways read such Secrets. The chart binds it in every namespace unless that was narrowed;
/// then an administrator binds it in each namespace that needs it.
pub const PASSWORDS_ROLE: &str = "novasphere-console-passwords";

/// How long kube-apiserver may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads endpoints and Secrets. Clones are the same.
#[derive(Clone)]
pub(crate) struct Locator {
    client: Client,
}

impl Locator {
    pub(crate) const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Where a server behind a Service is, with its password.
    pub(crate) async fn locate(&self, console: &Console) -> Result<TcpUpstream, StreamEnd> {
        match console {
            Console::Vnc {
                namespace,
                service,
                owner_uid,
                port,
                password,
            } => Ok(TcpUpstream {
                address: self.address(namespace, service, owner_uid, port).await?,
                authentication: match password {
                    None => Authentication::None,
                    Some(key) => Authentication::Password(self.password(namespace, key).await?),
                },
            }),
            Console::Ssh {
                namespace,
                service,
                owner_uid,
                port,
            } => Ok(TcpUpstream {
                address: self.address(namespace, service, owner_uid, port).await?,
                authentication: Authentication::None,
            }),
            Console::KubeVirt { .. } => Err(StreamEnd {
                reason: EndReason::Internal,
                detail: Some("a console of KubeVirt is behind no Service".to_owned()),
            }),
        }
    }

    /// One of the Service's ready endpoints. They are read rather than the Service's address, so that no kube-proxy is needed.
    ///
    /// A Service of that name may be somebody else's, so the slices have to carry the target's UID: Kubernetes copies a Service's labels
    /// to its slices (`setEndpointSliceLabels` in `k8s.io/endpointslice`).
    async fn address(
        &self,
        namespace: &str,
        service: &str,
        owner_uid: &str,
        port: &str,
    ) -> Result<SocketAddr, StreamEnd> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let of_service = ListParams::default().labels(&format!(
            "kubernetes.io/service-name={service},{KEY_OWNER_UID}={owner_uid}"
        ));
        let slices = bounded(slices.list(&of_service), "the endpoints of the console's Service").await?;
        let addresses: Vec<_> = slices.iter().flat_map(|slice| addresses(slice, port)).collect();
        addresses.choose(&mut rand::rng()).copied().ok_or_else(|| StreamEnd {
            reason: EndReason::TargetUnreachable,
            detail: Some(format!(
                "the Service {namespace}/{service} of the target has no ready endpoint with the port {port:?}; see that it is the target's own \
                 (label {KEY_OWNER_UID}), and that what is behind it runs and passes its readiness probe"
            )),
        })
    }

    async fn password(&self, namespace: &str, key: &SecretKey) -> Result<VncPassword, StreamEnd> {
        let SecretKey {
            secret: name,
            key,
            label,
        } = key;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let refused = |detail: String| StreamEnd {
            reason: EndReason::TargetRefused,
            detail: Some(detail),
        };
        let secret = match timeout(READ_TIMEOUT, secrets.get_opt(name)).await {
            Ok(Ok(Some(secret))) => secret,
            Ok(Ok(None)) => {
                return Err(refused(format!(
                    "the Secret {namespace}/{name} with the VNC server's password does not exist"
                )));
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return Err(refused(format!(
                    "the gateway may not read the Secret {namespace}/{name}; bind the ClusterRole {PASSWORDS_ROLE} to its \
                     ServiceAccount with a RoleBinding in the namespace {namespace}"
                )));
            }
            Ok(Err(error)) => {
                return Err(unavailable(format!(
                    "cannot read the Secret {namespace}/{name}: {error}"
                )));
            }
            Err(_) => {
                return Err(unavailable(format!(
                    "cannot read the Secret {namespace}/{name} in time"
                )));
            }
        };
        if let Some(label) = label
            && secret.labels().get(*label).is_none_or(|value| value != "true")
        {
            return Err(refused(format!(
                "the Secret {namespace}/{name} is not marked as a VNC password; if it is one, let somebody who may change it \
                 label it: kubectl -n {namespace} label secret {name} {label}=true"
            )));
        }
        let password = secret.data.as_ref().and_then(|data| data.get(key));
        password
            .map(|password| VncPassword::new(&password.0))
            .ok_or_else(|| refused(format!("the Secret {namespace}/{name} has no key {key:?}")))
    }
}

/// Those that are addresses: a slice of the type `FQDN` has names, and nothing is looked up for a viewer.
fn addresses(slice: &EndpointSlice, port: &str) -> Vec<SocketAddr> {
    let ports = slice.ports.iter().flatten();
    // A Service with a single port without a name has endpoints without one.
    let numbers: Vec<i32> = ports
        .filter(|of_slice| of_slice.name.as_deref().unwrap_or_default() == port)
        .filter_map(|of_slice| of_slice.port)
        .collect();
    let ready = slice
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false));
    let hosts = ready.flat_map(|endpoint| &endpoint.addresses);
    hosts
        .filter_map(|host| host.parse::<IpAddr>().ok())
        .flat_map(|host| numbers.iter().map(move |number| (host, *number)))
        .filter_map(|(host, number)| Some(SocketAddr::new(host, u16::try_from(number).ok()?)))
        .collect()
}

fn unavailable(detail: String) -> StreamEnd {
    StreamEnd {
        reason: EndReason::Unavailable,
        detail: Some(detail),
    }
}

async fn bounded<T>(request: impl Future<Output = kube::Result<T>>, what: &str) -> Result<T, StreamEnd> {
    match timeout(READ_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unavailable(format!("cannot read {what}: {error}"))),
        Err(_) => Err(unavailable(format!("cannot read {what} in time"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_endpoints_with_the_named_port_count() {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4",
            "ports": [{"name": "vnc", "port": 5901}, {"name": "ssh", "port": 22}],
            "endpoints": [
                {"addresses": ["192.0.2.1"], "conditions": {"ready": true}},
                {"addresses": ["192.0.2.2"], "conditions": {"ready": false}},
                {"addresses": ["192.0.2.3"]},
                {"addresses": ["name.example"]},
            ],
        }))
        .unwrap();
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(
            addresses(&slice, "vnc"),
            [address("192.0.2.1:5901"), address("192.0.2.3:5901")]
        );
        assert!(addresses(&slice, "web").is_empty());
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv6", "ports": [{"name": "vnc", "port": 5901}], "endpoints": [{"addresses": ["2001:db8::1"]}],
        }))
        .unwrap();
        assert_eq!(addresses(&slice, "vnc"), [address("[2001:db8::1]:5901")]);
    }
}
