//! The certificates of our own authority and when they change. No IO; the time is passed in.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::scope::Scope;

/// How long an authority is good.
pub(super) const AUTHORITY_LIFE: Duration = Duration::from_hours(365 * 24);
/// How long a successor is in the bundle before it signs: the time that its clients have to adopt it.
pub(super) const ANNOUNCE_PERIOD: Duration = Duration::from_hours(24);
/// How long a server's certificate is good. It is kept in memory only, so a process has a new one at each start.
pub(super) const LEAF_LIFE: Duration = Duration::from_hours(7 * 24);
/// Certificates are good from this long before they are made, for clocks that are behind.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
/// The key of the Secret that holds all certificates to be trusted, as PEM.
pub(super) const BUNDLE: &str = "ca.crt";

/// Why certificates cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// A key of the Secret is missing.
    #[error("it has no {0:?}")]
    Missing(&'static str),
    /// What is there is not what it should be.
    #[error("{0:?} holds no usable {1}")]
    Malformed(&'static str, &'static str),
    /// The cryptography refuses.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// TLS refuses what was made.
    #[error("cannot use a certificate: {0}")]
    Use(#[from] rustls::Error),
}

/// A certificate that signs, with its key.
#[derive(Clone, PartialEq, Eq)]
struct Authority {
    certificate: String,
    key: String,
    life: Life,
    scope: Scope,
}

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    from: Timestamp,
    until: Timestamp,
}

impl Life {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let second = |time: i64| Timestamp::from_second(time).ok();
        Some(Self {
            from: second(parsed.validity().not_before.timestamp())?,
            until: second(parsed.validity().not_after.timestamp())?,
        })
    }

    fn two_thirds(self) -> Timestamp {
        let whole = self.until.duration_since(self.from).unsigned_abs();
        later(self.from, whole / 3 * 2)
    }
}

fn scope_of(certificate: &CertificateDer<'_>) -> Option<Scope> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Scope::read(&parsed))
}

fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// What the Secret holds.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct State {
    current: Authority,
    next: Option<Authority>,
    /// All that is to be trusted, the newest first; one PEM block each.
    trusted: Vec<String>,
}

/// What is to be done with the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before this time.
    Keep(Timestamp),
    /// A successor is to be made and put into the bundle.
    Announce,
    /// The successor has been in the bundle for long enough and is to sign.
    Promote,
}

/// A server's certificate.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) key: CertifiedKey,
    /// When a new one is to be issued.
    pub(super) renew_at: Timestamp,
}

impl Authority {
    fn make(now: Timestamp, scope: Scope) -> Result<Self, MaterialError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        let life = set_life(&mut params, now, AUTHORITY_LIFE);
        // Two authorities are in the bundle during a rotation: their names must differ for both to be found.
        let number: u32 = rand::random();
        params.distinguished_name = name(&format!("novasphere-ca@{}-{number:08x}", now.as_second()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = scope.constraints();
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            life,
            scope,
        })
    }

    fn read(data: &BTreeMap<String, ByteString>, names: [&'static str; 2]) -> Result<Self, MaterialError> {
        let [certificate_name, key_name] = names;
        let certificate = text(data, certificate_name)?;
        let key = text(data, key_name)?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes());
        let read = der.ok().and_then(|der| Some((Life::of(&der)?, scope_of(&der)?)));
        let (life, scope) = read.ok_or(MaterialError::Malformed(certificate_name, "certificate"))?;
        let authority = Self {
            certificate,
            key,
            life,
            scope,
        };
        let issuer = authority.issuer()?;
        let is_ca = issuer.key_usages().contains(&KeyUsagePurpose::KeyCertSign);
        let signs = is_ca && authority.is_own_key(issuer.key());
        signs
            .then_some(authority)
            .ok_or(MaterialError::Malformed(key_name, "key of its certificate"))
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, MaterialError> {
        let key = KeyPair::from_pem(&self.key)?;
        Ok(Issuer::from_ca_cert_pem(&self.certificate, key)?)
    }

    fn is_own_key(&self, key: &KeyPair) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(self.certificate.as_bytes()) else {
            return false;
        };
        let parsed = X509Certificate::from_der(&der);
        parsed.is_ok_and(|(_, parsed)| *parsed.public_key().subject_public_key.data == *key.public_key_raw())
    }
}

