//! Limits before authentication: connections, bytes, seconds.

use std::{net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use novasphere_runtime::serve::{Place, PlaceLimit, PlaceLimits, Places};
use tokio::time::Instant;

use crate::registry::Transport;

/// Limits before authentication.
///
/// Bytes need no setting: the RFB handshake reads at most 795 bytes, a header of the PROXY protocol at most
/// [`HEADER_BYTES_LIMIT`](novasphere_wire::proxy_protocol::HEADER_BYTES_LIMIT), and TLS bounds its own messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that are not authenticated yet, over all. One more takes the place of the oldest from the address that has most.
    /// Default 1024.
    pub half_open: usize,
    /// The same from one address that is no trusted proxy. One more takes the place of its oldest. Default 64.
    pub half_open_per_address: usize,
    /// From the accepted connection until the stream is open, over all steps together, without what a person has to do.
    /// Default 15 s.
    pub handshake: Duration,
    /// From the end of TLS until a stock viewer has sent user and token. Viewers ask for them only then, and a person types or
    /// pastes both. Default 2 min, as OpenSSH's `LoginGraceTime`; after it, [`handshake`](Self::handshake) counts from zero.
    pub login: Duration,
    /// Bytes of an HTTP request's head. Default 16 KiB, at least 8 KiB.
    pub http_head: usize,
    /// Addresses of gateways through which many clients come. They are believed when they say in `X-Forwarded-For`, or by the PROXY protocol
    /// on the ways in of `proxy_protocol`, where a client connects from. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Ways in on which connections from `trusted_proxies` begin with a header of the PROXY protocol, and others do not. Default: none.
    pub proxy_protocol: Vec<Transport>,
}

impl Limits {
    /// Whether this is the address of a gateway through which many clients come.
    #[must_use]
    pub fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|net| net.contains(&address.to_canonical()))
    }

    /// Whether a connection from this address has to begin with a header of the PROXY protocol.
    #[must_use]
    pub fn wants_proxy_header(&self, address: IpAddr, transport: Transport) -> bool {
        self.proxy_protocol.contains(&transport) && self.is_trusted_proxy(address)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            half_open: 1024,
            half_open_per_address: 64,
            handshake: Duration::from_secs(15),
            login: Duration::from_mins(2),
            http_head: 16 * 1024,
            trusted_proxies: Vec::new(),
            proxy_protocol: Vec::new(),
        }
    }
}

/// Why a connection that is not authenticated yet is dropped: a newcomer got its place.
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

impl From<PlaceLimit> for LimitReached {
    fn from(limit: PlaceLimit) -> Self {
        match limit {
            PlaceLimit::Total => Self::HalfOpen,
            PlaceLimit::PerAddress => Self::HalfOpenPerAddress,
        }
    }
}

/// Counts the connections that are not authenticated yet, over all listeners. Clones share the count.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    limits: Arc<Limits>,
    places: Places,
}

impl ConnectionLimiter {
    /// A limiter that counts no connection yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            places: Places::new(PlaceLimits {
                total: limits.half_open,
                per_address: limits.half_open_per_address,
                shared_addresses: limits.trusted_proxies.clone(),
            }),
            limits: Arc::new(limits),
        }
    }

    /// The limits that it holds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where new connections get their places.
    pub(crate) const fn places(&self) -> &Places {
        &self.places
    }

    /// A connection that has just been accepted.
    pub(crate) fn begin(&self, place: Place) -> HalfOpen {
        HalfOpen {
            place,
            until: Instant::now() + self.limits.handshake,
        }
    }

    /// How many connections wait for authentication.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.places.taken()
    }
}

/// A connection that is not authenticated yet. To be dropped when it is: a viewer who is admitted is never cut.
#[derive(Debug)]
pub struct HalfOpen {
    place: Place,
    until: Instant,
}

impl HalfOpen {
    /// When its stream has to be open: [`Limits::handshake`] after it was accepted. A stock viewer has to have negotiated TLS by then, and
    /// has [`Limits::login`] after that.
    #[must_use]
    pub const fn until(&self) -> Instant {
        self.until
    }

    /// Returns when a newcomer gets its place; never, once this is dropped.
    pub(crate) fn cut(&self) -> impl Future<Output = LimitReached> + Send + use<> {
        let cut = self.place.cut();
        async move { cut.await.into() }
    }

    /// Counts the connection for the client that a proxy has named.
    pub(crate) fn pass_to(&mut self, client: IpAddr) {
        self.place.pass_to(client);
    }

    /// Does `work` for the connection, unless a newcomer gets its place first.
    pub(crate) async fn unless_cut<T>(&self, work: impl Future<Output = T>) -> Result<T, LimitReached> {
        Ok(self.place.unless_cut(work).await?)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn cut_for(limits: Limits, addresses: &[&str]) -> Option<LimitReached> {
        let limiter = ConnectionLimiter::new(limits);
        let held: Vec<HalfOpen> = addresses
            .iter()
            .map(|address| limiter.begin(limiter.places().enter(address.parse().unwrap())))
            .collect();
        let cut = held.first().and_then(|first| first.cut().now_or_never());
        assert_eq!(limiter.half_open(), held.len() - usize::from(cut.is_some()));
        drop(held);
        assert_eq!(limiter.half_open(), 0);
        cut
    }

    #[test]
    fn the_limit_that_a_connection_is_cut_for_is_named() {
        let limits = |half_open, half_open_per_address| Limits {
            half_open,
            half_open_per_address,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Limits::default()
        };
        let (one, two, proxy) = ("192.0.2.1", "192.0.2.2", "10.1.2.3");
        assert_eq!(cut_for(limits(2, 2), &[one, two]), None);
        assert_eq!(cut_for(limits(2, 2), &[one, one, two]), Some(LimitReached::HalfOpen));
        assert_eq!(
            cut_for(limits(9, 1), &[one, "::ffff:192.0.2.1"]),
            Some(LimitReached::HalfOpenPerAddress)
        );
        assert_eq!(cut_for(limits(9, 1), &[proxy, proxy, proxy]), None);
    }

    #[test]
    fn a_header_is_wanted_from_named_proxies_on_named_ways_in_alone() {
        let limits = Limits {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            proxy_protocol: vec![Transport::Rfb],
            ..Limits::default()
        };
        let wants = |address: &str, transport| limits.wants_proxy_header(address.parse().unwrap(), transport);
        assert!(wants("10.1.2.3", Transport::Rfb) && wants("::ffff:10.1.2.3", Transport::Rfb));
        assert!(!wants("10.1.2.3", Transport::WebSocket));
        assert!(!wants("192.0.2.1", Transport::Rfb));
        assert!(!Limits::default().wants_proxy_header("10.1.2.3".parse().unwrap(), Transport::Rfb));
    }
}
