//! `/events`: what changes in lists, as server-sent events.
//!
//! A stream begins with `reset`, after which the client asks for its lists; then each change is an event with the object's ID. So no list is sent
//! twice, and what a client may see is decided where lists are made. A client that comes back names the last event that it has seen, and gets what
//! it has missed, or `reset`.

mod ring;

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response, Sse, sse},
};
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, timeout},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::ring::RecentChanges;
use crate::{
    authorization::{Listed, STREAM_RECHECK_INTERVAL, VisibleNamespaces},
    caller::Caller,
    error::ApiResult,
    http::Query,
    machines::wanted_namespace,
    state::ApiState,
    watches::{Change, ChangeKind, MachineKind},
};

/// A comment, so that no proxy takes the stream for dead.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The longest stream. A client opens the next one by itself, with a token that is good then.
const STREAM_TIMEOUT: Duration = Duration::from_mins(15);

/// The paths of this topic.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(events))
}

/// What is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// Of one namespace alone.
    #[param(min_length = 1, max_length = 63)]
    #[serde(default)]
    namespace: Option<String>,
}

/// A change, as the data of an event.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeEvent {
    /// `vms`, `workspaces` or `sessions`.
    list: &'static str,
    /// The object's namespace.
    namespace: String,
    /// The object's ID in the list; of a session, its name.
    id: String,
}

/// Changes of the lists that I may see: `reset` (ask for the lists), `change` and `gone`.
#[utoipa::path(get, path = "/events", tag = "events", operation_id = "events", params(EventQuery),
    responses((status = 200, description = "A stream of events", body = String, content_type = "text/event-stream")))]
async fn events(
    State(state): State<ApiState>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> ApiResult<Response> {
    wanted_namespace(query.namespace.as_deref())?;
    let place = state.limits.event_stream(&caller.user.name)?;
    // Before the past is read, so that nothing falls in between.
    let changes = state.watched.changes();
    let last = headers
        .get("last-event-id")
        .and_then(|value| state.recent_changes.number(value.to_str().ok()?));
    let missed = state.recent_changes.after(last, state.watched.version());
    let mut reader = Reader {
        visible: Visible::look(&state, &caller, query.namespace.as_deref(), None).await?,
        namespace: query.namespace,
        last: last.unwrap_or(0),
        until: Instant::now() + STREAM_TIMEOUT,
        pending: Vec::new(),
        changes,
        state,
        caller,
    };
    reader.begin(missed).await?;
    let stream = stream::unfold((reader, place), |(mut reader, place)| async move {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), (reader, place)))
    });
    Ok(answer(stream))
}

