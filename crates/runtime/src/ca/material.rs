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
mod tests;
