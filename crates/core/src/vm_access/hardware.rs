//! What a machine has, read from the machine itself: an adopted one is its author's, and `overrides` may change everything about one that is
//! made here.

use novasphere_crd::AccessServicePort;
use novasphere_foreign::kubevirt::{Devices, VirtualMachine, VirtualMachineInstance};
use serde_json::Value;

/// The consoles that a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineConsoles {
    /// Its screen.
    pub screen: bool,
    /// Its serial console.
    pub serial: bool,
}

impl MachineConsoles {
    /// Those of a machine: of its present run, which has what an instance type and a preference say, else as its spec says. One of which nothing
    /// is known yet has both, as `KubeVirt` gives them unless told otherwise.
    #[must_use]
    pub fn of(machine: Option<&VirtualMachine>, instance: Option<&VirtualMachineInstance>) -> Self {
        let of_run = || Some(instance?.spec.as_ref()?.domain.devices);
        let of_spec = || {
            let spec = machine?.spec.as_ref()?;
            // Most specs say nothing of it, and parsing one costs more than to look for the word.
            if !spec.as_str().contains("autoattach") {
                return None;
            }
            let devices = spec.to_value().pointer("/template/spec/domain/devices")?.clone();
            serde_json::from_value::<Devices>(devices).ok()
        };
        let devices = of_run().or_else(of_spec).unwrap_or_default();
        Self {
            screen: devices.autoattach_graphics_device != Some(false),
            serial: devices.autoattach_serial_console != Some(false),
        }
    }
}

/// Why ports of a guest cannot be reached by a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortObstacle {
    /// The machine is not on the Pod network.
    NoPodNetwork,
    /// Its interface forwards other ports alone.
    NotForwarded {
        /// The interface.
        interface: String,
        /// The ports that it forwards, in words.
        forwarded: String,
        /// Those that are missing, in words.
        missing: String,
    },
}

/// What keeps a Service from the ports of a guest, by the spec of its `VirtualMachine`.
#[must_use]
pub fn port_obstacle(spec: &Value, ports: &[AccessServicePort]) -> Option<PortObstacle> {
    let template = spec.pointer("/template/spec")?;
    let list = |path: &str| template.pointer(path).and_then(Value::as_array).map(Vec::as_slice);
    let networks = list("/networks").unwrap_or_default();
    let interfaces = list("/domain/devices/interfaces").unwrap_or_default();
    if networks.is_empty() {
        // KubeVirt joins it to the Pod network unless told otherwise; such an interface forwards everything.
        let joins = template.pointer("/domain/devices/autoattachPodInterface");
        return (joins == Some(&Value::Bool(false))).then_some(PortObstacle::NoPodNetwork);
    }
    // The network that is to be in place of the Pod's own has the Pod's address.
    let is_of_pod = |network: &&Value| {
        let replaces = network.pointer("/multus/default") == Some(&Value::Bool(true));
        network.get("pod").is_some_and(|pod| !pod.is_null()) || replaces
    };
    let Some(name) = networks.iter().find(is_of_pod).and_then(|network| network.get("name")) else {
        return Some(PortObstacle::NoPodNetwork);
    };
    let interface = interfaces
        .iter()
        .find(|interface| interface.get("name") == Some(name))?;
    not_forwarded(interface, ports)
}

