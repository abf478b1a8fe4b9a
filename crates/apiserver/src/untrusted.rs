//! Connections that are not, or not yet, known to be kube-apiserver's. Their number is limited, and the newest always gets a place:
//! at the limit an older connection is cut. So a client that holds connections cannot shut kube-apiserver out, which is untrusted
//! only until its certificate is seen.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The places of untrusted connections. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct UntrustedConnections(Arc<Slots>);

#[derive(Debug)]
struct Slots {
    limit: usize,
    taken: Mutex<TakenSlots>,
}

#[derive(Debug, Default)]
struct TakenSlots {
    next: u64,
    /// By number, so the oldest comes first.
    places: BTreeMap<u64, ConnectionSlot>,
}

#[derive(Debug)]
struct ConnectionSlot {
    address: IpAddr,
    /// Dropping it cuts the connection.
    _cut: oneshot::Sender<()>,
}

impl UntrustedConnections {
    /// Slots for this many, at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Slots {
            limit: limit.max(1),
            taken: Mutex::default(),
        }))
    }

    /// Gives a new connection a place; at the limit, that of another connection, which is cut.
    pub(crate) fn enter(&self, address: IpAddr) -> UntrustedConnection {
        let (cut, is_cut) = oneshot::channel();
        let mut taken = self.0.lock();
        if taken.places.len() >= self.0.limit
            && let Some(number) = taken.connection_to_cut()
        {
            taken.places.remove(&number);
        }
        let number = taken.next;
        taken.next += 1;
        taken.places.insert(number, ConnectionSlot { address, _cut: cut });
        UntrustedConnection {
            places: Arc::clone(&self.0),
            number,
            is_cut,
        }
    }
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, TakenSlots> {
        self.taken.lock()
    }
}

impl TakenSlots {
    /// The oldest connection of the address that has most, so that a flood from one address cuts its own. Costs a look at each place.
    fn connection_to_cut(&self) -> Option<u64> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for place in self.places.values() {
            *counts.entry(place.address).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        let mut oldest_first = self.places.iter();
        let found = oldest_first.find(|(_, place)| counts.get(&place.address) == Some(&most));
        found.map(|(number, _)| *number)
    }
}

/// A connection that is not known to be kube-apiserver's. Dropping it frees its place.
#[derive(Debug)]
pub(crate) struct UntrustedConnection {
    places: Arc<Slots>,
    number: u64,
    is_cut: oneshot::Receiver<()>,
}

impl UntrustedConnection {
    /// Does `work` for the connection; `None` when another connection gets its place first, and ever after.
    pub(crate) async fn unless_cut<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        if self.is_cut.is_terminated() {
            return None;
        }
        tokio::select! {
            biased;
            _ = &mut self.is_cut => None,
            done = work => Some(done),
        }
    }
}

impl Drop for UntrustedConnection {
    fn drop(&mut self) {
        self.places.lock().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use futures::FutureExt;
    use tokio::time::timeout;

    use super::*;

    const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// Whether its place was taken away.
    fn is_cut(connection: &mut UntrustedConnection) -> bool {
        connection.unless_cut(pending::<()>()).now_or_never().is_some()
    }

    #[test]
    fn the_newest_always_has_a_place_and_the_oldest_makes_room() {
        let untrusted = UntrustedConnections::new(4);
        let mut held: Vec<UntrustedConnection> = (0..10).map(|_| untrusted.enter(OTHER)).collect();
        let cut: Vec<bool> = held.iter_mut().map(is_cut).collect();
        assert_eq!(cut, [[true; 6].as_slice(), &[false; 4]].concat());
        assert!(is_cut(&mut held[0]), "it stays cut");
        assert_eq!(untrusted.0.lock().places.len(), 4);
        drop(held);
        assert!(untrusted.0.lock().places.is_empty());
    }

    #[test]
    fn a_flood_from_one_address_cuts_its_own() {
        let untrusted = UntrustedConnections::new(4);
        let mut proxy = untrusted.enter(PROXY);
        let mut held: Vec<UntrustedConnection> = (0..1000).map(|_| untrusted.enter(OTHER)).collect();
        assert!(!is_cut(&mut proxy));
        assert_eq!(
            held.iter_mut().filter_map(|held| (!is_cut(held)).then_some(())).count(),
            3
        );
        let mut second = untrusted.enter(PROXY);
        assert!(!is_cut(&mut proxy) && !is_cut(&mut second));
    }

    #[tokio::test(start_paused = true)]
    async fn work_for_a_connection_that_is_cut_ends_at_once() {
        let untrusted = UntrustedConnections::new(1);
        let mut first = untrusted.enter(OTHER);
        assert_eq!(first.unless_cut(async { 7 }).await, Some(7));
        let work = tokio::spawn(async move { first.unless_cut(pending::<()>()).await });
        tokio::task::yield_now().await;
        let mut second = untrusted.enter(OTHER);
        let ended = timeout(Duration::from_secs(1), work)
            .await
            .expect("the first one is cut");
        assert_eq!(ended.unwrap(), None);
        assert!(!is_cut(&mut second), "the first one's end takes no place but its own");
    }
}
