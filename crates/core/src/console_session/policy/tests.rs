use ConsoleProtocol::{Serial, Vnc};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::console_session::samples::{session, vm_access};

fn narrowed(console: &Value, spec: Value) -> Result<SessionPolicy, PolicyError> {
    narrow(&vm_access(console).spec.console, &[Vnc, Serial], &session(spec).spec)
}

#[test]
fn what_is_left_out_is_the_targets() {
    let console = json!({
        "maxSessionDuration": "30m", "idleTimeout": "5m", "maxViewers": 3, "takeover": "Replace", "input": "Control",
        "clipboard": "ToGuest", "power": true, "resize": false, "native": false, "allowedSourceRanges": ["10.0.0.0/8"],
    });
    let policy = narrowed(&console, json!({})).unwrap();
    assert_eq!(
        policy,
        SessionPolicy {
            protocol: Vnc,
            duration: Duration::from_mins(30),
            idle_timeout: Some(Duration::from_mins(5)),
            max_viewers: 3,
            takeover: Takeover::Refuse,
            input: ConsoleInput::Control,
            clipboard: Clipboard::ToGuest,
            power: true,
            resize: false,
            native: false,
            allowed_source_ranges: vec!["10.0.0.0/8".parse().unwrap()],
        }
    );
    assert_eq!(
        narrowed(&json!({}), json!({})).unwrap().duration,
        Duration::from_hours(1)
    );
}

#[test]
fn a_wider_wish_is_refused_with_its_field() {
    let cases = [
        (
            json!({"protocols": ["vnc"]}),
            json!({"protocol": "serial"}),
            "spec.protocol",
        ),
        (json!({"protocols": []}), json!({}), "spec.targetRef"),
        (
            json!({"maxSessionDuration": "1h"}),
            json!({"duration": "61m"}),
            "spec.duration",
        ),
        (
            json!({"idleTimeout": "5m"}),
            json!({"idleTimeout": "6m"}),
            "spec.idleTimeout",
        ),
        (json!({"maxViewers": 2}), json!({"maxViewers": 3}), "spec.maxViewers"),
        (
            json!({"takeover": "Refuse"}),
            json!({"takeover": "Replace"}),
            "spec.takeover",
        ),
        (json!({"input": "ViewOnly"}), json!({"input": "Control"}), "spec.input"),
        (
            json!({"clipboard": "ToGuest"}),
            json!({"clipboard": "Both"}),
            "spec.clipboard",
        ),
        (
            json!({"clipboard": "ToGuest"}),
            json!({"clipboard": "FromGuest"}),
            "spec.clipboard",
        ),
        (
            json!({"clipboard": "None"}),
            json!({"clipboard": "FromGuest"}),
            "spec.clipboard",
        ),
        (json!({"power": false}), json!({"power": true}), "spec.power"),
        (json!({"resize": false}), json!({"resize": true}), "spec.resize"),
        (
            json!({"allowedSourceRanges": ["10.0.0.0/8"]}),
            json!({"allowedSourceRanges": ["10.1.0.0/16", "192.0.2.0/24"]}),
            "spec.allowedSourceRanges",
        ),
        (
            json!({"allowedSourceRanges": ["10.0.0.0/8"]}),
            json!({"allowedSourceRanges": ["0.0.0.0/0"]}),
            "spec.allowedSourceRanges",
        ),
    ];
    for (console, spec, field) in cases {
        let error = narrowed(&console, spec.clone()).unwrap_err();
        assert_eq!(error.field(), field, "{console} {spec}");
        assert!(error.to_string().starts_with(&format!("{field}: ")), "{error}");
    }
}

#[test]
fn a_narrower_wish_is_granted() {
    let console = json!({"maxViewers": 4, "power": true, "allowedSourceRanges": ["10.0.0.0/9", "10.128.0.0/9"]});
    let spec = json!({
        "protocol": "serial", "duration": "10m", "idleTimeout": "1m", "maxViewers": 2, "input": "ViewOnly",
        "clipboard": "None", "resize": false, "allowedSourceRanges": ["10.0.0.0/8"],
    });
    let policy = narrowed(&console, spec).unwrap();
    assert_eq!((policy.protocol, policy.max_viewers), (Serial, 2));
    assert!(!policy.power, "who only looks does not inherit power");
    assert_eq!(
        policy.allowed_source_ranges,
        ["10.0.0.0/8".parse().unwrap()],
        "two halves are a whole"
    );
}

#[test]
fn the_console_is_the_sessions_then_the_targets_then_the_screen() {
    let protocol = |console: Value, spec| narrowed(&console, spec).unwrap().protocol;
    assert_eq!(protocol(json!({}), json!({})), Vnc);
    assert_eq!(protocol(json!({"defaultProtocol": "serial"}), json!({})), Serial);
    assert_eq!(
        protocol(json!({"defaultProtocol": "serial"}), json!({"protocol": "vnc"})),
        Vnc
    );
    assert_eq!(protocol(json!({"protocols": ["serial"]}), json!({})), Serial);
    assert_eq!(protocol(json!({"protocols": ["serial", "vnc"]}), json!({})), Vnc);
}

#[test]
fn ways_in_and_addresses() {
    let mut policy = narrowed(&json!({}), json!({"allowedSourceRanges": ["192.0.2.0/24"]})).unwrap();
    assert!(policy.allows_address("192.0.2.7".parse().unwrap()));
    assert!(
        policy.allows_address("::ffff:192.0.2.7".parse().unwrap()),
        "the same address"
    );
    assert!(!policy.allows_address("198.51.100.1".parse().unwrap()));
    assert!(policy.allows_transport(Transport::Rfb));
    policy.native = false;
    assert!(!policy.allows_transport(Transport::Rfb) && policy.allows_transport(Transport::WebSocket));
    policy.native = true;
    policy.protocol = Serial;
    assert!(!policy.allows_transport(Transport::Rfb));
}

