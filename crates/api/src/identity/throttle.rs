//! Wrong passwords cost time: for each name, and for each address.

use std::{collections::HashMap, hash::Hash, net::IpAddr, time::Duration};

use novasphere_runtime::serve::network;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Wrong passwords within [`WINDOW`] before a name has to wait.
const NAME_FAILURES_LIMIT: u32 = 5;

/// The same of an address, behind which many people may be.
const ADDRESS_FAILURES_LIMIT: u32 = 20;

/// The time in which failures count.
const WINDOW: Duration = Duration::from_mins(1);

/// The longest wait.
const WAIT_LIMIT: Duration = Duration::from_mins(15);

/// Names and addresses that are remembered. Above it, those whose wait is over go.
const ENTRIES_LIMIT: usize = 10_000;

/// Failures by name and by address.
#[derive(Debug, Default)]
pub struct LoginThrottle {
    names: Mutex<HashMap<String, Failures>>,
    addresses: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    locked_until: Option<Instant>,
}

impl LoginThrottle {
    /// The time that a name or an address has to wait; `None` when a try is welcome.
    #[must_use]
    pub fn wait(&self, name: &str, address: IpAddr) -> Option<Duration> {
        let now = Instant::now();
        let of_name = self.names.lock().get(name).and_then(|failures| failures.wait(now));
        let of_address = self
            .addresses
            .lock()
            .get(&network(address))
            .and_then(|failures| failures.wait(now));
        of_name.max(of_address)
    }

    /// Notes a wrong password.
    pub fn failed(&self, name: &str, address: IpAddr) {
        let now = Instant::now();
        note(&mut self.names.lock(), name.to_owned(), NAME_FAILURES_LIMIT, now);
        note(
            &mut self.addresses.lock(),
            network(address),
            ADDRESS_FAILURES_LIMIT,
            now,
        );
    }

    /// Notes a right one: the name is free again. The address is not, for with one account of one's own one could try all others.
    pub fn succeeded(&self, name: &str) {
        self.names.lock().remove(name);
    }
}

impl Failures {
    fn wait(&self, now: Instant) -> Option<Duration> {
        let left = self.locked_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

fn note<K: Hash + Eq>(entries: &mut HashMap<K, Failures>, key: K, limit: u32, now: Instant) {
    if entries.len() >= ENTRIES_LIMIT {
        entries.retain(|_, failures| failures.wait(now).is_some() || now - failures.last < WINDOW);
    }
    if entries.len() >= ENTRIES_LIMIT {
        return;
    }
    let fresh = Failures {
        count: 0,
        last: now,
        locked_until: None,
    };
    let failures = entries.entry(key).or_insert(fresh);
    // Who was locked out stays known for longer, so that the next wait is longer, too.
    let memory = if failures.locked_until.is_some() {
        WAIT_LIMIT
    } else {
        WINDOW
    };
    if now - failures.last >= memory {
        *failures = fresh;
    }
    failures.count = failures.count.saturating_add(1);
    failures.last = now;
    if let Some(above) = failures.count.checked_sub(limit) {
        let wait = WINDOW.saturating_mul(1_u32.checked_shl(above).unwrap_or(u32::MAX));
        failures.locked_until = Some(now + wait.min(WAIT_LIMIT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test(start_paused = true)]
    async fn five_wrong_passwords_lock_a_name_and_each_more_for_longer() {
        let throttle = LoginThrottle::default();
        for _ in 0..4 {
            throttle.failed("ann", ADDRESS);
        }
        assert_eq!(throttle.wait("ann", ADDRESS), None);
        throttle.failed("ann", ADDRESS);
        assert_eq!(throttle.wait("ann", ADDRESS), Some(WINDOW));
        assert_eq!(throttle.wait("ben", ADDRESS), None);
        tokio::time::advance(WINDOW).await;
        assert_eq!(throttle.wait("ann", ADDRESS), None);
        throttle.failed("ann", ADDRESS);
        assert_eq!(throttle.wait("ann", ADDRESS), Some(WINDOW * 2));
        for _ in 0..40 {
            throttle.failed("ann", ADDRESS);
        }
        assert_eq!(throttle.wait("ann", ADDRESS), Some(WAIT_LIMIT));
        throttle.succeeded("ann");
        assert!(throttle.wait("ben", ADDRESS).is_some(), "the address is locked as well");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_typist_is_never_locked_out() {
        let throttle = LoginThrottle::default();
        for _ in 0..20 {
            throttle.failed("ann", ADDRESS);
            tokio::time::advance(WINDOW).await;
        }
        assert_eq!(throttle.wait("ann", ADDRESS), None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_take_bounded_memory() {
        let throttle = LoginThrottle::default();
        for name in 0..ENTRIES_LIMIT + 100 {
            throttle.failed(&name.to_string(), ADDRESS);
        }
        assert!(throttle.names.lock().len() <= ENTRIES_LIMIT);
    }
}