/// The ports that an interface with a list of ports leaves out. Those bound by a bridge or a virtual function pass everything.
fn not_forwarded(interface: &Value, ports: &[AccessServicePort]) -> Option<PortObstacle> {
    let passes_all = ["bridge", "sriov", "macvtap"];
    if passes_all
        .iter()
        .any(|binding| interface.get(binding).is_some_and(|value| !value.is_null()))
    {
        return None;
    }
    let listed = interface.get("ports")?.as_array().filter(|ports| !ports.is_empty())?;
    let forwarded: Vec<_> = listed
        .iter()
        .filter_map(|port| {
            let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            Some(format!("{}/{}", port.get("port")?.as_u64()?, protocol.to_uppercase()))
        })
        .collect();
    let wanted = ports
        .iter()
        .map(|port| format!("{}/{}", port.target_port.unwrap_or(port.port), port.protocol.as_str()));
    let missing: Vec<_> = wanted.filter(|wanted| !forwarded.contains(wanted)).collect();
    (!missing.is_empty()).then(|| PortObstacle::NotForwarded {
        interface: interface
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        forwarded: forwarded.join(", "),
        missing: missing.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(devices: &Value) -> VirtualMachine {
        let spec = json!({"template": {"spec": {"domain": {"devices": devices}}}});
        serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()
    }

    fn consoles(machine: Option<&VirtualMachine>, instance: Option<&VirtualMachineInstance>) -> (bool, bool) {
        let MachineConsoles { screen, serial } = MachineConsoles::of(machine, instance);
        (screen, serial)
    }

    #[test]
    fn consoles_are_those_of_the_run_and_else_of_the_spec() {
        let headless = machine(&json!({"autoattachGraphicsDevice": false}));
        assert_eq!(consoles(None, None), (true, true));
        assert_eq!(consoles(Some(&machine(&json!({"rng": {}}))), None), (true, true));
        assert_eq!(consoles(Some(&headless), None), (false, true));
        assert_eq!(
            consoles(Some(&machine(&json!({"autoattachSerialConsole": false}))), None),
            (true, false)
        );
        // A preference took the screen away.
        let run =
            json!({"metadata": {"name": "a"}, "spec": {"domain": {"devices": {"autoattachGraphicsDevice": false}}}});
        let run: VirtualMachineInstance = serde_json::from_value(run).unwrap();
        assert_eq!(consoles(Some(&machine(&json!({}))), Some(&run)), (false, true));
        // Its spec was changed since it was started.
        let run: VirtualMachineInstance =
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {"domain": {}}})).unwrap();
        assert_eq!(consoles(Some(&headless), Some(&run)), (true, true));
    }

    #[test]
    fn a_service_reaches_the_ports_that_the_machine_forwards() {
        let ports = |protocol: &str, targets: &[u16]| -> Vec<AccessServicePort> {
            let port = |target: &u16| json!({"name": "p", "port": 1, "targetPort": target, "protocol": protocol});
            targets
                .iter()
                .map(|target| serde_json::from_value(port(target)).unwrap())
                .collect()
        };
        let spec = |networks: Value, interfaces: Value| json!({"template": {"spec": {"networks": networks, "domain": {"devices": {"interfaces": interfaces}}}}});
        let pod = json!([{"name": "default", "pod": {}}]);
        let lists = |binding: &str, listed: Value| json!([{"name": "default", binding: {}, "ports": listed}]);
        let web = json!([{"name": "http", "port": 8080}]);
        let not_forwarded = |missing: &str| {
            Some(PortObstacle::NotForwarded {
                interface: "default".into(),
                forwarded: "8080/TCP".into(),
                missing: missing.into(),
            })
        };
        for (spec, ports, obstacle) in [
            (json!({"template": {"spec": {}}}), ports("TCP", &[22]), None),
            (
                json!({"template": {"spec": {"domain": {"devices": {"autoattachPodInterface": false}}}}}),
                ports("TCP", &[22]),
                Some(PortObstacle::NoPodNetwork),
            ),
            (
                spec(
                    json!([{"name": "lan", "multus": {"networkName": "lan"}}]),
                    json!([{"name": "lan", "bridge": {}}]),
                ),
                ports("TCP", &[22]),
                Some(PortObstacle::NoPodNetwork),
            ),
            (
                spec(
                    json!([{"name": "default", "multus": {"networkName": "lan", "default": true}}]),
                    json!([{"name": "default", "bridge": {}}]),
                ),
                ports("TCP", &[22]),
                None,
            ),
            (
                spec(pod.clone(), json!([{"name": "default", "masquerade": {}}])),
                ports("TCP", &[22]),
                None,
            ),
            (
                spec(pod.clone(), lists("masquerade", json!([]))),
                ports("TCP", &[22]),
                None,
            ),
            (
                spec(pod.clone(), lists("masquerade", web.clone())),
                ports("TCP", &[8080]),
                None,
            ),
            (
                spec(pod.clone(), lists("masquerade", web.clone())),
                ports("TCP", &[22, 8080, 23]),
                not_forwarded("22/TCP, 23/TCP"),
            ),
            (
                spec(pod.clone(), lists("masquerade", web.clone())),
                ports("UDP", &[8080]),
                not_forwarded("8080/UDP"),
            ),
            (spec(pod, lists("bridge", web)), ports("TCP", &[22]), None),
        ] {
            assert_eq!(port_obstacle(&spec, &ports), obstacle, "{spec}");
        }
    }
}