fn answer(stream: impl Stream<Item = Result<sse::Event, Infallible>> + Send + 'static) -> Response {
    let keep_alive = sse::KeepAlive::new().interval(KEEP_ALIVE_INTERVAL);
    let mut response = Sse::new(stream).keep_alive(keep_alive).into_response();
    // nginx and Kong hold answers back otherwise.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The namespaces of one list.
struct Looked {
    listed: Listed,
    /// Those that were asked about: the others are new, or empty since then.
    asked: BTreeSet<String>,
    visible: VisibleNamespaces,
}

impl Looked {
    async fn look(state: &ApiState, caller: &Caller, listed: Listed, asked: BTreeSet<String>) -> ApiResult<Self> {
        let (authorization, watched) = (&state.authorization, &state.watched);
        Ok(Self {
            visible: authorization.visible(caller, listed, asked.clone(), watched).await?,
            listed,
            asked,
        })
    }

    /// Whether the caller may list a namespace. One that was not asked about is asked about now, once: a busy namespace that is hidden costs
    /// nothing until all are asked about again.
    async fn shows(&mut self, state: &ApiState, caller: &Caller, namespace: &str) -> ApiResult<bool> {
        if !self.visible.contains(namespace) && self.asked.insert(namespace.to_owned()) {
            let asked = BTreeSet::from([namespace.to_owned()]);
            let (authorization, watched) = (&state.authorization, &state.watched);
            match authorization.visible(caller, self.listed, asked, watched).await? {
                VisibleNamespaces::All => self.visible = VisibleNamespaces::All,
                VisibleNamespaces::Only(found) => {
                    if let VisibleNamespaces::Only(known) = &mut self.visible {
                        known.extend(found);
                    }
                }
            }
        }
        Ok(self.visible.contains(namespace))
    }
}

/// The namespaces of each list.
struct Visible {
    machines: Looked,
    bare_machines: Looked,
    workspaces: Looked,
    sessions: Looked,
    looked: Instant,
}

impl Visible {
    /// Asks about the namespaces that have objects, and about `also`, of which the last object may just have gone; with `namespace`, about that
    /// one alone.
    async fn look(state: &ApiState, caller: &Caller, namespace: Option<&str>, also: Option<&str>) -> ApiResult<Self> {
        let watched = &state.watched;
        let looked = Instant::now();
        let asked = |mut found: BTreeSet<String>| {
            found.extend(also.map(str::to_owned));
            found.retain(|found| namespace.is_none_or(|namespace| namespace == found));
            found
        };
        let machines = asked(watched.machine_namespaces(MachineKind::VmAccess));
        let bare_machines = asked(watched.machine_namespaces(MachineKind::VirtualMachine));
        let workspaces = asked(watched.workspaces().iter().map(|row| row.namespace.clone()).collect());
        let sessions = asked(watched.sessions().iter().map(|row| row.namespace.clone()).collect());
        Ok(Self {
            machines: Looked::look(state, caller, Listed::Machines, machines).await?,
            bare_machines: Looked::look(state, caller, Listed::BareMachines, bare_machines).await?,
            workspaces: Looked::look(state, caller, Listed::Workspaces, workspaces).await?,
            sessions: Looked::look(state, caller, Listed::Sessions, sessions).await?,
            looked,
        })
    }

    /// The list that a change is of.
    fn list_of(&mut self, change: &Change) -> &mut Looked {
        match change.kind {
            ChangeKind::Machine if change.is_of_bare_machine() => &mut self.bare_machines,
            ChangeKind::Machine => &mut self.machines,
            ChangeKind::Workspace => &mut self.workspaces,
            ChangeKind::Session => &mut self.sessions,
        }
    }
}

/// Who reads a stream.
struct Reader {
    state: ApiState,
    caller: Caller,
    visible: Visible,
    namespace: Option<String>,
    changes: broadcast::Receiver<Change>,
    /// The number of the last change that was told.
    last: u64,
    until: Instant,
    /// What is to be told first, the last of it first.
    pending: Vec<sse::Event>,
}

impl Reader {
    /// What was missed, or that it is not known.
    async fn begin(&mut self, missed: Option<Vec<Change>>) -> ApiResult<()> {
        if let Some(missed) = missed {
            self.last = missed.last().map_or(self.last, |change| change.number);
            for change in missed.iter().rev() {
                if self.takes(change).await? {
                    let event = self.event(change);
                    self.pending.push(event);
                }
            }
        } else {
            self.last = self.state.watched.version();
            self.pending = vec![self.reset()];
        }
        Ok(())
    }

    /// The next event; `None` when the stream ends.
    async fn next(&mut self) -> Option<sse::Event> {
        if let Some(event) = self.pending.pop() {
            return Some(event);
        }
        loop {
            if Instant::now() >= self.until || !self.is_signed_in() {
                return None;
            }
            let change = match timeout(STREAM_RECHECK_INTERVAL, self.changes.recv()).await {
                // Nothing happens: time to look whether the stream may go on.
                Err(_) => {
                    self.recheck(None).await?;
                    continue;
                }
                Ok(Ok(change)) => change,
                Ok(Err(RecvError::Lagged(_))) => {
                    self.last = self.state.watched.version();
                    return Some(self.reset());
                }
                Ok(Err(RecvError::Closed)) => return None,
            };
            if change.number <= self.last {
                continue;
            }
            self.last = change.number;
            if self.visible.looked.elapsed() > STREAM_RECHECK_INTERVAL {
                self.recheck(Some(&change.namespace)).await?;
            }
            if unless_refused(self.takes(&change).await)? {
                return Some(self.event(&change));
            }
        }
    }

    async fn takes(&mut self, change: &Change) -> ApiResult<bool> {
        let namespace = change.namespace.as_str();
        if self.namespace.as_deref().is_some_and(|wanted| wanted != namespace) {
            return Ok(false);
        }
        let list = self.visible.list_of(change);
        list.shows(&self.state, &self.caller, namespace).await
    }

    /// Asks for the rights again; `None` ends the stream.
    async fn recheck(&mut self, also: Option<&str>) -> Option<()> {
        let looked = Visible::look(&self.state, &self.caller, self.namespace.as_deref(), also).await;
        self.visible = unless_refused(looked)?;
        Some(())
    }

    fn reset(&self) -> sse::Event {
        let id = self.state.recent_changes.event_id(self.last);
        sse::Event::default().event("reset").id(id).data("{}")
    }

    fn event(&self, change: &Change) -> sse::Event {
        event(change, self.state.recent_changes.event_id(change.number))
    }

    /// A login that has ended has no stream.
    fn is_signed_in(&self) -> bool {
        self.caller
            .login
            .as_ref()
            .is_none_or(|login| self.state.logins.get(login).is_some())
    }
}

fn unless_refused<T>(looked: ApiResult<T>) -> Option<T> {
    looked
        .inspect_err(|error| tracing::debug!(?error, "a stream of events ends"))
        .ok()
}

fn event(change: &Change, id: String) -> sse::Event {
    let data = ChangeEvent {
        list: match change.kind {
            ChangeKind::Machine => "vms",
            ChangeKind::Workspace => "workspaces",
            ChangeKind::Session => "sessions",
        },
        namespace: change.namespace.clone(),
        id: change.id.clone(),
    };
    let text = serde_json::to_string(&data).unwrap_or_default();
    let name = if change.is_gone { "gone" } else { "change" };
    sse::Event::default().event(name).id(id).data(text)
}
