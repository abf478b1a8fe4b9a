//! What is wrong with the gateways of the configuration, in the cluster as it is: for `novasphere doctor gateways`, for the metrics, and for
//! the conditions of the routes that it concerns.
//!
//! Reading the cluster is the caller's: a [`GatewayLook`] holds what was read, as it came.

mod definitions;
mod finding;
mod gateway_api;
mod kong;
mod process;
mod report;
mod service;
mod traefik;
mod twice;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

pub use self::{
    finding::{FindingReason, FindingSeverity, GatewayFinding},
    report::{has_errors, json_report, text_report},
    traefik::OtherRoute,
};
use super::{
    gateway::{AddressSource, EntryPoint, GatewayKind, RouteGateway, RouteGateways},
    inspection::TraefikInspection,
    object::ServedRouteApis,
};

/// What was read of the surroundings of one gateway.
#[derive(Clone, Debug, Default)]
pub struct GatewayLook {
    /// The Service or `Gateway` that has its addresses.
    pub source: ReadOutcome<Value>,
    /// The Pods behind its Service.
    pub pods: ReadOutcome<Vec<Value>>,
    /// The `IngressClass` of Kong, or the `GatewayClass` of a `Gateway`.
    pub class: ReadOutcome<Value>,
    /// What Traefik's own API says.
    pub api: ReadOutcome<Arc<TraefikInspection>>,
    /// Routes of Traefik that novasphere did not make.
    pub others: ReadOutcome<Vec<OtherRoute>>,
    /// Rights that the controller does not have, such as `create ingressroutetcps.traefik.io`.
    pub missing_rights: ReadOutcome<Vec<String>>,
}

/// What came of reading something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReadOutcome<T> {
    /// It was not asked for.
    #[default]
    NotAsked,
    /// It does not exist.
    Missing,
    /// It could not be read, and why.
    Failed(String),
    /// It was read.
    Found(T),
}

impl<T> ReadOutcome<T> {
    /// What was read.
    #[must_use]
    pub const fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            Self::NotAsked | Self::Missing | Self::Failed(_) => None,
        }
    }
}

/// What is known of all gateways.
#[derive(Clone, Copy, Debug)]
pub struct GatewaySurroundings<'a> {
    /// The APIs that the cluster serves.
    pub apis: &'a ServedRouteApis,
    /// What was read, by the gateway's name.
    pub looks: &'a BTreeMap<String, GatewayLook>,
    /// Addresses of nodes, from [`addresses`](crate::node::addresses).
    pub node_addresses: &'a [String],
}

/// Everything that is wrong, by gateway and then the worst first.
#[must_use]
pub fn examine(gateways: &RouteGateways, surroundings: &GatewaySurroundings<'_>) -> Vec<GatewayFinding> {
    let unread = GatewayLook::default();
    let mut findings: Vec<_> = gateways
        .all()
        .iter()
        .flat_map(|gateway| {
            let look = surroundings.looks.get(&gateway.name).unwrap_or(&unread);
            Examination {
                gateway,
                look,
                surroundings,
            }
            .findings()
        })
        .collect();
    findings.extend(twice::findings(gateways, surroundings));
    findings.sort();
    findings.dedup();
    findings
}

/// What is wrong with one gateway is looked for here.
struct Examination<'a> {
    gateway: &'a RouteGateway,
    look: &'a GatewayLook,
    surroundings: &'a GatewaySurroundings<'a>,
}

impl Examination<'_> {
    fn findings(&self) -> Vec<GatewayFinding> {
        let Some(kind) = self.gateway.kind() else {
            return Vec::new();
        };
        let mut findings = self.definitions(kind);
        findings.extend(self.rights());
        findings.extend(self.source());
        findings.extend(match kind {
            GatewayKind::Traefik(traefik) => self.traefik(traefik),
            GatewayKind::Kong(kong) => self.kong(kong),
            GatewayKind::GatewayApi(_) => self.gateway_api(),
        });
        findings
    }

    fn rights(&self) -> Vec<GatewayFinding> {
        let missing = match &self.look.missing_rights {
            ReadOutcome::Found(missing) if !missing.is_empty() => missing,
            ReadOutcome::Failed(why) => {
                return vec![self.not_checked(format!("what the controller may do was not told: {why}"))];
            }
            ReadOutcome::Found(_) | ReadOutcome::NotAsked | ReadOutcome::Missing => return Vec::new(),
        };
        vec![self.error(
            None,
            FindingReason::Forbidden,
            format!(
                "the controller may not {}. Give it the ClusterRole and Role for this gateway: rbac.create of the chart, or config/gateway",
                super::pool::listed(missing.iter().map(String::as_str))
            ),
        )]
    }

    /// The Service or `Gateway`, and its port for each entry point.
    fn source(&self) -> Vec<GatewayFinding> {
        let Some(named) = self.gateway.address_source() else {
            return Vec::new();
        };
        match &self.look.source {
            ReadOutcome::NotAsked => Vec::new(),
            ReadOutcome::Missing => vec![self.error(
                None,
                FindingReason::GatewayNotFound,
                format!("{named} does not exist. Install the gateway, or correct its namespace and name in the controller's configuration"),
            )],
            ReadOutcome::Failed(why) => vec![self.not_checked(format!("{named} cannot be read: {why}"))],
            ReadOutcome::Found(object) => match &named {
                AddressSource::Service(..) => self.service(object, &named),
                AddressSource::Gateway(..) => self.gateway_object(object, &named),
            },
        }
    }

    /// Why something could not be looked at.
    fn not_checked(&self, message: String) -> GatewayFinding {
        self.finding(FindingSeverity::Note, None, FindingReason::NotChecked, message)
    }

    fn error(&self, entry_point: Option<&EntryPoint>, reason: FindingReason, message: String) -> GatewayFinding {
        self.finding(FindingSeverity::Error, entry_point, reason, message)
    }

    fn warning(&self, entry_point: Option<&EntryPoint>, reason: FindingReason, message: String) -> GatewayFinding {
        self.finding(FindingSeverity::Warning, entry_point, reason, message)
    }

    fn finding(
        &self,
        severity: FindingSeverity,
        entry_point: Option<&EntryPoint>,
        reason: FindingReason,
        message: String,
    ) -> GatewayFinding {
        GatewayFinding {
            gateway: self.gateway.name.clone(),
            severity,
            entry_point: entry_point.map(|entry_point| entry_point.name.clone()),
            reason,
            message,
        }
    }
}

#[cfg(test)]
mod tests;
