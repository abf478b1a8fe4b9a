//! A watch that begins and ends with its API.

use std::{collections::VecDeque, fmt::Debug};

use futures::{Stream, StreamExt, stream::BoxStream};
use kube::{Api, Resource, core::DeserializeGuard, runtime::watcher};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{OptionalApi, OptionalApis, Served};
use crate::watch::{Guard, WatchEvent, guarded};

/// Watches `K` while `api` is served; see [`guarded`] for the items.
///
/// When the API goes, or is absent at the start, the stream says `Init` and `InitDone`, which makes every store behind it empty
/// and ready, and waits for the API; see [`OptionalApis::listed`] for how to tell that emptiness from a list. Each API may have one
/// such stream of the same [`OptionalApis`]. `make_api` gets the served version each time the watch begins. The stream never ends.
pub fn optional_watch<K, F>(
    apis: &OptionalApis,
    api: &OptionalApi,
    config: watcher::Config,
    guard: Guard,
    make_api: F,
) -> impl Stream<Item = watcher::Result<WatchEvent<K>>> + Send + 'static + use<K, F>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    F: Fn(&'static str) -> Api<DeserializeGuard<K>> + Send + 'static,
{
    let begin = move |version| guarded(make_api(version), config.clone(), guard.clone()).boxed();
    while_served(apis.clone(), *api, begin)
}

type Events<K> = BoxStream<'static, watcher::Result<WatchEvent<K>>>;

/// The same for events that `begin` makes of the served version.
pub fn while_served<K, F>(
    apis: OptionalApis,
    api: OptionalApi,
    begin: F,
) -> impl Stream<Item = watcher::Result<WatchEvent<K>>> + Send + 'static + use<K, F>
where
    K: Send + 'static,
    F: Fn(&'static str) -> Events<K> + Send + 'static,
{
    let state = State {
        changed: apis.changed(),
        apis,
        api,
        begin,
        watch: None,
        emptied: false,
        pending: VecDeque::new(),
    };
    futures::stream::unfold(state, |mut state| async move { Some((state.next().await, state)) })
}

struct State<K, F> {
    changed: watch::Receiver<Served>,
    /// Is told when all objects were listed. It also keeps the sender of `changed`, so that it never closes.
    apis: OptionalApis,
    api: OptionalApi,
    begin: F,
    /// The watch under way and the version that it speaks.
    watch: Option<(&'static str, Events<K>)>,
    /// Whether what is behind us knows that the API is absent.
    emptied: bool,
    pending: VecDeque<WatchEvent<K>>,
}

impl<K, F: Fn(&'static str) -> Events<K>> State<K, F> {
    async fn next(&mut self) -> watcher::Result<WatchEvent<K>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            let served = self.changed.borrow_and_update().get(&self.api).copied();
            let Some(version) = served else {
                self.watch = None;
                if self.emptied {
                    let _ = self.changed.changed().await;
                } else {
                    self.emptied = true;
                    self.apis.set_listed(self.api, false);
                    self.pending.extend([WatchEvent::Init, WatchEvent::InitDone]);
                }
                continue;
            };
            self.emptied = false;
            match &mut self.watch {
                Some((speaks, events)) if *speaks == version => {
                    tokio::select! {
                        biased;
                        _ = self.changed.changed() => {}
                        event = events.next() => match event {
                            Some(event) => {
                                if matches!(event, Ok(WatchEvent::InitDone)) {
                                    self.apis.set_listed(self.api, true);
                                }
                                return event;
                            }
                            // kube's watcher never ends; if it does, it begins again.
                            None => self.watch = None,
                        },
                    }
                }
                _ => self.watch = Some((version, (self.begin)(version))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, channel::mpsc};

    use super::*;

    const API: OptionalApi = OptionalApi {
        group: "g.io",
        versions: &["v1", "v1alpha2"],
        plural: "things",
        kind: "Thing",
    };

    fn text(event: Option<watcher::Result<WatchEvent<&'static str>>>) -> String {
        match event.unwrap().unwrap() {
            WatchEvent::Init => "Init".to_owned(),
            WatchEvent::InitDone => "InitDone".to_owned(),
            WatchEvent::InitApply(name) => format!("InitApply {name}"),
            WatchEvent::Apply(name) => format!("Apply {name}"),
            WatchEvent::Delete(name) => format!("Delete {name}"),
            WatchEvent::Undecodable(name) => format!("Undecodable {}", name.name),
        }
    }

    #[tokio::test]
    async fn the_watch_follows_its_api() {
        let apis = OptionalApis::fixed(Served::new());
        let (started, mut watches) = mpsc::unbounded();
        let begin = move |version| {
            let (sender, events) = mpsc::unbounded();
            started.unbounded_send((version, sender)).unwrap();
            events.boxed()
        };
        let mut stream = Box::pin(while_served(apis.clone(), API, begin));

        // Absent at the start: behind us everything is empty and ready.
        assert_eq!(text(stream.next().await), "Init");
        assert_eq!(text(stream.next().await), "InitDone");
        assert!(stream.next().now_or_never().is_none());
        assert!(!apis.listed(&API), "emptiness is no list");

        // It appears.
        apis.replace(Served::from([(API, "v1alpha2")]));
        assert!(stream.next().now_or_never().is_none());
        let (version, sender) = watches.next().await.unwrap();
        assert_eq!(version, "v1alpha2");
        sender.unbounded_send(Ok(WatchEvent::Init)).unwrap();
        sender.unbounded_send(Ok(WatchEvent::InitApply("a"))).unwrap();
        sender.unbounded_send(Ok(WatchEvent::InitDone)).unwrap();
        assert_eq!(text(stream.next().await), "Init");
        assert_eq!(text(stream.next().await), "InitApply a");
        assert!(!apis.listed(&API), "it is served, and more may come");
        assert_eq!(text(stream.next().await), "InitDone");
        assert!(apis.listed(&API));

        // A change of another API leaves it alone.
        let other = OptionalApi {
            plural: "others",
            ..API
        };
        apis.replace(Served::from([(API, "v1alpha2"), (other, "v1")]));
        sender.unbounded_send(Ok(WatchEvent::Apply("b"))).unwrap();
        assert_eq!(text(stream.next().await), "Apply b");

        // A better version begins a new watch.
        apis.replace(Served::from([(API, "v1")]));
        assert!(stream.next().now_or_never().is_none());
        let (version, sender) = watches.next().await.unwrap();
        assert_eq!(version, "v1");

        // It goes, and what was under way is not heard any more.
        assert!(apis.listed(&API), "what the other version showed is there still");
        apis.replace(Served::new());
        assert!(!apis.listed(&API));
        assert_eq!(text(stream.next().await), "Init");
        assert_eq!(text(stream.next().await), "InitDone");
        assert!(sender.is_closed());
        assert!(stream.next().now_or_never().is_none());

        // It comes back: what was emptied is not full before the next list has ended.
        apis.replace(Served::from([(API, "v1")]));
        assert!(stream.next().now_or_never().is_none());
        assert!(!apis.listed(&API));
        let (_, sender) = watches.next().await.unwrap();
        sender.unbounded_send(Ok(WatchEvent::InitDone)).unwrap();
        assert_eq!(text(stream.next().await), "InitDone");
        assert!(apis.listed(&API));
    }
}
