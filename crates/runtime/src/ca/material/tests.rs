//! The authority over its life, and what clients make of its certificates.

use std::sync::Arc;

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{ServerName, UnixTime},
};

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn start() -> Timestamp {
    time("2026-01-01T00:00:00Z")
}

fn own() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

fn hours(from: Timestamp, hours: u64) -> Timestamp {
    later(from, Duration::from_hours(hours))
}

fn round_trip(state: &State) -> State {
    State::read(&state.write(None, "ns", "ca")).unwrap()
}

#[test]
fn the_secret_holds_all_of_it() {
    let first = State::first(start(), &[], &own()).unwrap();
    assert!(round_trip(&first) == first);
    let announced = first.after(Step::Announce, hours(start(), 1), &own()).unwrap();
    assert!(round_trip(&announced) == announced);
    let secret = announced.write(None, "ns", "ca");
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let older = Secret {
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    };
    let secret = announced.write(Some(&older), "ns", "ca");
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"), "it cannot change");
}

#[test]
fn a_successor_is_announced_at_two_thirds_and_signs_a_day_later() {
    let first = State::first(start(), &[], &own()).unwrap();
    let Step::Keep(at) = first.step(start(), &own()) else {
        panic!("a new authority is kept")
    };
    let days = at.duration_since(start()).as_hours() / 24;
    assert_eq!(days, 365 * 2 / 3);
    assert_eq!(first.step(at, &own()), Step::Announce);

    let announced = first.after(Step::Announce, at, &own()).unwrap();
    assert_eq!(announced.trusted.len(), 2);
    assert!(
        !announced.signs_otherwise(&first),
        "those who trust the old bundle alone are served on"
    );
    assert_eq!(announced.step(at, &own()), Step::Keep(hours(at, 24)));
    assert_eq!(announced.step(hours(at, 24), &own()), Step::Promote);

    let promoted = announced.after(Step::Promote, hours(at, 24), &own()).unwrap();
    assert!(promoted.signs_otherwise(&announced) && promoted.next.is_none());
    assert_eq!(promoted.trusted.len(), 2, "leafs of the old authority are still in use");
    assert!(matches!(promoted.step(hours(at, 24), &own()), Step::Keep(_)));
}

#[test]
fn an_authority_that_is_over_leaves_the_bundle() {
    let first = State::first(start(), &[], &own()).unwrap();
    let late = hours(start(), 366 * 24);
    assert_eq!(first.step(late, &own()), Step::Announce);
    let announced = first.after(Step::Announce, late, &own()).unwrap();
    assert_eq!(announced.trusted.len(), 1);
    assert_eq!(
        announced.step(late, &own()),
        Step::Promote,
        "there is nothing to wait for"
    );
}

#[test]
fn a_name_that_clients_would_refuse_gets_another_authority_at_once() {
    let first = State::first(start(), &[], &own()).unwrap();
    let names = ["vms.example.org".to_owned()];
    assert_eq!(first.step(start(), &names), Step::Announce);
    let announced = first.after(Step::Announce, start(), &names).unwrap();
    assert_eq!(announced.step(start(), &names), Step::Promote);
    let promoted = announced.after(Step::Promote, start(), &names).unwrap();
    assert!(matches!(promoted.step(start(), &names), Step::Keep(_)));
    assert!(
        matches!(promoted.step(start(), &own()), Step::Keep(_)),
        "other replicas go on"
    );
    assert_eq!(promoted.trusted.len(), 2, "clients of the old one go on");
    assert!(round_trip(&promoted) == promoted);
}

#[test]
fn clients_take_no_certificate_for_another_host() {
    let state = State::first(start(), &[], &own()).unwrap();
    let root = CertificateDer::from_pem_slice(state.bundle().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let client = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(start().as_second().unsigned_abs()));
    let refusal = |host: &str| {
        let leaf = state.issue(&[host.to_owned()], start()).unwrap();
        let server = ServerName::try_from(host.to_owned()).unwrap();
        let leaf = leaf.key.cert.first().unwrap();
        client.verify_server_cert(leaf, &[], &server, &[], now).err()
    };
    for own in ["localhost", "127.0.0.1", "novasphere-console.ns.svc"] {
        assert_eq!(refusal(own), None, "{own}");
    }
    for foreign in ["bank.example.com", "192.0.2.1", "2001:db8::1"] {
        assert!(refusal(foreign).is_some(), "{foreign}");
    }
}

#[test]
fn a_lost_secret_is_made_again_and_what_was_trusted_stays() {
    let lost = State::first(start(), &[], &own()).unwrap();
    let again = State::first(hours(start(), 1), lost.trusted(), &own()).unwrap();
    assert_eq!(again.trusted.len(), 2);
    assert!(round_trip(&again) == again);
}

#[test]
fn a_leaf_is_renewed_before_it_ends_and_ends_with_its_authority() {
    let state = State::first(start(), &[], &own()).unwrap();
    let names = own();
    let leaf = state.issue(&names, start()).unwrap();
    let days = leaf.renew_at.duration_since(start()).as_hours() / 24;
    assert_eq!(days, 4);
    let late = hours(start(), 364 * 24);
    let leaf = state.issue(&names, late).unwrap();
    assert!(leaf.renew_at < hours(late, 24));
    let life = Life::of(leaf.key.cert.first().unwrap()).unwrap();
    assert!(life.until <= state.current.life.until);
}

#[test]
fn what_is_not_an_authority_is_refused_by_name() {
    let good = State::first(start(), &[], &own()).unwrap().write(None, "ns", "ca");
    let other = State::first(start(), &[], &own()).unwrap().write(None, "ns", "ca");
    let with = |name: &str, value: Option<ByteString>| {
        let mut bad = good.clone();
        let data = bad.data.as_mut().unwrap();
        match value {
            Some(value) => data.insert(name.to_owned(), value),
            None => data.remove(name),
        };
        State::read(&bad).err().unwrap().to_string()
    };
    assert_eq!(with(CERTIFICATE, None), "it has no \"tls.crt\"");
    assert!(with(CERTIFICATE, Some(ByteString(b"x".to_vec()))).contains("tls.crt"));
    assert!(with(KEY, other.data.as_ref().unwrap().get(KEY).cloned()).contains("tls.key"));
    assert!(with(BUNDLE, other.data.as_ref().unwrap().get(BUNDLE).cloned()).contains("ca.crt"));
}
