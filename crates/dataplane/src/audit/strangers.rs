//! Refusals of those of whom no user is known, counted together by address: one who connects again and again must not wash other
//! lines out of the audit log.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use novasphere_runtime::serve::network;
use tokio::time::Instant;

/// How long refusals are counted together.
const WINDOW_INTERVAL: Duration = Duration::from_mins(1);

/// Refusals of one address in a window that have a line of their own.
const LINES_LIMIT: u32 = 5;

/// Addresses that are counted each for itself in a window; the others count together.
const ADDRESSES_LIMIT: usize = 256;

/// Refusals that have no line of their own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stranger {
    /// The address, of IPv6 its /64; none for those that count together.
    pub(super) client: Option<IpAddr>,
    pub(super) reason: &'static str,
    pub(super) count: u64,
    pub(super) within: Duration,
}

/// The refusals of the present window.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    began: Option<Instant>,
    by_address: HashMap<IpAddr, Refusals>,
    others: Refusals,
}

#[derive(Debug, Default)]
struct Refusals {
    lines: u32,
    /// By reason, of which there are a few dozen.
    counted: HashMap<&'static str, u64>,
}

impl Strangers {
    /// Whether a refusal has a line of its own; else it is counted.
    pub(super) fn is_written(&mut self, client: IpAddr, reason: &'static str, now: Instant) -> bool {
        self.began.get_or_insert(now);
        let is_full = self.by_address.len() >= ADDRESSES_LIMIT;
        let address = network(client);
        let refusals = if is_full && !self.by_address.contains_key(&address) {
            &mut self.others
        } else {
            self.by_address.entry(address).or_default()
        };
        if refusals.lines < LINES_LIMIT {
            refusals.lines += 1;
            return true;
        }
        *refusals.counted.entry(reason).or_default() += 1;
        false
    }

    /// What was counted, when the window is over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Stranger> {
        match self.began {
            Some(began) if now.duration_since(began) >= WINDOW_INTERVAL => self.take(now),
            _ => Vec::new(),
        }
    }

    /// What was counted so far; a new window begins with the next refusal.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Stranger> {
        let Self {
            began,
            by_address,
            others,
        } = std::mem::take(self);
        let within = began.map_or(Duration::ZERO, |began| now.duration_since(began));
        let all = by_address
            .into_iter()
            .map(|(address, refusals)| (Some(address), refusals));
        all.chain([(None, others)])
            .flat_map(|(client, refusals)| {
                refusals.counted.into_iter().map(move |(reason, count)| Stranger {
                    client,
                    reason,
                    count,
                    within,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn addresses_are_bounded_and_those_above_count_together() {
        let mut strangers = Strangers::default();
        let start = Instant::now();
        let mut lines = 0;
        for number in 0..10_000_u32 {
            let client = IpAddr::V4(number.into());
            lines += usize::from(strangers.is_written(client, "TokenRefused", start));
        }
        assert_eq!(lines, ADDRESSES_LIMIT + LINES_LIMIT as usize);
        assert_eq!(strangers.by_address.len(), ADDRESSES_LIMIT);
        assert!(strangers.due(start).is_empty());
        let counted = strangers.due(start + WINDOW_INTERVAL);
        let expected = Stranger {
            client: None,
            reason: "TokenRefused",
            count: (10_000 - lines) as u64,
            within: WINDOW_INTERVAL,
        };
        assert_eq!(counted, [expected]);
        assert!(strangers.by_address.is_empty() && strangers.is_written([192, 0, 2, 1].into(), "x", start));
    }
}
