//! Places for connections of which it is not known yet whose they are.
//!
//! Their number is bounded, and a newcomer always gets a place: at the limit the oldest connection of the address that holds most
//! is cut. So a client that holds connections cuts its own, and can shut nobody out, neither a probe nor a person.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    future::pending,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many connections have a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceLimits {
    /// Over all addresses; at least one.
    pub total: usize,
    /// Of one address, where an IPv6 /64 is one; at least one.
    pub per_address: usize,
    /// Addresses through which many clients come; `per_address` is not for them.
    pub shared_addresses: Vec<IpNet>,
}

impl PlaceLimits {
    /// The same limit over all and for one address.
    #[must_use]
    pub const fn of(total: usize) -> Self {
        Self {
            total,
            per_address: total,
            shared_addresses: Vec::new(),
        }
    }

    fn is_shared(&self, address: IpAddr) -> bool {
        self.shared_addresses.iter().any(|net| net.contains(&address))
    }
}

/// Which limit a connection was cut for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceLimit {
    /// [`PlaceLimits::total`].
    Total,
    /// [`PlaceLimits::per_address`].
    PerAddress,
}

/// The places of a listener, or of several. Clones share them.
#[derive(Clone, Debug)]
pub struct Places(Arc<SharedPlaces>);

#[derive(Debug)]
struct SharedPlaces {
    limits: PlaceLimits,
    taken: Mutex<TakenPlaces>,
}

#[derive(Debug, Default)]
struct TakenPlaces {
    next: u64,
    total: usize,
    /// By number, so the oldest of an address comes first.
    by_address: HashMap<IpAddr, BTreeMap<u64, Arc<PlaceSignal>>>,
    /// How many an address has and which is its oldest. The last is the oldest of those that have most.
    ranks: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
}

/// Tells a connection that its place was taken away.
#[derive(Debug)]
struct PlaceSignal {
    state: Mutex<PlaceState>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceState {
    Held,
    Cut(PlaceLimit),
    Freed,
}

impl Places {
    /// As many places as `limits` say, all of them free.
    #[must_use]
    pub fn new(limits: PlaceLimits) -> Self {
        Self(Arc::new(SharedPlaces {
            limits,
            taken: Mutex::default(),
        }))
    }

    /// Gives a new connection a place; at a limit, that of another connection, which is cut.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Place {
        let limits = &self.0.limits;
        let is_shared = limits.is_shared(address.to_canonical());
        let address = network(address);
        let signal = Arc::new(PlaceSignal {
            state: Mutex::new(PlaceState::Held),
            changed: Notify::new(),
        });
        let mut taken = self.0.taken.lock();
        if !is_shared && taken.of(address) >= limits.per_address.max(1) {
            taken.cut_oldest(address, PlaceLimit::PerAddress);
        } else if taken.total >= limits.total.max(1)
            && let Some((_, _, most)) = taken.ranks.last().copied()
        {
            taken.cut_oldest(most, PlaceLimit::Total);
        }
        let number = taken.next;
        taken.next += 1;
        taken.change(address, |places| places.insert(number, Arc::clone(&signal)));
        Place {
            places: Arc::clone(&self.0),
            address,
            number,
            signal,
        }
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.lock().total
    }
}

impl TakenPlaces {
    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, BTreeMap::len)
    }

    fn cut_oldest(&mut self, address: IpAddr, limit: PlaceLimit) {
        if let Some((_, signal)) = self.change(address, BTreeMap::pop_first) {
            // A place that is being freed in this moment is that of a connection that is known now.
            signal.change(|state| match state {
                PlaceState::Held => PlaceState::Cut(limit),
                PlaceState::Cut(_) | PlaceState::Freed => state,
            });
        }
    }

    /// Changes the places of an address, and keeps counts and ranks true. Each costs a few steps, however many connections there are:
    /// a stranger decides how often this happens.
    fn change<T>(&mut self, address: IpAddr, change: impl FnOnce(&mut BTreeMap<u64, Arc<PlaceSignal>>) -> T) -> T {
        let places = self.by_address.entry(address).or_default();
        let before = rank(address, places);
        let changed = change(places);
        let after = rank(address, places);
        if after.is_none() {
            self.by_address.remove(&address);
        }
        if let Some(before) = before {
            self.total -= before.0;
            self.ranks.remove(&before);
        }
        if let Some(after) = after {
            self.total += after.0;
            self.ranks.insert(after);
        }
        changed
    }
}

fn rank(address: IpAddr, places: &BTreeMap<u64, Arc<PlaceSignal>>) -> Option<(usize, Reverse<u64>, IpAddr)> {
    let (oldest, _) = places.first_key_value()?;
    Some((places.len(), Reverse(*oldest), address))
}

