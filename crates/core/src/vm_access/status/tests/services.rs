//! `ServicesReady`, `RoutesReady` and `status.services`.

use serde_json::json;

use super::*;

#[test]
fn routes_wait_for_a_gateway() {
    let mut found = with_service("ClusterIP", Ok(service(json!({"clusterIP": "10.0.0.1"}), json!({}))));
    found.spec["routes"] = json!([{"name": "r", "service": "s", "port": 22, "tcp": {}}]);
    let (routes, message) = found.condition(types::ROUTES_READY);
    assert_eq!(
        (routes.as_str(), message.contains("Route r: no gateway is configured")),
        ("False NoGatewayConfigured", true)
    );
    assert_eq!(found.condition(types::READY).0, "False NoGatewayConfigured");

    found.spec["routes"][0]["port"] = json!(23);
    assert_eq!(found.condition(types::ROUTES_READY).0, "False InvalidSpec");
    assert_eq!(found.condition(types::VIRTUAL_MACHINE_READY).0, "Unknown InvalidSpec");
    assert_eq!(found.condition(types::READY).0, "False InvalidSpec");
}

#[test]
fn services_tell_addresses_that_a_person_can_use() {
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.4"}, {"hostname": "lb.example.com"}]}});
    for (type_, spec, status, addresses, endpoint) in [
        (
            "ClusterIP",
            json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}),
            json!({}),
            &["10.0.0.1", "fd00::1"][..],
            "10.0.0.1:22",
        ),
        (
            "ClusterIP",
            json!({"clusterIP": "fd00::1"}),
            json!({}),
            &["fd00::1"][..],
            "[fd00::1]:22",
        ),
        (
            "NodePort",
            json!({"clusterIP": "10.0.0.1"}),
            json!({}),
            &["203.0.113.7", "fd00::7"][..],
            "203.0.113.7:30022",
        ),
        (
            "LoadBalancer",
            json!({"clusterIP": "10.0.0.1"}),
            ingress,
            &["198.51.100.4", "lb.example.com"][..],
            "198.51.100.4:22",
        ),
    ] {
        let found = with_service(type_, Ok(service(spec, status)));
        found.services_are("True AllReady");
        let status = found.outcome().status.services.remove(0);
        assert_eq!(
            (status.name.as_str(), status.service_name.as_deref()),
            ("s", Some("web-1-s"))
        );
        assert_eq!(status.addresses, addresses);
        assert_eq!(status.endpoint.as_deref(), Some(endpoint));
        assert_eq!(
            serde_json::to_value(&status.ports).unwrap(),
            json!([
                {"name": "ssh", "port": 22, "nodePort": 30022, "protocol": "TCP"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
            ])
        );
    }
}

#[test]
fn services_that_cannot_reach_the_machine_are_told() {
    let mut found = with_service("ClusterIP", Ok(service(json!({"clusterIP": "10.0.0.1"}), json!({}))));
    found.spec["virtualMachine"] = json!({"name": "web-1"});
    let devices = |found: &mut Found, networks: Value, interfaces: Value| {
        let spec = &mut found.machine.as_mut().unwrap()["spec"]["template"]["spec"];
        spec["networks"] = networks;
        spec["domain"]["devices"]["interfaces"] = interfaces;
    };
    let pod = json!([{"name": "default", "pod": {}}]);
    devices(
        &mut found,
        pod.clone(),
        json!([{"name": "default", "masquerade": {}, "ports": [{"port": 8080}]}]),
    );
    let message = found.services_are("False PortNotForwarded");
    assert!(
        message.contains("forwards only 8080/TCP, so 22/TCP cannot be reached"),
        "{message}"
    );
    assert_eq!(found.condition(types::READY).0, "False PortNotForwarded");
    let lan = json!([{"name": "default", "multus": {"networkName": "lan"}}]);
    devices(&mut found, lan, json!([{"name": "default", "bridge": {}}]));
    found.services_are("False NoPodNetwork");
    devices(&mut found, pod, json!([{"name": "default", "masquerade": {}}]));
    found.services_are("True AllReady");
}

#[test]
fn services_that_are_not_there_are_told() {
    Found::wanting("").printing("Stopped").services_are("True NoServices");
    with_service("LoadBalancer", Ok(service(json!({}), json!({})))).services_are("False LoadBalancerPending");

    let clash = "spec.ports[0].nodePort: Invalid value: 30022: provided port is already allocated";
    let mut found = with_service("NodePort", Err(Failure::new(FailureKind::NodePortInUse(30022), clash)));
    found.old = json!({"services": [{"name": "s", "endpoint": "203.0.113.7:30021"}, {"name": "gone"}]});
    let message = found.services_are("False NodePortInUse");
    assert!(
        message.starts_with("Service s: node port 30022 belongs to another Service"),
        "{message}"
    );
    assert_eq!(found.condition(types::VIRTUAL_MACHINE_READY).0, "True Stopped");
    assert_eq!(found.condition(types::READY).0, "False NodePortInUse");
    assert!(!found.is_stalled(), "a port is free again when its holder goes");
    let services = found.outcome().status.services;
    assert_eq!(
        (services.len(), services[0].endpoint.as_deref()),
        (1, Some("203.0.113.7:30021"))
    );

    with_service("ClusterIP", Err(Failure::new(FailureKind::NotOwned, "taken"))).services_are("False ServiceTaken");
    let mut not_applied = with_service("ClusterIP", Ok(Value::Null));
    not_applied.services.clear();
    not_applied.services_are("False ApiUnavailable");
}
