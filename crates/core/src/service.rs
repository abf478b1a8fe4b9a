//! What the Services of all kinds have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ClientIPConfig, ServiceSpec, SessionAffinityConfig};
use novasphere_crd::{IpFamily, IpFamilyPolicy, ServiceSettings, ServiceType, SessionAffinity};

use crate::allowed_names::AllowedNames;

/// Annotations with this beginning are read by programs of novasphere.
const OWN_PREFIX: &str = "novasphere.io/";

/// But for those with this one, which nobody reads.
const FREE_PREFIX: &str = "novasphere.io/x-";

/// The spec of a Service but for its selector and ports.
#[must_use]
pub fn spec(service_type: ServiceType, settings: &ServiceSettings) -> ServiceSpec {
    let source_ranges: Vec<_> = settings.source_ranges.iter().map(ToString::to_string).collect();
    let families: Vec<_> = settings
        .ip_families
        .iter()
        .map(|family| family.as_str().to_owned())
        .collect();
    ServiceSpec {
        type_: Some(type_name(service_type).to_owned()),
        ip_family_policy: Some(family_policy(settings).as_str().to_owned()),
        ip_families: (!families.is_empty()).then_some(families),
        load_balancer_source_ranges: (!source_ranges.is_empty()).then_some(source_ranges),
        load_balancer_class: settings.load_balancer_class.clone(),
        external_traffic_policy: settings
            .external_traffic_policy
            .map(|policy| policy.as_str().to_owned()),
        internal_traffic_policy: settings
            .internal_traffic_policy
            .map(|policy| policy.as_str().to_owned()),
        session_affinity: settings.session_affinity.map(|affinity| affinity.as_str().to_owned()),
        session_affinity_config: affinity_config(settings),
        ..ServiceSpec::default()
    }
}

const fn type_name(service_type: ServiceType) -> &'static str {
    match service_type {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    }
}

/// Both families where the cluster has both, the one that it has elsewhere; but who names one family wants that one.
fn family_policy(settings: &ServiceSettings) -> IpFamilyPolicy {
    let default = match settings.ip_families.as_slice() {
        [IpFamily::V4 | IpFamily::V6] => IpFamilyPolicy::SingleStack,
        _ => IpFamilyPolicy::PreferDualStack,
    };
    settings.ip_family_policy.unwrap_or(default)
}

fn affinity_config(settings: &ServiceSettings) -> Option<SessionAffinityConfig> {
    let timeout = settings
        .session_affinity_timeout
        .filter(|_| settings.session_affinity == Some(SessionAffinity::ClientIP))?;
    Some(SessionAffinityConfig {
        client_ip: Some(ClientIPConfig {
            timeout_seconds: Some(i32::try_from(timeout.get().as_secs()).unwrap_or(i32::MAX).max(1)),
        }),
    })
}

/// The annotations of a Service, when there are any.
#[must_use]
pub fn annotations(settings: &ServiceSettings) -> Option<BTreeMap<String, String>> {
    (!settings.annotations.is_empty()).then(|| settings.annotations.clone())
}

/// Why a Service may not have an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationRefusal {
    /// Programs of novasphere read it.
    Own,
    /// The administrator does not allow it.
    NotAllowed,
}

/// The first annotation that a Service may not have, and why.
#[must_use]
pub fn refused_annotation<'a>(
    settings: &'a ServiceSettings,
    allowed: &AllowedNames,
) -> Option<(&'a str, AnnotationRefusal)> {
    let refusal = |key: &str| {
        let is_own = key.starts_with(OWN_PREFIX) && !key.starts_with(FREE_PREFIX);
        let refusals = [
            (is_own, AnnotationRefusal::Own),
            (!allowed.allows(key), AnnotationRefusal::NotAllowed),
        ];
        refusals
            .into_iter()
            .find_map(|(is_refused, refusal)| is_refused.then_some(refusal))
    };
    let mut keys = settings.annotations.keys();
    keys.find_map(|key| Some((key.as_str(), refusal(key)?)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn settings(settings: &Value) -> ServiceSettings {
        serde_json::from_value(settings.clone()).unwrap()
    }

    #[test]
    fn each_setting_comes_to_its_field() {
        let of = |given: &Value| serde_json::to_value(spec(ServiceType::LoadBalancer, &settings(given))).unwrap();
        assert_eq!(
            of(&json!({})),
            json!({"type": "LoadBalancer", "ipFamilyPolicy": "PreferDualStack"}),
            "what is not asked for is left to Kubernetes"
        );
        for (given, made) in [
            (
                json!({"externalTrafficPolicy": "Local"}),
                json!({"externalTrafficPolicy": "Local"}),
            ),
            (
                json!({"internalTrafficPolicy": "Cluster"}),
                json!({"internalTrafficPolicy": "Cluster"}),
            ),
            (
                json!({"loadBalancerClass": "example.org/internal"}),
                json!({"loadBalancerClass": "example.org/internal"}),
            ),
            (
                json!({"sourceRanges": ["10.0.0.0/8"]}),
                json!({"loadBalancerSourceRanges": ["10.0.0.0/8"]}),
            ),
            (
                json!({"sessionAffinity": "ClientIP"}),
                json!({"sessionAffinity": "ClientIP"}),
            ),
            (
                json!({"sessionAffinity": "ClientIP", "sessionAffinityTimeout": "2h"}),
                json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7200}}}),
            ),
            (
                json!({"sessionAffinity": "None", "sessionAffinityTimeout": "2h"}),
                json!({"sessionAffinity": "None"}),
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"}),
            ),
            (
                json!({"ipFamilies": ["IPv6", "IPv4"]}),
                json!({"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "PreferDualStack"}),
            ),
            (
                json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
                json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
            ),
        ] {
            let mut wanted = json!({"type": "LoadBalancer", "ipFamilyPolicy": "PreferDualStack"});
            wanted
                .as_object_mut()
                .unwrap()
                .extend(made.as_object().unwrap().clone());
            assert_eq!(of(&given), wanted, "{given}");
        }
    }

    #[test]
    fn an_annotation_is_refused_unless_it_is_allowed() {
        let given = |key: &str| settings(&json!({"annotations": {key: "v"}}));
        let all = AllowedNames::new(["*"]);
        let some = AllowedNames::new(["metallb.io/*"]);
        for (key, by_all, by_some) in [
            ("metallb.io/address-pool", None, None),
            (
                "external-dns.alpha.kubernetes.io/hostname",
                None,
                Some(AnnotationRefusal::NotAllowed),
            ),
            ("novasphere.io/x-team", None, Some(AnnotationRefusal::NotAllowed)),
            (
                "novasphere.io/applied-hash",
                Some(AnnotationRefusal::Own),
                Some(AnnotationRefusal::Own),
            ),
        ] {
            let given = given(key);
            assert_eq!(refused_annotation(&given, &all), by_all.map(|why| (key, why)));
            assert_eq!(refused_annotation(&given, &some), by_some.map(|why| (key, why)));
        }
    }
}
