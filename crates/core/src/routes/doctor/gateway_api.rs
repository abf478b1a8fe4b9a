//! A `Gateway`: its class, its listeners, and what its controller says of it.

use kube::core::DynamicObject;
use serde_json::Value;

use super::{
    super::{
        gateway::{AddressSource, EntryPoint},
        observed::ObservedGateway,
    },
    Examination, FindingReason, GatewayFinding, ReadOutcome,
};

impl Examination<'_> {
    /// What concerns the class.
    pub(super) fn gateway_api(&self) -> Vec<GatewayFinding> {
        if self.look.class != ReadOutcome::Missing {
            return Vec::new();
        }
        let class = self
            .look
            .source
            .found()
            .and_then(|gateway| text_at(gateway, "/spec/gatewayClassName"));
        vec![self.error(
            None,
            FindingReason::GatewayNotRunning,
            format!(
                "the GatewayClass {} of the Gateway does not exist, so no controller takes it. Install one that has it, or correct \
                 gatewayClassName",
                class.unwrap_or_default()
            ),
        )]
    }

    pub(super) fn gateway_object(&self, object: &Value, named: &AddressSource) -> Vec<GatewayFinding> {
        let mut findings = Vec::new();
        if let Ok(gateway) = serde_json::from_value::<DynamicObject>(object.clone()) {
            findings.extend(self.addresses(&ObservedGateway::of_gateway(&gateway)));
        }
        findings.extend(self.refusal(object, named));
        for (entry_point, protocol, kind) in self.expected() {
            let listeners = object.pointer("/spec/listeners").and_then(Value::as_array);
            let mut listeners = listeners.into_iter().flatten();
            let is_named = |listener: &&Value| text_at(listener, "/name") == Some(entry_point.name.as_str());
            if let Some(listener) = listeners.find(is_named) {
                findings.extend(self.protocol(listener, entry_point, protocol));
                findings.extend(self.allowed(listener, entry_point, kind));
            }
        }
        findings
    }

    /// Each port, with the protocol of its listener and the kind of route that it carries.
    fn expected(&self) -> impl Iterator<Item = (&EntryPoint, &'static str, &'static str)> {
        let gateway = self.gateway;
        let pool = gateway.entry_points.iter().map(|found| (found, "TCP", "TCPRoute"));
        let tls = gateway.tls.iter().map(|found| (found, "TLS", "TLSRoute"));
        let http = gateway.http.iter().map(|found| (found, "HTTP", "HTTPRoute"));
        let https = gateway.https.iter().map(|found| (found, "HTTPS", "HTTPRoute"));
        pool.chain(tls).chain(http).chain(https)
    }

    fn refusal(&self, object: &Value, named: &AddressSource) -> Option<GatewayFinding> {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let mut conditions = conditions.into_iter().flatten().filter(|condition| {
            let type_ = text_at(condition, "/type").unwrap_or_default();
            matches!(type_, "Accepted" | "Programmed")
        });
        let is_false = |condition: &&Value| text_at(condition, "/status") == Some("False");
        let Some(condition) = conditions.clone().find(is_false) else {
            let is_taken = conditions.any(|condition| text_at(condition, "/status") == Some("True"));
            return (!is_taken).then(|| {
                self.warning(
                    None,
                    FindingReason::GatewayNotRunning,
                    format!("no controller has said anything of {named} yet. The one of its GatewayClass has to run"),
                )
            });
        };
        let word = |pointer: &str| text_at(condition, pointer).unwrap_or_default();
        Some(self.error(
            None,
            FindingReason::RefusedByGateway,
            format!(
                "{named} is not {}: {}: {}. Correct it as its controller says",
                word("/type"),
                word("/reason"),
                word("/message").trim_end_matches('.')
            ),
        ))
    }

    fn protocol(&self, listener: &Value, entry_point: &EntryPoint, wanted: &str) -> Option<GatewayFinding> {
        let found = text_at(listener, "/protocol").unwrap_or_default();
        (found != wanted).then(|| {
            self.error(
                Some(entry_point),
                FindingReason::WrongProtocol,
                format!(
                    "the listener {} has the protocol {found}, and its routes need {wanted}. Correct the listener, or give the gateway another \
                     one in the controller's configuration",
                    entry_point.name
                ),
            )
        })
    }

    fn allowed(&self, listener: &Value, entry_point: &EntryPoint, kind: &str) -> Option<GatewayFinding> {
        let kinds = listener.pointer("/allowedRoutes/kinds").and_then(Value::as_array);
        let lets_in = |allowed: &Value| text_at(allowed, "/kind") == Some(kind);
        let is_kind_let_in = kinds.is_none_or(|kinds| kinds.is_empty() || kinds.iter().any(lets_in));
        let from = text_at(listener, "/allowedRoutes/namespaces/from").unwrap_or("Same");
        if is_kind_let_in && from != "Same" && from != "None" {
            return None;
        }
        let what = if is_kind_let_in {
            "no routes of other namespaces (allowedRoutes.namespaces.from); set it to All or Selector".to_owned()
        } else {
            format!("no {kind} (allowedRoutes.kinds); add it")
        };
        Some(self.error(
            Some(entry_point),
            FindingReason::RoutesNotAllowed,
            format!("the listener {} lets in {what}", entry_point.name),
        ))
    }
}

fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}
