//! Connections that are not, or not yet, kube-apiserver's. There is a bound on them, and the newest always has a place: when it
//! is reached, an older connection is cut. So whoever holds connections cannot shut kube-apiserver out, which is a stranger only
//! until its certificate is seen.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// The places of strangers. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Strangers(Arc<Places>);

#[derive(Debug)]
struct Places {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By number, so the oldest comes first.
    places: BTreeMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    address: IpAddr,
    /// Dropping it cuts the connection.
    _cut: oneshot::Sender<()>,
}

impl Strangers {
    /// Places for this many, at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Places {
            limit: limit.max(1),
            taken: Mutex::default(),
        }))
    }

    /// Gives a new connection a place, if need be that of another.
    pub(crate) fn enter(&self, address: IpAddr) -> Stranger {
        let (cut, is_cut) = oneshot::channel();
        let mut taken = self.0.lock();
        if taken.places.len() >= self.0.limit
            && let Some(number) = taken.whom_to_cut()
        {
            taken.places.remove(&number);
        }
        let number = taken.next;
        taken.next += 1;
        taken.places.insert(number, Place { address, _cut: cut });
        Stranger {
            places: Arc::clone(&self.0),
            number,
            is_cut,
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

impl Taken {
    /// The oldest connection of the address that has most: a flood from one address cuts its own. Looked for among at most as
    /// many as there are places.
    fn whom_to_cut(&self) -> Option<u64> {
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

/// A connection that is not known to be kube-apiserver's. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Stranger {
    places: Arc<Places>,
    number: u64,
    is_cut: oneshot::Receiver<()>,
}

impl Stranger {
    /// Does `work` for the connection. `None` when another one gets its place before that is done; so it is afterwards.
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

impl Drop for Stranger {
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
    fn is_cut(stranger: &mut Stranger) -> bool {
        stranger.unless_cut(pending::<()>()).now_or_never().is_some()
    }

    #[test]
    fn the_newest_always_has_a_place_and_the_oldest_makes_room() {
        let strangers = Strangers::new(4);
        let mut held: Vec<Stranger> = (0..10).map(|_| strangers.enter(OTHER)).collect();
        let cut: Vec<bool> = held.iter_mut().map(is_cut).collect();
        assert_eq!(cut, [[true; 6].as_slice(), &[false; 4]].concat());
        assert!(is_cut(&mut held[0]), "it stays cut");
        assert_eq!(strangers.0.lock().places.len(), 4);
        drop(held);
        assert!(strangers.0.lock().places.is_empty());
    }

    #[test]
    fn a_flood_from_one_address_cuts_its_own() {
        let strangers = Strangers::new(4);
        let mut proxy = strangers.enter(PROXY);
        let mut held: Vec<Stranger> = (0..1000).map(|_| strangers.enter(OTHER)).collect();
        assert!(!is_cut(&mut proxy));
        assert_eq!(
            held.iter_mut().filter_map(|held| (!is_cut(held)).then_some(())).count(),
            3
        );
        let mut second = strangers.enter(PROXY);
        assert!(!is_cut(&mut proxy) && !is_cut(&mut second));
    }

    #[tokio::test(start_paused = true)]
    async fn work_for_a_connection_that_is_cut_ends_at_once() {
        let strangers = Strangers::new(1);
        let mut first = strangers.enter(OTHER);
        assert_eq!(first.unless_cut(async { 7 }).await, Some(7));
        let work = tokio::spawn(async move { first.unless_cut(pending::<()>()).await });
        tokio::task::yield_now().await;
        let mut second = strangers.enter(OTHER);
        let ended = timeout(Duration::from_secs(1), work)
            .await
            .expect("the first one is cut");
        assert_eq!(ended.unwrap(), None);
        assert!(!is_cut(&mut second), "the first one's end takes no place but its own");
    }
}
