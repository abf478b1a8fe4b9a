//! Which session a token belongs to, also while the watch of sessions is late.
//!
//! The watch brings a grant within milliseconds, as a rule. When it does not, a "no" would be wrong: a viewer who names the session is
//! answered from a read of it, and what cannot be decided is [`EndReason::Unavailable`], with which the page tries the same token again.
//! A stranger's token costs no more: reads are bounded by [`ReadBudget`], and the answer comes after the same time.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use kube::{Api, Client};
use novasphere_core::console_session::{grant, resume};
use novasphere_crd::ConsoleSession;
use novasphere_dataplane::admission::{AdmissionRequest, ResumeRequest};
use novasphere_runtime::serve::network;
use novasphere_wire::close::{EndReason, StreamEnd};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::entry::{nothing_kept, refuse, unknown};
use crate::view::SessionView;

/// How long an unknown token waits for the watch: its grant may just have been written. Less than the 2 s after which our page asks how
/// the target is: a browser logs that answer as an error.
const UNKNOWN_TOKEN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it waits before the session that the viewer names is read.
const NAMED_TOKEN_TIMEOUT: Duration = Duration::from_millis(300);

/// How long it waits while the watch is known to be behind. With the time before it stays below the bound of a handshake (15 s).
const LATE_WATCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long kube-apiserver may take to show a session.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// Finds the sessions of tokens. Clones share the budget of reads.
#[derive(Clone)]
pub(crate) struct TokenLookup {
    client: Client,
    view: SessionView,
    budget: Arc<Mutex<ReadBudget>>,
}

/// What a read of the session that a viewer names has shown.
enum Reading {
    /// The session has the token.
    Found(Arc<ConsoleSession>),
    /// The session does not have it, or there is none of this name.
    NotThere,
    /// It cannot be known now.
    Undecided(String),
}

impl TokenLookup {
    pub(crate) fn new(client: Client, view: SessionView) -> Self {
        Self {
            client,
            view,
            budget: Arc::default(),
        }
    }

    /// The session that has given out the token of a request.
    pub(crate) async fn session(&self, request: &AdmissionRequest) -> Result<Arc<ConsoleSession>, StreamEnd> {
        let began = Instant::now();
        let hash = request.token.to_hex();
        let named = request.session.as_deref().or(request.session_hint.as_deref());
        let (mut undecided, mut is_decided) = (None, false);
        if let Some((namespace, name)) = named.and_then(|named| named.split_once('/')) {
            if let Some(session) = self.view.of_token(&hash, NAMED_TOKEN_TIMEOUT).await {
                return Ok(session);
            }
            let has_token = |session: &ConsoleSession| {
                let status = session.status.as_ref();
                status.is_some_and(|status| grant::find(status, &hash).is_some())
            };
            match self.read(namespace, name, request.client, has_token).await {
                Reading::Found(session) => return Ok(session),
                // A hint may be wrong.
                Reading::NotThere => is_decided = request.session.is_some(),
                Reading::Undecided(why) => undecided = Some(why),
            }
        }
        let left = UNKNOWN_TOKEN_TIMEOUT.saturating_sub(began.elapsed());
        if let Some(session) = self.view.of_token(&hash, left).await {
            return Ok(session);
        }
        // Whatever was found out: all answers that are no come after the same time.
        sleep_until(began + UNKNOWN_TOKEN_TIMEOUT).await;
        if is_decided || (undecided.is_none() && !self.view.is_behind()) {
            return Err(unknown("no session has given out this token"));
        }
        if let Some(session) = self.view.of_token(&hash, LATE_WATCH_TIMEOUT).await {
            return Ok(session);
        }
        let why = undecided.unwrap_or_else(|| "the watch of ConsoleSessions is behind".to_owned());
        Err(refuse(EndReason::Unavailable, why))
    }

    /// The session to which a viewer wants to come back. A browser names it by the path of its cookie.
    pub(crate) async fn session_of_place(&self, request: &ResumeRequest) -> Result<Arc<ConsoleSession>, StreamEnd> {
        let began = Instant::now();
        let hash = request.presented.place.to_hex();
        let has_place = |session: &ConsoleSession| {
            let status = session.status.as_ref();
            status.is_some_and(|status| resume::find(status, &hash).is_some())
        };
        let (namespace, name) = request.session.split_once('/').ok_or_else(nothing_kept)?;
        let known = || self.view.get(namespace, name).filter(|session| has_place(session));
        if let Some(session) = self.view.wait_for(NAMED_TOKEN_TIMEOUT, known).await {
            return Ok(session);
        }
        let refusal = match self.read(namespace, name, request.client, has_place).await {
            Reading::Found(session) => return Ok(session),
            Reading::NotThere => nothing_kept(),
            Reading::Undecided(why) => refuse(EndReason::Unavailable, why),
        };
        sleep_until(began + UNKNOWN_TOKEN_TIMEOUT).await;
        Err(refusal)
    }

