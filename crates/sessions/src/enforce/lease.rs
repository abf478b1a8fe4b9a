//! The sign of life of a process that carries streams: a `Lease` that it renews. The controller takes the streams of a
//! process whose lease is gone or no longer renewed out of the sessions.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use novasphere_core::{
    console_session::gateway::{GATEWAY_COMPONENT, KEY_COMPONENT},
    label,
    name::DnsSubdomain,
};
use novasphere_runtime::apply::{Applier, WriteError};
use tokio::time::{MissedTickBehavior, interval};

/// What the names of these leases begin with.
pub const LEASE_NAME_PREFIX: &str = "novasphere-gateway-";

/// A gateway that has not renewed for this long is taken for dead.
pub const LEASE_TTL: Duration = Duration::from_secs(15);

/// How often it is renewed.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(5);

const MANAGER: &str = "novasphere/gateway";

/// Random characters in a process's name: a process that starts again under its old name has none of its old streams.
const SUFFIX_BYTES: usize = 5;

/// The name of this process cannot be that of an object.
#[derive(Debug, thiserror::Error)]
#[error(
    "--instance {0:?} cannot be part of an object's name; give at most 200 lower-case letters, digits, dots and dashes that begin and end with a letter or digit"
)]
pub struct HolderNameError(String);

/// A process's lease.
#[derive(Clone)]
pub(crate) struct GatewayLease {
    applier: Applier,
    namespace: String,
    holder: String,
}

/// A name for this process that no earlier one had.
///
/// # Errors
///
/// [`HolderNameError`] when `instance` does not fit.
pub(crate) fn identity(instance: &str) -> Result<String, HolderNameError> {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let random = rand::random::<[u8; SUFFIX_BYTES]>();
    let suffix: String = random
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte % 32)))
        .map(|byte| char::from(*byte))
        .collect();
    let holder = format!("{instance}-{suffix}");
    if instance.is_empty()
        || holder.len() > 200
        || DnsSubdomain::parse(&format!("{LEASE_NAME_PREFIX}{holder}")).is_err()
    {
        return Err(HolderNameError(instance.to_owned()));
    }
    Ok(holder)
}

impl GatewayLease {
    pub(crate) fn new(applier: &Applier, namespace: &str, holder: &str) -> Self {
        Self {
            applier: applier.with_field_manager(MANAGER).within(RENEW_INTERVAL),
            namespace: namespace.to_owned(),
            holder: holder.to_owned(),
        }
    }

    fn name(&self) -> String {
        format!("{LEASE_NAME_PREFIX}{}", self.holder)
    }

    /// Renews until it is dropped. A failure is tried again at the next turn.
    pub(crate) async fn keep(self) {
        let mut turns = interval(RENEW_INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Err(error) = self.renew().await {
                tracing::warn!(lease = self.name(), "cannot renew the gateway's lease: {error}");
            }
        }
    }

    /// Makes the lease when there is none.
    pub(crate) async fn renew(&self) -> Result<(), WriteError> {
        self.applier.renew(&self.lease()).await
    }

    fn lease(&self) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name()),
                namespace: Some(self.namespace.clone()),
                labels: Some(
                    [
                        (label::KEY_MANAGED_BY.to_owned(), label::MANAGED_BY.to_owned()),
                        (KEY_COMPONENT.to_owned(), GATEWAY_COMPONENT.to_owned()),
                    ]
                    .into(),
                ),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.holder.clone()),
                lease_duration_seconds: i32::try_from(LEASE_TTL.as_secs()).ok(),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Says that this process carries nothing any more.
    pub(crate) async fn release(&self) {
        if let Err(error) = self.applier.delete(&self.lease()).await {
            tracing::warn!(lease = self.name(), "cannot delete the gateway's lease: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_name_of_its_own_that_objects_can_have() {
        let one = identity("console-7d9f").unwrap();
        assert!(one.starts_with("console-7d9f-"), "{one}");
        assert_ne!(one, identity("console-7d9f").unwrap());
        for bad in ["Console", "a_b", "", &"a".repeat(250)] {
            assert!(identity(bad).is_err(), "{bad:?}");
        }
    }
}
