use novasphere_crd::ConsoleProtocol::{Serial, Vnc};
use serde_json::json;

use super::*;
use crate::console_session::samples;

#[test]
fn addresses_are_built_from_the_configuration() {
    let endpoints = samples::endpoints();
    assert_eq!(
        endpoints.browser("team", "look", Vnc, Some("t0k-_n")).unwrap(),
        "https://vms.example.org/console/#token=t0k-_n&protocol=vnc&session=team/look"
    );
    assert_eq!(
        endpoints.browser("team", "look", Serial, None).unwrap(),
        "https://vms.example.org/console/#protocol=serial&session=team/look"
    );
    assert_eq!(
        endpoints.websocket().unwrap(),
        "wss://vms.example.org/api/v1/console/ws"
    );
    let plain = Endpoints {
        public_url: Some("http://127.0.0.1:8443/nova/".into()),
        ..Endpoints::default()
    };
    assert_eq!(plain.websocket().unwrap(), "ws://127.0.0.1:8443/nova/api/v1/console/ws");
    assert_eq!(Endpoints::default().websocket(), None);
}

#[test]
fn stock_viewers_are_pointed_only_where_they_may_connect() {
    let endpoints = samples::endpoints();
    let policy = |console, spec| {
        let spec = samples::session(spec).spec;
        super::super::policy::narrow(&samples::vm_access(&console).spec.console, &[Vnc, Serial], &spec).unwrap()
    };
    let vnc = |console, spec| endpoints.session(&policy(console, spec)).vnc;
    assert_eq!(vnc(json!({}), json!({})).as_deref(), Some("vms.example.org:5900"));
    assert_eq!(vnc(json!({"native": false}), json!({})), None);
    assert_eq!(vnc(json!({}), json!({"protocol": "serial"})), None);
}

#[test]
fn a_malformed_address_is_refused_with_what_to_write() {
    let read = |value| serde_json::from_value::<Endpoints>(value);
    for good in [
        "https://vms.example.org",
        "http://127.0.0.1:8443",
        "https://[2001:db8::1]/x",
    ] {
        assert!(read(json!({"publicUrl": good})).is_ok(), "{good}");
    }
    for bad in [
        "vms.example.org",
        "ftp://x",
        "https://",
        "https://x/#y",
        "https://x?y",
        "https://u@x",
        "https://a b",
    ] {
        let error = read(json!({"publicUrl": bad})).unwrap_err().to_string();
        assert!(error.contains("https://vms.example.org"), "{bad}: {error}");
    }
    for good in ["vms.example.org:5900", "10.0.0.1:1", "[2001:db8::1]:5900"] {
        assert!(read(json!({"vncAddress": good})).is_ok(), "{good}");
    }
    for bad in [
        "vms.example.org",
        "x:0",
        "x:70000",
        ":5900",
        "2001:db8::1:5900",
        "[x]:1",
    ] {
        let error = read(json!({"vncAddress": bad})).unwrap_err().to_string();
        assert!(error.contains("vms.example.org:5900"), "{bad}: {error}");
    }
    assert_eq!(read(json!({})).unwrap(), Endpoints::default());
}
