//! A bounded number of places, of which one holder may have no more than a share: for those who are known and wait for something. So a user
//! who fills their share keeps nobody else waiting. Connections whose holder is not known yet have [`Places`](crate::serve::Places).

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// Places, and who has how many of them. Clones share them.
#[derive(Clone, Debug)]
pub struct Shares(Arc<SharesInner>);

#[derive(Debug)]
struct SharesInner {
    limit: usize,
    share: usize,
    held: Mutex<HeldPlaces>,
}

#[derive(Debug, Default)]
struct HeldPlaces {
    total: usize,
    /// At most one entry for each place that is held.
    by_holder: HashMap<Arc<str>, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// All are held; so many there are.
    Full(usize),
    /// The holder has their share, which is this many.
    ShareUsed(usize),
}

/// A place. It is given back when this is dropped.
#[derive(Debug)]
pub struct HeldPlace {
    shares: Shares,
    holder: Arc<str>,
}

impl Shares {
    /// So many places, and so many of them for one holder at most.
    #[must_use]
    pub fn new(limit: usize, share: usize) -> Self {
        Self(Arc::new(SharesInner {
            limit,
            share,
            held: Mutex::default(),
        }))
    }

    /// A place for a holder.
    ///
    /// # Errors
    ///
    /// [`NoPlace`].
    pub fn take(&self, holder: &str) -> Result<HeldPlace, NoPlace> {
        let inner = &self.0;
        let mut held = inner.held.lock();
        if held.by_holder.get(holder).is_some_and(|count| *count >= inner.share) {
            return Err(NoPlace::ShareUsed(inner.share));
        }
        if held.total >= inner.limit {
            return Err(NoPlace::Full(inner.limit));
        }
        let holder: Arc<str> = holder.into();
        held.total += 1;
        *held.by_holder.entry(Arc::clone(&holder)).or_default() += 1;
        Ok(HeldPlace {
            shares: self.clone(),
            holder,
        })
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        let mut held = self.shares.0.held.lock();
        held.total = held.total.saturating_sub(1);
        if let Some(count) = held.by_holder.get_mut(&self.holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.by_holder.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fills_their_share_leaves_the_rest_to_others() {
        let shares = Shares::new(8, 2);
        let take_all = |holder: &str| std::iter::from_fn(|| shares.take(holder).ok()).collect::<Vec<_>>();
        let greedy = take_all("jane");
        assert_eq!(greedy.len(), 2);
        assert_eq!(shares.take("jane").unwrap_err(), NoPlace::ShareUsed(2));
        let others: Vec<_> = ["joe", "ann", "tim", "eve"].into_iter().flat_map(take_all).collect();
        assert_eq!(others.len(), 6);
        assert_eq!(shares.take("late").unwrap_err(), NoPlace::Full(8));
        assert_eq!(
            shares.take("jane").unwrap_err(),
            NoPlace::ShareUsed(2),
            "their own is told first"
        );
        drop(greedy);
        assert_eq!(take_all("late").len(), 2);
        drop(others);
        let held = shares.0.held.lock();
        assert_eq!(
            (held.total, held.by_holder.len()),
            (0, 0),
            "nothing is remembered of who has left"
        );
    }
}