impl PlaceSignal {
    fn change(&self, change: impl FnOnce(PlaceState) -> PlaceState) {
        let mut state = self.state.lock();
        *state = change(*state);
        drop(state);
        self.changed.notify_waiters();
    }

    async fn cut(&self) -> PlaceLimit {
        loop {
            // Made before the look: it hears of every change after that.
            let changed = self.changed.notified();
            let state = *self.state.lock();
            match state {
                PlaceState::Cut(limit) => return limit,
                PlaceState::Freed => pending().await,
                PlaceState::Held => changed.await,
            }
        }
    }
}

/// The place of one connection. Dropping it frees the place: the connection is known, or over.
#[derive(Debug)]
pub struct Place {
    places: Arc<SharedPlaces>,
    address: IpAddr,
    number: u64,
    signal: Arc<PlaceSignal>,
}

impl Place {
    /// Returns when the place is taken away for a newcomer; never, once this is dropped.
    pub fn cut(&self) -> impl Future<Output = PlaceLimit> + Send + use<> {
        let signal = Arc::clone(&self.signal);
        async move { signal.cut().await }
    }

    /// Does `work` for the connection.
    ///
    /// # Errors
    ///
    /// The limit, when a newcomer gets the place first, and ever after.
    pub async fn unless_cut<T>(&self, work: impl Future<Output = T>) -> Result<T, PlaceLimit> {
        tokio::select! {
            biased;
            limit = self.signal.cut() => Err(limit),
            done = work => Ok(done),
        }
    }

