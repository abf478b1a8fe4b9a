//! Limits before authentication: connections, bytes, seconds.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Limits before authentication.
///
/// Bytes need no setting: the RFB handshake reads at most 795 bytes and TLS bounds its own messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are not authenticated yet, over all. Default 1024.
    pub half_open: usize,
    /// The same from one address that is no trusted proxy. Default 64.
    pub half_open_per_address: usize,
    /// From the accepted connection until the stream is open, over all steps together. Default 15 s.
    pub handshake: Duration,
    /// Bytes of an HTTP request's head. Default 16 KiB, at least 8 KiB.
    pub http_head: usize,
    /// Addresses of gateways through which many clients come. They are believed when they say in `X-Forwarded-For` where a
    /// client connects from. Default: none.
    pub trusted_proxies: Vec<IpNet>,
}

impl Limits {
    /// Whether this is the address of a gateway through which many clients come.
    #[must_use]
    pub fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|net| net.contains(&address.to_canonical()))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            half_open: 1024,
            half_open_per_address: 64,
            handshake: Duration::from_secs(15),
            http_head: 16 * 1024,
            trusted_proxies: Vec::new(),
        }
    }
}

/// Why a connection is dropped at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    /// Too many connections over all wait for authentication.
    #[error("too many connections wait for authentication")]
    HalfOpen,
    /// Too many connections from one address wait for authentication.
    #[error("too many connections from one address wait for authentication")]
    HalfOpenPerAddress,
}

impl LimitReached {
    /// One word for logs and metric labels.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::HalfOpen => "HalfOpenLimit",
            Self::HalfOpenPerAddress => "HalfOpenPerAddressLimit",
        }
    }
}

/// Counts the connections that are not authenticated yet. Clones share the count.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    limits: Arc<Limits>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl ConnectionLimiter {
    /// A limiter that counts no connection yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Arc::new(limits),
            waiting: Arc::default(),
        }
    }

    /// The limits that it holds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a new connection until the answer is dropped, which is to be done when it is authenticated.
    ///
    /// # Errors
    ///
    /// [`LimitReached`]: drop the connection without a word.
    pub fn enter(&self, address: IpAddr) -> Result<HalfOpen, LimitReached> {
        let many = self.limits.is_trusted_proxy(address);
        let address = network(address);
        let mut waiting = self.waiting.lock();
        if waiting.total >= self.limits.half_open {
            return Err(LimitReached::HalfOpen);
        }
        let count = waiting.by_address.entry(address).or_default();
        if *count >= self.limits.half_open_per_address && !many {
            return Err(LimitReached::HalfOpenPerAddress);
        }
        *count += 1;
        waiting.total += 1;
        Ok(HalfOpen {
            limiter: self.clone(),
            address,
            until: Instant::now() + self.limits.handshake,
        })
    }

    /// How many connections wait for authentication.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.waiting.lock().total
    }

    fn leave(&self, address: IpAddr) {
        let mut waiting = self.waiting.lock();
        waiting.total = waiting.total.saturating_sub(1);
        if let Some(count) = waiting.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                waiting.by_address.remove(&address);
            }
        }
    }
}

/// A connection that is not authenticated yet.
#[derive(Debug)]
pub struct HalfOpen {
    limiter: ConnectionLimiter,
    address: IpAddr,
    until: Instant,
}

impl HalfOpen {
    /// When its stream has to be open: [`Limits::handshake`] after it was let in.
    #[must_use]
    pub const fn until(&self) -> Instant {
        self.until
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.limiter.leave(self.address);
    }
}

/// The address that counts: one IPv6 customer has a /64 and can take any address of it.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(half_open: usize, half_open_per_address: usize) -> ConnectionLimiter {
        ConnectionLimiter::new(Limits {
            half_open,
            half_open_per_address,
            ..Limits::default()
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let limiter = limiter(10, 2);
        let held: Vec<_> = (0..2).map(|_| limiter.enter(address("192.0.2.1")).unwrap()).collect();
        assert_eq!(
            limiter.enter(address("192.0.2.1")).unwrap_err(),
            LimitReached::HalfOpenPerAddress
        );
        assert_eq!(
            limiter.enter(address("::ffff:192.0.2.1")).unwrap_err(),
            LimitReached::HalfOpenPerAddress
        );
        assert!(limiter.enter(address("192.0.2.2")).is_ok());
        drop(held);
        assert!(limiter.enter(address("192.0.2.1")).is_ok());
        assert_eq!(limiter.half_open(), 0);
        assert!(limiter.waiting.lock().by_address.is_empty(), "addresses are forgotten");
    }

    #[test]
    fn a_gateway_is_not_one_client() {
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        let limiter = ConnectionLimiter::new(Limits {
            half_open: 3,
            half_open_per_address: 1,
            trusted_proxies,
            ..Limits::default()
        });
        let _held: Vec<_> = (0..3).map(|_| limiter.enter(address("10.1.2.3")).unwrap()).collect();
        assert_eq!(limiter.enter(address("10.1.2.3")).unwrap_err(), LimitReached::HalfOpen);
    }

    #[test]
    fn one_ipv6_network_counts_as_one_address() {
        let limiter = limiter(10, 1);
        let _held = limiter.enter(address("2001:db8::1")).unwrap();
        assert_eq!(
            limiter.enter(address("2001:db8::ffff:2")).unwrap_err(),
            LimitReached::HalfOpenPerAddress
        );
        assert!(limiter.enter(address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn there_is_an_end_to_all_places() {
        let limiter = limiter(2, 2);
        let _held = [
            limiter.enter(address("192.0.2.1")).unwrap(),
            limiter.enter(address("192.0.2.2")).unwrap(),
        ];
        assert_eq!(limiter.enter(address("192.0.2.3")).unwrap_err(), LimitReached::HalfOpen);
    }
}
