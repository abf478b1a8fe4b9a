//! The streams of one console over all sessions, and the places that are kept for those who may come back to it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt as _;
use novasphere_core::console_session::{connection::only_views, resume::kept, target::Console, validate::validate};
use novasphere_crd::{ConsoleInput, ConsoleProtocol, ConsoleSession, ConsoleSessionStatus, SessionTargetKind};

use super::{SessionView, machine_key};

/// A stream as its session's status has it, or one that was and whose viewer may come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStream {
    /// Its name.
    pub connection: String,
    /// Its session.
    pub session: String,
    /// Who is connected.
    pub user: String,
    /// Whether they may control the console.
    pub has_control: bool,
    /// Since when.
    pub connected_at: Timestamp,
    /// The place that is kept for them, when the stream is over.
    pub kept_place: Option<String>,
}

fn open_streams(session: &ConsoleSession) -> Vec<OpenStream> {
    let connections = session.status.iter().flat_map(|status| &status.connections);
    connections
        .map(|connection| OpenStream {
            connection: connection.id.clone(),
            session: session.name_any(),
            user: connection.user.clone(),
            has_control: !only_views(connection),
            connected_at: connection.connected_at.0,
            kept_place: None,
        })
        .collect()
}

fn kept_places(session: &ConsoleSession, window: Duration, now: Timestamp) -> Vec<OpenStream> {
    let places = session.status.iter().flat_map(|status| kept(status, window, now));
    places
        .map(|place| OpenStream {
            connection: place.connection.clone(),
            session: session.name_any(),
            user: place.user.clone(),
            has_control: place.input == ConsoleInput::Control,
            connected_at: place.left_at.as_ref().map_or(now, |left| left.0),
            kept_place: Some(place.id.clone()),
        })
        .collect()
}

impl SessionView {
    /// The open streams of one console, over all sessions and gateways: KubeVirt carries one stream of each kind per machine.
    /// The newest comes first.
    #[must_use]
    pub fn streams_of(&self, console: &Console, protocol: ConsoleProtocol) -> Vec<OpenStream> {
        let Console::KubeVirt { namespace, name } = console else {
            return Vec::new();
        };
        let mut streams: Vec<_> = self
            .sessions_of_machine(namespace, name)
            .into_iter()
            .filter(|session| self.is_of(session, console, protocol))
            .flat_map(|session| open_streams(&session))
            .collect();
        streams.sort_by_key(|stream| std::cmp::Reverse(stream.connected_at));
        streams
    }

    /// The places at one console that are kept for viewers who are not connected now, over all sessions.
    #[must_use]
    pub fn kept_places_of(&self, console: &Console, protocol: ConsoleProtocol, window: Duration) -> Vec<OpenStream> {
        let Console::KubeVirt { namespace, name } = console else {
            return Vec::new();
        };
        let now = Timestamp::now();
        self.sessions_of_machine(namespace, name)
            .into_iter()
            .filter(|session| self.is_of(session, console, protocol))
            .flat_map(|session| kept_places(&session, window, now))
            .collect()
    }

    /// The sessions whose target is a machine or stands for it.
    pub(super) fn sessions_of_machine(&self, namespace: &str, machine: &str) -> Vec<Arc<ConsoleSession>> {
        let mut sessions = self.sessions_of(namespace, SessionTargetKind::VirtualMachine, machine);
        sessions.extend(self.sessions_of(namespace, SessionTargetKind::VirtualMachineInstance, machine));
        for vm_access in self
            .0
            .caches
            .vm_accesses
            .references_of(&machine_key(namespace, machine))
        {
            sessions.extend(self.sessions_of(namespace, SessionTargetKind::VmAccess, &vm_access.name));
        }
        sessions
    }

    fn is_of(&self, session: &ConsoleSession, console: &Console, protocol: ConsoleProtocol) -> bool {
        let status = session.status.as_ref();
        // Most sessions have no stream; to look their target up costs more.
        let is_used = |status: &ConsoleSessionStatus| !status.connections.is_empty() || !status.resumes.is_empty();
        status.is_some_and(|status| is_used(status) && status.protocol == Some(protocol))
            && validate(session, &self.references(session)).is_ok_and(|valid| valid.target.console == *console)
    }
}