fn clipboards() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["Both", "ToGuest", "FromGuest", "None"][..])
}

fn ranges() -> impl Strategy<Value = Vec<&'static str>> {
    let all = &[
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.3/32",
        "0.0.0.0/0",
        "fd00::/8",
        "192.0.2.0/24",
    ][..];
    prop::collection::vec(prop::sample::select(all), 0..4)
}

prop_compose! {
    fn consoles()(
        protocols in prop::option::of(prop::sample::subsequence(vec!["vnc", "serial"], 0..=2)),
        minutes in 1..100_u16, idle in prop::option::of(1..60_u16), viewers in 1..5_u16, replace: bool, control: bool,
        clipboard in clipboards(), power: bool, resize: bool, native: bool, ranges in ranges(),
    ) -> Value {
        let mut console = json!({
            "maxSessionDuration": format!("{minutes}m"), "maxViewers": viewers,
            "takeover": if replace { "Replace" } else { "Refuse" }, "input": if control { "Control" } else { "ViewOnly" },
            "clipboard": clipboard, "power": power && control, "resize": resize, "native": native,
            "allowedSourceRanges": ranges,
        });
        if let Some(protocols) = protocols { console["protocols"] = json!(protocols); }
        if let Some(idle) = idle { console["idleTimeout"] = json!(format!("{idle}m")); }
        console
    }
}

prop_compose! {
    fn specs()(
        protocol in prop::option::of(prop::sample::select(vec!["vnc", "serial"])), minutes in prop::option::of(1..100_u16),
        idle in prop::option::of(1..60_u16), viewers in prop::option::of(1..5_u16), replace in prop::option::of(any::<bool>()),
        control in prop::option::of(any::<bool>()), clipboard in prop::option::of(clipboards()),
        power in prop::option::of(any::<bool>()), resize in prop::option::of(any::<bool>()), ranges in ranges(),
    ) -> Value {
        let mut spec = json!({"allowedSourceRanges": ranges});
        let mut set = |field: &str, value: Option<Value>| if let Some(value) = value { spec[field] = value; };
        set("protocol", protocol.map(Into::into));
        set("duration", minutes.map(|minutes| format!("{minutes}m").into()));
        set("idleTimeout", idle.map(|minutes| format!("{minutes}m").into()));
        set("maxViewers", viewers.map(Into::into));
        set("takeover", replace.map(|replace| if replace { "Replace" } else { "Refuse" }.into()));
        set("input", control.map(|control| if control { "Control" } else { "ViewOnly" }.into()));
        set("clipboard", clipboard.map(Into::into));
        set("power", power.map(Into::into));
        set("resize", resize.map(Into::into));
        spec
    }
}

proptest! {
    /// What is granted is never more than the policy, whatever was asked for; and what is asked for and granted is what was
    /// asked for.
    #[test]
    fn a_session_never_widens_the_policy(console in consoles(), spec in specs()) {
        let policy = vm_access(&console).spec.console;
        let wishes = session(spec).spec;
        let Ok(granted) = narrow(&policy, &[Vnc, Serial], &wishes) else { return Ok(()) };
        prop_assert!(policy.protocols.as_ref().is_none_or(|allowed| allowed.contains(&granted.protocol)));
        prop_assert!(granted.duration <= policy.max_session_duration.get());
        if let Some(limit) = policy.idle_timeout {
            prop_assert!(granted.idle_timeout.is_some_and(|timeout| timeout <= limit.get()));
        }
        prop_assert!(granted.max_viewers <= policy.max_viewers);
        prop_assert!(granted.takeover == Takeover::Refuse || policy.takeover == Takeover::Replace);
        prop_assert!(granted.input == ConsoleInput::ViewOnly || policy.input == ConsoleInput::Control);
        prop_assert!(clipboard_allows(policy.clipboard, granted.clipboard));
        prop_assert!(policy.power || !granted.power);
        prop_assert!(policy.resize || !granted.resize);
        prop_assert!(policy.native || !granted.native);
        for address in ["10.1.2.3", "10.9.9.9", "192.0.2.1", "8.8.8.8", "fd00::1", "2001:db8::1"] {
            let address: std::net::IpAddr = address.parse().unwrap();
            let is_allowed = policy.allowed_source_ranges.is_empty()
                || policy.allowed_source_ranges.iter().any(|range| range.get().contains(&address));
            prop_assert!(is_allowed || !granted.allows_address(address), "{address}");
        }
        prop_assert!(wishes.protocol.is_none_or(|wish| wish == granted.protocol));
        prop_assert!(wishes.duration.is_none_or(|wish| wish.get() == granted.duration));
        prop_assert!(wishes.max_viewers.is_none_or(|wish| wish == granted.max_viewers));
        prop_assert!(wishes.input.is_none_or(|wish| wish == granted.input));
        prop_assert!(wishes.clipboard.is_none_or(|wish| wish == granted.clipboard));
        prop_assert!(wishes.power.is_none_or(|wish| wish == granted.power));
    }

    /// What was granted under a policy is allowed by it, also after it went through the status.
    #[test]
    fn what_was_granted_stays_allowed(console in consoles(), spec in specs()) {
        let policy = vm_access(&console).spec.console;
        let Ok(granted) = narrow(&policy, &[Vnc, Serial], &session(spec).spec) else { return Ok(()) };
        let stored = serde_json::to_value(granted.granted()).unwrap();
        let read = SessionPolicy::of_granted(&serde_json::from_value(stored).unwrap(), granted.protocol);
        prop_assert_eq!(&read, &granted);
        prop_assert_eq!(check(&policy, &[Vnc, Serial], &read), Ok(()));
    }
}
