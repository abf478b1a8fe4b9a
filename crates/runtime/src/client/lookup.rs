//! The addresses of the apiserver's name: one lookup at a time, with a bound, and with the last answer in place of one that does not come.
//!
//! The lookup of the system (`getaddrinfo(3)`) holds a thread of tokio's blocking pool until the name server answers or its own time-outs are
//! over, which takes half a minute and more. The pool has 512 threads, and each console of a machine is a connection of its own. So a name server
//! that does not answer would first hold up every console, and then everything else that needs a thread.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};
use tower::{BoxError, Service, ServiceExt};

/// How long a connection waits for a name whose addresses are known from before.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it waits for a name that was never found.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks names up by `R`. Clones share what runs and what is known. The names are those of the kubeconfig, so there are few.
#[derive(Clone, Debug)]
pub(super) struct SharedLookup<R = GaiResolver> {
    resolver: R,
    names: Arc<Mutex<HashMap<Name, Lookup>>>,
}

type LookupAnswer = Result<Vec<SocketAddr>, Arc<str>>;

#[derive(Debug, Default)]
struct Lookup {
    /// The one that runs; its answer is `None` until it comes.
    running: Option<watch::Receiver<Option<LookupAnswer>>>,
    /// What the last one that found something has found.
    known: Vec<SocketAddr>,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("cannot look up {0}: {1}")]
    Failed(Name, Arc<str>),
    #[error("cannot look up {0}: no answer of the name server within {limit:?}", limit = LOOKUP_TIMEOUT)]
    TimedOut(Name),
}

impl<R> SharedLookup<R> {
    pub(super) fn new(resolver: R) -> Self {
        Self {
            resolver,
            names: Arc::default(),
        }
    }

    fn finished(&self, name: &Name, answer: &LookupAnswer) {
        let mut names = self.names.lock();
        let lookup = names.entry(name.clone()).or_default();
        lookup.running = None;
        if let Ok(found) = answer
            && !found.is_empty()
        {
            lookup.known.clone_from(found);
        }
    }
}

impl<R> SharedLookup<R>
where
    R: Service<Name, Future: Send, Response: Iterator<Item = SocketAddr>, Error: Into<BoxError>>
        + Clone
        + Send
        + Sync
        + 'static,
{
    /// The lookup that runs for this name, or a new one; and the addresses that are known.
    fn join(&self, name: &Name) -> (watch::Receiver<Option<LookupAnswer>>, Vec<SocketAddr>) {
        let mut names = self.names.lock();
        let lookup = names.entry(name.clone()).or_default();
        let known = lookup.known.clone();
        // One whose task broke off has no sender any more.
        if let Some(running) = lookup.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return (running.clone(), known);
        }
        let (tell, running) = watch::channel(None);
        lookup.running = Some(running.clone());
        drop(names);
        let (this, name) = (self.clone(), name.clone());
        // In a task of its own: its thread is held until it has ended, whoever still waits for it.
        tokio::spawn(async move {
            let found = this.resolver.clone().oneshot(name.clone()).await;
            let answer: LookupAnswer = match found {
                Ok(found) => Ok(found.collect()),
                Err(error) => Err(Into::<BoxError>::into(error).to_string().into()),
            };
            this.finished(&name, &answer);
            tell.send_replace(Some(answer));
        });
        (running, known)
    }

    async fn look_up(self, name: Name) -> Result<vec::IntoIter<SocketAddr>, BoxError> {
        let (mut running, known) = self.join(&name);
        let bound = if known.is_empty() {
            LOOKUP_TIMEOUT
        } else {
            REFRESH_TIMEOUT
        };
        let answer = match timeout(bound, running.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone(),
            Ok(Err(_)) => Some(Err("the lookup broke off".into())),
            Err(_) => None,
        };
        match answer {
            Some(Ok(found)) if !found.is_empty() || known.is_empty() => Ok(found.into_iter()),
            Some(Err(why)) if known.is_empty() => Err(LookupError::Failed(name, why).into()),
            None if known.is_empty() => Err(LookupError::TimedOut(name).into()),
            _ => {
                tracing::debug!(%name, "no new addresses; those from before are used");
                Ok(known.into_iter())
            }
        }
    }
}

impl<R> Service<Name> for SharedLookup<R>
where
    R: Service<Name, Future: Send, Response: Iterator<Item = SocketAddr>, Error: Into<BoxError>>
        + Clone
        + Send
        + Sync
        + 'static,
{
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().look_up(name))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::time::Instant;
    use tower::{service_fn, util::BoxCloneSyncService};

    use super::*;

    fn name() -> Name {
        "kubernetes.default.svc".parse().unwrap()
    }

    fn address() -> SocketAddr {
        ([192, 0, 2, 1], 0).into()
    }

    type Found = io::Result<vec::IntoIter<SocketAddr>>;

    type TestResolver = BoxCloneSyncService<Name, vec::IntoIter<SocketAddr>, io::Error>;

    /// Answers so many lookups with an address, and then none; counts them.
    fn silent_after(answers: usize) -> (SharedLookup<TestResolver>, Arc<AtomicUsize>) {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let resolver = service_fn(move |_: Name| {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                if number < answers {
                    return Found::Ok(vec![address()].into_iter());
                }
                std::future::pending().await
            }
        });
        (SharedLookup::new(BoxCloneSyncService::new(resolver)), begun)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_server_that_never_answers_holds_one_thread_and_ends_each_wait() {
        let (lookup, begun) = silent_after(0);
        let start = Instant::now();
        let waits = (0..1000).map(|_| lookup.clone().oneshot(name()));
        let answers = futures::future::join_all(waits).await;
        assert!(answers.iter().all(Result::is_err));
        assert_eq!(start.elapsed(), LOOKUP_TIMEOUT);
        let late = lookup.oneshot(name()).await.unwrap_err();
        assert!(
            late.to_string().contains("cannot look up kubernetes.default.svc"),
            "{late}"
        );
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_server_that_falls_silent_delays_nobody_for_long() {
        let (lookup, begun) = silent_after(1);
        let found: Vec<_> = lookup.clone().oneshot(name()).await.unwrap().collect();
        assert_eq!(found, [address()]);
        let start = Instant::now();
        for turn in 1..=3 {
            let found: Vec<_> = lookup.clone().oneshot(name()).await.unwrap().collect();
            assert_eq!((found, start.elapsed()), (vec![address()], REFRESH_TIMEOUT * turn));
        }
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_lookup_that_fails_is_told_and_is_begun_again() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let lookup = SharedLookup::new(service_fn(move |_: Name| {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Found::Err(io::Error::other("no such host")) }
        }));
        for _ in 0..2 {
            let error = lookup.clone().oneshot(name()).await.unwrap_err();
            assert!(error.to_string().ends_with("no such host"), "{error}");
        }
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_resolver_of_the_system_is_used() {
        let found = SharedLookup::new(GaiResolver::new())
            .oneshot("localhost".parse().unwrap())
            .await;
        assert!(found.unwrap().all(|address| address.ip().is_loopback()));
    }
}