    /// Counts the connection for another address than the one that it was made from: a proxy has said whose it is. At the limit of that
    /// address its oldest connection is cut.
    pub fn pass_to(&mut self, address: IpAddr) {
        let limits = &self.places.limits;
        let is_shared = limits.is_shared(address.to_canonical());
        let address = network(address);
        if address == self.address {
            return;
        }
        let mut taken = self.places.taken.lock();
        // One that is cut has no place to pass on.
        let Some(signal) = taken.change(self.address, |places| places.remove(&self.number)) else {
            return;
        };
        if !is_shared && taken.of(address) >= limits.per_address.max(1) {
            taken.cut_oldest(address, PlaceLimit::PerAddress);
        }
        taken.change(address, |places| places.insert(self.number, signal));
        self.address = address;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Also one that was cut a moment ago goes on when it is known by now: the newcomer has its place all the same.
        self.signal.change(|_| PlaceState::Freed);
        self.places
            .taken
            .lock()
            .change(self.address, |places| places.remove(&self.number));
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
    use std::{net::Ipv4Addr, time::Duration};

    use futures::FutureExt;
    use tokio::time::timeout;

    use super::*;

    const PROBE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn is_cut(place: &Place) -> bool {
        place.cut().now_or_never().is_some()
    }

    fn held(places: &[Place]) -> usize {
        places.iter().filter(|place| !is_cut(place)).count()
    }

    fn places(total: usize, per_address: usize) -> Places {
        Places::new(PlaceLimits {
            per_address,
            ..PlaceLimits::of(total)
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_always_has_a_place_and_the_oldest_makes_room() {
        let places = places(4, 4);
        let all: Vec<Place> = (0..10).map(|_| places.enter(OTHER)).collect();
        let cut: Vec<bool> = all.iter().map(is_cut).collect();
        assert_eq!(cut, [[true; 6].as_slice(), &[false; 4]].concat());
        assert_eq!(places.taken(), 4);
        drop(all);
        let taken = places.0.taken.lock();
        assert_eq!((taken.total, taken.by_address.len(), taken.ranks.len()), (0, 0, 0));
    }

    #[test]
    fn a_flood_from_one_address_cuts_its_own() {
        let places = places(4, 4);
        let probe = places.enter(PROBE);
        let flood: Vec<Place> = (0..1000).map(|_| places.enter(OTHER)).collect();
        assert!(!is_cut(&probe));
        assert_eq!(held(&flood), 3);
        let second = places.enter(PROBE);
        assert!(!is_cut(&probe) && !is_cut(&second));
    }

    #[test]
    fn sixteen_addresses_that_fill_all_places_keep_nobody_out() {
        let places = places(1024, 64);
        let fill = |round: usize| -> Vec<Place> {
            let enter = |number: usize| places.enter(address(&format!("198.51.100.{}", number % 16)));
            (0..1024 * round).map(enter).collect()
        };
        let flood = fill(2);
        assert_eq!((held(&flood), places.taken()), (1024, 1024));
        let newcomers: Vec<Place> = (0..32).map(|_| places.enter(PROBE)).collect();
        let more = fill(4);
        assert_eq!(
            held(&newcomers),
            32,
            "who holds fewer than the flood's addresses is not cut"
        );
        assert_eq!(places.taken(), 1024);
        drop((flood, more));
        assert_eq!(places.taken(), 32);
    }

    #[test]
    fn one_ipv6_network_counts_as_one_address() {
        let places = places(1024, 64);
        let enter = |number: u16| places.enter(address(&format!("2001:db8::{number:x}:1")));
        let flood: Vec<Place> = (0..500).map(enter).collect();
        assert_eq!((held(&flood), places.taken()), (64, 64));
        assert_eq!(
            flood.first().unwrap().cut().now_or_never(),
            Some(PlaceLimit::PerAddress)
        );
        let other = places.enter(address("2001:db8:0:1::1"));
        assert!(!is_cut(&other));
        let mapped = [
            places.enter(address("::ffff:192.0.2.9")),
            places.enter(address("192.0.2.9")),
        ];
        assert_eq!(places.0.taken.lock().of(address("192.0.2.9")), mapped.len());
    }

    #[test]
    fn a_gateway_is_not_one_client_but_leaves_places_for_others() {
        let places = Places::new(PlaceLimits {
            total: 8,
            per_address: 1,
            shared_addresses: vec!["10.0.0.0/8".parse().unwrap()],
        });
        let clients: Vec<Place> = (0..8).map(|_| places.enter(address("::ffff:10.1.2.3"))).collect();
        assert_eq!(held(&clients), 8);
        let other = places.enter(PROBE);
        assert_eq!((held(&clients), is_cut(&other)), (7, false));
        assert_eq!(clients.first().unwrap().cut().now_or_never(), Some(PlaceLimit::Total));
    }

    #[test]
    fn a_connection_through_a_proxy_counts_for_the_client() {
        let places = Places::new(PlaceLimits {
            total: 8,
            per_address: 2,
            shared_addresses: vec!["10.0.0.0/8".parse().unwrap()],
        });
        let proxy = address("10.1.2.3");
        let through = |client: IpAddr| {
            let mut place = places.enter(proxy);
            place.pass_to(client);
            place
        };
        let direct = places.enter(OTHER);
        let flood: Vec<Place> = (0..4).map(|_| through(OTHER)).collect();
        assert!(is_cut(&direct), "its address is at its limit, whichever way it comes");
        assert_eq!((held(&flood), places.taken()), (2, 2));
        assert_eq!(
            flood.first().unwrap().cut().now_or_never(),
            Some(PlaceLimit::PerAddress)
        );
        let other = through(PROBE);
        assert!(!is_cut(&other));
        // Another proxy is no client.
        let chained: Vec<Place> = (0..4).map(|_| through(address("10.4.5.6"))).collect();
        assert_eq!((held(&chained), places.taken()), (4, 7));
        drop((direct, flood, other, chained));
        let taken = places.0.taken.lock();
        assert_eq!((taken.total, taken.by_address.len(), taken.ranks.len()), (0, 0, 0));
    }

    #[test]
    fn a_connection_that_is_cut_passes_no_place_on() {
        let places = places(1, 1);
        let mut first = places.enter(OTHER);
        let second = places.enter(OTHER);
        first.pass_to(PROBE);
        assert!(is_cut(&first) && !is_cut(&second));
        assert_eq!(places.taken(), 1);
        drop(first);
        assert_eq!(places.taken(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn work_for_a_connection_that_is_cut_ends_at_once() {
        let places = places(1, 1);
        let first = places.enter(OTHER);
        assert_eq!(first.unless_cut(async { 7 }).await, Ok(7));
        let work = tokio::spawn(async move {
            let ended = first.unless_cut(pending::<()>()).await;
            (ended, first.unless_cut(async {}).await)
        });
        tokio::task::yield_now().await;
        let second = places.enter(OTHER);
        let ended = timeout(Duration::from_secs(1), work)
            .await
            .expect("the first one is cut");
        let cut = Err(PlaceLimit::PerAddress);
        assert_eq!(ended.unwrap(), (cut, cut), "it stays cut");
        assert!(!is_cut(&second), "the first one's end takes no place but its own");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_known_is_never_cut() {
        let places = places(1, 1);
        let first = places.enter(OTHER);
        let (before, during) = (first.cut(), first.cut());
        drop(first);
        assert!(before.now_or_never().is_none());
        let _flood: Vec<Place> = (0..10).map(|_| places.enter(OTHER)).collect();
        assert!(timeout(Duration::from_mins(1), during).await.is_err());
    }
}