fn text(data: &BTreeMap<String, ByteString>, name: &'static str) -> Result<String, MaterialError> {
    let bytes = data.get(name).ok_or(MaterialError::Missing(name))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| MaterialError::Malformed(name, "PEM"))
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// A certificate's times are whole seconds.
fn set_life(params: &mut CertificateParams, now: Timestamp, life: Duration) -> Life {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let seconds = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    let life = Life {
        from: now.checked_sub(CLOCK_SKEW).unwrap_or(now),
        until: later(now, life),
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + seconds(life.from);
    params.not_after = epoch + seconds(life.until);
    life
}

impl State {
    /// A first authority, for a server of these names. `trusted` are certificates that were trusted before and still are.
    pub(super) fn first(now: Timestamp, trusted: &[String], names: &[String]) -> Result<Self, MaterialError> {
        let current = Authority::make(now, Scope::of(names))?;
        let trusted = bundle([&current.certificate], trusted, now);
        Ok(Self {
            current,
            next: None,
            trusted,
        })
    }

    /// Reads the Secret.
    pub(super) fn read(secret: &Secret) -> Result<Self, MaterialError> {
        let empty = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&empty);
        let current = Authority::read(data, [CERTIFICATE, KEY])?;
        let next = data
            .contains_key(NEXT_CERTIFICATE)
            .then(|| Authority::read(data, [NEXT_CERTIFICATE, NEXT_KEY]))
            .transpose()?;
        let trusted = split(&text(data, BUNDLE)?);
        let missing = |authority: &Authority| !trusted.iter().any(|pem| same(pem, &authority.certificate));
        if missing(&current) || next.as_ref().is_some_and(missing) {
            return Err(MaterialError::Malformed(
                BUNDLE,
                "bundle: a certificate that signs is not in it",
            ));
        }
        Ok(Self { current, next, trusted })
    }

    /// The Secret for this state; `present` is the one that it replaces.
    pub(super) fn write(&self, present: Option<&Secret>, namespace: &str, name: &str) -> Secret {
        let mut secret = present.cloned().unwrap_or_default();
        secret.metadata.name = Some(name.to_owned());
        secret.metadata.namespace = Some(namespace.to_owned());
        secret.metadata.managed_fields = None;
        // The type of a Secret cannot change.
        secret.type_.get_or_insert_with(|| "Opaque".to_owned());
        let mut data = BTreeMap::from([
            (CERTIFICATE, self.current.certificate.clone()),
            (KEY, self.current.key.clone()),
            (BUNDLE, self.bundle()),
        ]);
        if let Some(next) = &self.next {
            data.insert(NEXT_CERTIFICATE, next.certificate.clone());
            data.insert(NEXT_KEY, next.key.clone());
        }
        let bytes = |(name, text): (&str, String)| (name.to_owned(), ByteString(text.into_bytes()));
        secret.data = Some(data.into_iter().map(bytes).collect());
        secret
    }

    /// All certificates to be trusted, as PEM.
    pub(super) fn bundle(&self) -> String {
        self.trusted.concat()
    }

    pub(super) fn trusted(&self) -> &[String] {
        &self.trusted
    }

    /// What is to be done now, for a server of these names. One whose name clients would not take from this authority, as after a
    /// change of the configuration, waits for nothing.
    pub(super) fn step(&self, now: Timestamp, names: &[String]) -> Step {
        if !self.current.scope.permits(names) {
            let is_next = self.next.as_ref().is_some_and(|next| next.scope.permits(names));
            return if is_next { Step::Promote } else { Step::Announce };
        }
        let at = match &self.next {
            // Backdated, so the notice is counted from when it was made. An authority that is over gives none.
            Some(next) => later(next.life.from, CLOCK_SKEW + ANNOUNCE_PERIOD).min(self.current.life.until),
            None => self.current.life.two_thirds(),
        };
        match (&self.next, now >= at) {
            (_, false) => Step::Keep(at),
            (None, true) => Step::Announce,
            (Some(_), true) => Step::Promote,
        }
    }

    /// The state after that step.
    pub(super) fn after(&self, step: Step, now: Timestamp, names: &[String]) -> Result<Self, MaterialError> {
        let mut after = self.clone();
        match (step, after.next.take()) {
            (Step::Announce, next) => {
                let scope = next.as_ref().map_or(&self.current.scope, |next| &next.scope);
                after.next = Some(Authority::make(now, scope.with(names))?);
            }
            (Step::Promote, Some(next)) => after.current = next,
            (Step::Keep(_) | Step::Promote, next) => after.next = next,
        }
        let signing = after.next.iter().chain([&after.current]);
        after.trusted = bundle(signing.map(|authority| &authority.certificate), &self.trusted, now);
        Ok(after)
    }

    /// Issues a certificate for a server of these names.
    pub(super) fn issue(&self, names: &[String], now: Timestamp) -> Result<Leaf, MaterialError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        let left = self.current.life.until.duration_since(now).unsigned_abs();
        let life = set_life(&mut params, now, LEAF_LIFE.min(left));
        params.distinguished_name = self::name(names.first().map_or("novasphere", String::as_str));
        params.serial_number = Some(SerialNumber::from_slice(&rand::random::<[u8; 16]>()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.current.issuer()?)?;
        let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| MaterialError::Malformed(KEY, "key"))?;
        let key = CertifiedKey::from_der(vec![certificate.der().clone()], der, &aws_lc_rs::default_provider())?;
        Ok(Leaf {
            key,
            renew_at: life.two_thirds(),
        })
    }

    /// Whether certificates are signed by another key than in `other`.
    pub(super) fn signs_otherwise(&self, other: &Self) -> bool {
        self.current != other.current
    }
}

/// `newest` and those of `older` that are still good, each once.
fn bundle<'a>(newest: impl IntoIterator<Item = &'a String>, older: &'a [String], now: Timestamp) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for pem in newest.into_iter().chain(older) {
        let life = CertificateDer::from_pem_slice(pem.as_bytes())
            .ok()
            .and_then(|der| Life::of(&der));
        if life.is_some_and(|life| now < life.until) && !all.iter().any(|other| same(other, pem)) {
            all.push(pem.clone());
        }
    }
    all
}

fn same(left: &str, right: &str) -> bool {
    left.split_whitespace().eq(right.split_whitespace())
}

/// The PEM blocks of a bundle.
fn split(bundle: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    bundle
        .split_inclusive(END)
        .map(|block| format!("{}\n", block.trim()))
        .filter(|block| block.contains(END))
        .collect()
}

#[cfg(test)]
mod tests {
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
}
