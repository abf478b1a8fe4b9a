//! Bounded waits that say what they wait for and what they saw last.

use std::{
    fmt::{Debug, Display},
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use kube::{Api, api::Resource};
use serde::de::DeserializeOwned;

/// The bound of a wait that ends within a second on a quiet machine. It is
/// this long because the tests run beside compilers on two cores.
pub const SHORT: Duration = Duration::from_mins(1);

/// The bound of a wait for a guest to boot in emulation, or a roll-out.
pub const LONG: Duration = Duration::from_mins(4);

/// Between two looks. Short beside what is waited for, long beside what a look
/// costs.
const PAUSE: Duration = Duration::from_millis(100);

/// What one look found.
pub enum Seen<T> {
    /// It is there.
    Done(T),
    /// Not yet, because of this.
    NotYet(String),
}

impl<T> Seen<T> {
    /// `Done` for a value, `NotYet` with a reason for none.
    pub fn some(value: Option<T>, otherwise: impl Display) -> Self {
        value.map_or_else(|| Self::NotYet(otherwise.to_string()), Self::Done)
    }
}

/// Looks until `probe` is done. An error of the probe counts as "not yet":
/// tests restart the apiserver under running waits.
///
/// # Errors
/// After `bound`, with what was seen last.
pub async fn until<T, F, Fut>(what: impl Display, bound: Duration, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Seen<T>>>,
{
    let deadline = Instant::now() + bound;
    let mut last = String::from("nothing yet");
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A look that hangs must not outlast the bound.
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(Seen::Done(value))) => return Ok(value),
            Ok(Ok(Seen::NotYet(why))) => last = why,
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => {}
        }
        if Instant::now() + PAUSE >= deadline {
            bail!("{what}: not within {}s; last seen: {last}", bound.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until an object satisfies `condition` and returns it; `Err` of the
/// condition says what is still missing.
///
/// # Errors
/// After `bound`, with what was seen last.
pub async fn object<K>(
    api: &Api<K>,
    name: &str,
    what: impl Display,
    bound: Duration,
    condition: impl Fn(&K) -> Result<(), String>,
) -> Result<K>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    until(format!("{name}: {what}"), bound, || async {
        let Some(object) = api.get_opt(name).await? else {
            return Ok(Seen::NotYet(String::from("the object does not exist")));
        };
        Ok(match condition(&object) {
            Ok(()) => Seen::Done(object),
            Err(why) => Seen::NotYet(why),
        })
    })
    .await
}

/// Waits until an object is gone.
///
/// # Errors
/// After `bound`, with its finalizers.
pub async fn gone<K>(api: &Api<K>, name: &str, bound: Duration) -> Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    until(format!("{name} is gone"), bound, || async {
        Ok(match api.get_opt(name).await? {
            None => Seen::Done(()),
            Some(object) => Seen::NotYet(format!(
                "it exists; deletion asked for at {:?}, finalizers {:?}",
                object.meta().deletion_timestamp,
                object.meta().finalizers
            )),
        })
    })
    .await
}