    /// Reads a session, if it is the one that `has` what a viewer has shown.
    async fn read(
        &self,
        namespace: &str,
        name: &str,
        client: IpAddr,
        has: impl Fn(&ConsoleSession) -> bool,
    ) -> Reading {
        if !is_name(namespace) || !is_name(name) {
            return Reading::NotThere;
        }
        if !self.budget.lock().take(client, Instant::now()) {
            return Reading::Undecided(
                "too many sessions were read for tokens that the watch has not shown".to_owned(),
            );
        }
        let sessions: Api<ConsoleSession> = Api::namespaced(self.client.clone(), namespace);
        let session = match timeout(READ_TIMEOUT, sessions.get_opt(name)).await {
            Ok(Ok(Some(session))) => session,
            // A session that this version cannot decode opens nothing.
            Ok(Ok(None) | Err(kube::Error::SerdeError(_))) => return Reading::NotThere,
            // It is none of the sessions that this gateway is for.
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => return Reading::NotThere,
            Ok(Err(error)) => {
                return Reading::Undecided(format!("cannot read the session {namespace}/{name}: {error}"));
            }
            Err(_) => return Reading::Undecided(format!("cannot read the session {namespace}/{name} in time")),
        };
        if !has(&session) {
            return Reading::NotThere;
        }
        self.budget.lock().give_back(client);
        self.view.insert_read(session);
        match self.view.get(namespace, name) {
            Some(session) => Reading::Found(session),
            None => Reading::NotThere,
        }
    }
}

/// Whether it can be part of an object's name. What is typed goes into the path of a request.
fn is_name(text: &str) -> bool {
    const NAME_BYTES_LIMIT: usize = 253;
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let is_bounded = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    text.len() <= NAME_BYTES_LIMIT
        && is_bounded(bytes.first())
        && is_bounded(bytes.last())
        && bytes.iter().all(|byte| is_allowed(*byte))
}

/// How many sessions may be read for tokens that the watch has not shown, over all and for one address (an IPv6 /64 is one). A read that
/// finds the token does not count, so strangers use up nothing but their own.
#[derive(Debug, Default)]
struct ReadBudget {
    window: Option<Instant>,
    total: u32,
    /// At most one entry for each read of the window.
    by_address: HashMap<IpAddr, u32>,
}

impl ReadBudget {
    const WINDOW_INTERVAL: Duration = Duration::from_secs(10);
    const READS_LIMIT: u32 = 100;
    const READS_PER_ADDRESS_LIMIT: u32 = 10;

    fn take(&mut self, client: IpAddr, now: Instant) -> bool {
        if self
            .window
            .is_none_or(|began| now.duration_since(began) >= Self::WINDOW_INTERVAL)
        {
            *self = Self {
                window: Some(now),
                ..Self::default()
            };
        }
        if self.total >= Self::READS_LIMIT {
            return false;
        }
        let of_address = self.by_address.entry(network(client)).or_default();
        if *of_address >= Self::READS_PER_ADDRESS_LIMIT {
            return false;
        }
        *of_address += 1;
        self.total += 1;
        true
    }

    fn give_back(&mut self, client: IpAddr) {
        if let Some(of_address) = self.by_address.get_mut(&network(client)) {
            *of_address = of_address.saturating_sub(1);
            self.total = self.total.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_are_bounded_for_an_address_and_over_all() {
        let mut budget = ReadBudget::default();
        let now = Instant::now();
        let address = |number: u8| IpAddr::from([192, 0, 2, number]);
        let taken = |budget: &mut ReadBudget, address| (0..1000).filter(|_| budget.take(address, now)).count();
        assert_eq!(taken(&mut budget, address(1)), 10);
        budget.give_back(address(1));
        assert_eq!(
            taken(&mut budget, address(1)),
            1,
            "a read that found its token does not count"
        );
        let others: usize = (2..250).map(|number| taken(&mut budget, address(number))).sum();
        assert_eq!(others, 90);
        assert_eq!(budget.by_address.len(), 10);
        assert!(budget.take(address(1), now + ReadBudget::WINDOW_INTERVAL));
        assert_eq!(budget.by_address.len(), 1);
    }

    #[test]
    fn only_what_can_be_a_name_goes_into_a_path() {
        for name in ["a", "look-1", "web.1", "0"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "-a", "a/b", "a%2fb", "A", "a b", &"a".repeat(254)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
