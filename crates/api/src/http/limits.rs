//! How often somebody may ask, by the generic cell rate algorithm. Each replica counts by itself.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use novasphere_runtime::{
    serve::network,
    shares::{HeldPlace, Shares},
};

use crate::{code::Code, config::RequestLimitsConfig, error::ApiError, error::ApiResult};

/// How often it is looked for keys that nobody asked with lately.
pub(crate) const TIDY_INTERVAL: Duration = Duration::from_mins(1);

/// Event streams of all users of this replica.
const EVENT_STREAMS_LIMIT: usize = 4096;

/// Limits of users and addresses. Clones share the counts.
#[derive(Clone)]
pub struct RequestLimits(Arc<Limiters>);

struct Limiters {
    users: DefaultKeyedRateLimiter<String>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    consoles: DefaultKeyedRateLimiter<String>,
    logins: DefaultKeyedRateLimiter<IpAddr>,
    event_streams: Shares,
    clock: DefaultClock,
}

impl RequestLimits {
    /// Limits with these settings.
    #[must_use]
    pub fn new(config: &RequestLimitsConfig) -> Self {
        Self(Arc::new(Limiters {
            users: RateLimiter::keyed(Quota::per_minute(config.requests_per_user)),
            addresses: RateLimiter::keyed(Quota::per_minute(config.requests_per_address)),
            consoles: RateLimiter::keyed(Quota::per_minute(config.consoles_per_user)),
            logins: RateLimiter::keyed(Quota::per_minute(config.logins_per_address)),
            event_streams: Shares::new(EVENT_STREAMS_LIMIT, number(config.event_streams_per_user)),
            clock: DefaultClock::default(),
        }))
    }

    /// Counts a request of a user.
    ///
    /// # Errors
    ///
    /// [`Code::TOO_MANY_REQUESTS`] with the time to wait, as the following.
    pub fn of_user(&self, user: &str) -> ApiResult<()> {
        self.check(&self.0.users, &user.to_owned())
    }

    /// Counts a request of an address whose user is not known yet. All addresses of an IPv6 `/64` are one.
    ///
    /// # Errors
    ///
    /// [`Code::TOO_MANY_REQUESTS`].
    pub fn of_address(&self, address: IpAddr) -> ApiResult<()> {
        self.check(&self.0.addresses, &network(address))
    }

    /// Counts a link to a console.
    ///
    /// # Errors
    ///
    /// [`Code::TOO_MANY_REQUESTS`].
    pub fn console_link(&self, user: &str) -> ApiResult<()> {
        self.check(&self.0.consoles, &user.to_owned())
    }

    /// Counts a try to sign in.
    ///
    /// # Errors
    ///
    /// [`Code::TOO_MANY_REQUESTS`].
    pub fn login(&self, address: IpAddr) -> ApiResult<()> {
        self.check(&self.0.logins, &network(address))
    }

    /// A place for an event stream, held until it is dropped.
    ///
    /// # Errors
    ///
    /// [`Code::TOO_MANY_REQUESTS`].
    pub fn event_stream(&self, user: &str) -> ApiResult<HeldPlace> {
        self.0.event_streams.take(user).map_err(|_| {
            ApiError::with(
                Code::TOO_MANY_REQUESTS,
                "you have as many event streams as you may have; close one",
            )
        })
    }

    /// Forgets those who have not asked lately, so that the tables do not grow.
    pub fn tidy(&self) {
        self.0.users.retain_recent();
        self.0.addresses.retain_recent();
        self.0.consoles.retain_recent();
        self.0.logins.retain_recent();
    }

    fn check<K: std::hash::Hash + Eq + Clone>(&self, limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> ApiResult<()> {
        limiter.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(self.0.clock.now());
            ApiError::new(Code::TOO_MANY_REQUESTS).retry_after(wait)
        })
    }
}

fn number(count: NonZeroU32) -> usize {
    usize::try_from(count.get()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_s_limit_is_not_another_s() {
        let limits = RequestLimits::new(&RequestLimitsConfig::default());
        for _ in 0..5 {
            limits.console_link("ann").unwrap();
        }
        let refused = limits.console_link("ann").unwrap_err();
        assert_eq!(refused.code, Code::TOO_MANY_REQUESTS);
        assert!(refused.retry_after.unwrap() <= Duration::from_secs(12), "{refused:?}");
        limits.console_link("ben").unwrap();
    }

    #[test]
    fn a_network_of_one_person_has_one_limit() {
        let limits = RequestLimits::new(&RequestLimitsConfig::default());
        let mut refused = 0;
        for host in 0..20 {
            let address: IpAddr = format!("2001:db8::{host:x}").parse().unwrap();
            refused += usize::from(limits.login(address).is_err());
        }
        assert_eq!(refused, 10);
        limits.login("2001:db8:0:1::1".parse().unwrap()).unwrap();
    }

    #[test]
    fn event_streams_are_places() {
        let limits = RequestLimits::new(&RequestLimitsConfig::default());
        let held: Vec<_> = (0..20).map(|_| limits.event_stream("ann").unwrap()).collect();
        limits.event_stream("ann").unwrap_err();
        drop(held);
        limits.event_stream("ann").unwrap();
    }
}
