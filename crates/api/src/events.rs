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
    error::{ApiError, ApiResult},
    http::Query,
    state::ApiState,
    watches::{Change, ChangeKind},
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
    let place = state.limits.event_stream(&caller.user.name)?;
    // Before the past is read, so that nothing falls in between.
    let changes = state.watched.changes();
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let missed = state.recent_changes.after(last);
    let mut reader = Reader {
        visible: Visible::look(&state, &caller).await?,
        namespace: query.namespace,
        last: last.unwrap_or(0),
        until: Instant::now() + STREAM_TIMEOUT,
        pending: Vec::new(),
        changes,
        state,
        caller,
    };
    reader.begin(missed);
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

/// The namespaces of each list.
struct Visible {
    machines: VisibleNamespaces,
    workspaces: VisibleNamespaces,
    sessions: VisibleNamespaces,
    looked: Instant,
}

impl Visible {
    async fn look(state: &ApiState, caller: &Caller) -> ApiResult<Self> {
        let (authorization, watched) = (&state.authorization, &state.watched);
        let of = |listed, candidates: BTreeSet<String>| authorization.visible(caller, listed, candidates, watched);
        let machines = watched.machines().iter().map(|row| row.namespace.clone()).collect();
        let workspaces = watched.workspaces().iter().map(|row| row.namespace.clone()).collect();
        let sessions = watched.sessions().iter().map(|row| row.namespace.clone()).collect();
        Ok(Self {
            looked: Instant::now(),
            machines: of(Listed::Machines, machines).await?,
            workspaces: of(Listed::Workspaces, workspaces).await?,
            sessions: of(Listed::Sessions, sessions).await?,
        })
    }

    fn shows(&self, change: &Change) -> bool {
        let visible = match change.kind {
            ChangeKind::Machine => &self.machines,
            ChangeKind::Workspace => &self.workspaces,
            ChangeKind::Session => &self.sessions,
        };
        visible.contains(&change.namespace)
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
    fn begin(&mut self, missed: Option<Vec<Change>>) {
        if let Some(missed) = missed {
            let told = missed.iter().filter(|change| self.takes(change));
            let told: Vec<sse::Event> = told.map(event).collect();
            self.last = missed.last().map_or(self.last, |change| change.number);
            self.pending = told.into_iter().rev().collect();
        } else {
            self.last = self.state.watched.version();
            self.pending = vec![reset(self.last)];
        }
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
                    self.recheck().await?;
                    continue;
                }
                Ok(Ok(change)) => change,
                Ok(Err(RecvError::Lagged(_))) => {
                    self.last = self.state.watched.version();
                    return Some(reset(self.last));
                }
                Ok(Err(RecvError::Closed)) => return None,
            };
            if change.number <= self.last {
                continue;
            }
            self.last = change.number;
            if self.visible.looked.elapsed() > STREAM_RECHECK_INTERVAL
                || !self.visible.shows(&change) && self.is_worth_a_look()
            {
                self.recheck().await?;
            }
            if self.takes(&change) {
                return Some(event(&change));
            }
        }
    }

    fn takes(&self, change: &Change) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == change.namespace)
            && self.visible.shows(change)
    }

    /// The first object of a namespace may be new, so its right has not been asked for; but not for each change of what is hidden.
    fn is_worth_a_look(&self) -> bool {
        self.visible.looked.elapsed() > Duration::from_secs(1)
    }

    /// Asks for the rights again; `None` ends the stream.
    async fn recheck(&mut self) -> Option<()> {
        let looked = Visible::look(&self.state, &self.caller).await;
        self.visible = looked
            .map_err(|error: ApiError| tracing::debug!(?error, "a stream of events ends"))
            .ok()?;
        Some(())
    }

    /// A login that has ended has no stream.
    fn is_signed_in(&self) -> bool {
        self.caller
            .login
            .as_ref()
            .is_none_or(|login| self.state.logins.get(login).is_some())
    }
}

fn reset(number: u64) -> sse::Event {
    sse::Event::default().event("reset").id(number.to_string()).data("{}")
}

fn event(change: &Change) -> sse::Event {
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
    sse::Event::default()
        .event(name)
        .id(change.number.to_string())
        .data(text)
}
