//! Links to consoles of machines, who is connected, and how to cut them.

use std::sync::Arc;

use axum::extract::State;
use jiff::Timestamp;
use novasphere_crd::{ConsoleProtocol, SessionTargetKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::machine;
use crate::{
    audit::{ActionRecord, AuditAction},
    authorization::right,
    caller::Caller,
    envelope::{Answer, Envelope, Nothing},
    error::{ApiError, ApiResult},
    http::{OptionalBody, Path},
    language::Sentence,
    sessions::{
        self,
        open::{ConsoleLink, LinkRequest},
    },
    state::ApiState,
    watches::{ConnectionRow, MachineKind, MachineRow, SessionRow},
};

const DISCONNECTED: Sentence = Sentence {
    english: "the consoles are disconnected",
    chinese: "控制台已成功断开连接",
};

/// The shortest and longest life of a link.
const EXPIRE_SECONDS: std::ops::RangeInclusive<u32> = 60..=86_400;

/// Which console, and for how long.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ConsoleRequest {
    /// `vnc` or `serial`. Default `vnc`.
    #[schema(min_length = 1, max_length = 16)]
    protocol: Option<String>,
    /// Seconds until the console ends, from 60 to 86400. Default 3600, or what the machine allows when that is less.
    #[schema(minimum = 60, maximum = 86400)]
    expire_time: Option<u32>,
    /// Only look. Default false.
    view_only: bool,
}

/// Who is connected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsoleStatus {
    /// Whether anybody is.
    connected: bool,
    /// Since when the first of `connections` is.
    connect_time: Option<String>,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    connect_at: Option<String>,
    /// From where the first of `connections` is.
    client_ip: Option<String>,
    /// All of them, for who may list sessions; else my own.
    connections: Vec<ConsoleConnection>,
}

/// Somebody who is connected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsoleConnection {
    /// The session, in the machine's namespace.
    session: String,
    /// Who.
    user: String,
    /// From where.
    client_ip: String,
    /// How.
    transport: String,
    /// Since when.
    connect_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    connect_at: String,
}

/// Whose consoles to cut.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct DisconnectRequest {
    /// Those of all people, for who may change their sessions. Default: my own, but those that others watch, too.
    all: bool,
}

/// Reads the protocol that a request names.
pub(crate) fn protocol(name: Option<&str>) -> ApiResult<ConsoleProtocol> {
    match name {
        None | Some("vnc") => Ok(ConsoleProtocol::Vnc),
        Some("serial") => Ok(ConsoleProtocol::Serial),
        Some("ssh") => Ok(ConsoleProtocol::Ssh),
        Some("spice") => Err(ApiError::parameter(
            "protocol",
            "KubeVirt has had no SPICE since 2017; use vnc",
        )),
        Some(_) => Err(ApiError::parameter("protocol", "protocol is vnc, serial or ssh")),
    }
}

/// Reads the life that a request asks for.
pub(crate) fn expire_seconds(asked: Option<u32>) -> ApiResult<Option<u32>> {
    if asked.is_none_or(|seconds| EXPIRE_SECONDS.contains(&seconds)) {
        Ok(asked)
    } else {
        Err(ApiError::parameter(
            "expireTime",
            "expireTime is from 60 to 86400 seconds",
        ))
    }
}

/// The sessions of a machine, by either of its names.
fn sessions_of(state: &ApiState, row: &MachineRow) -> Vec<Arc<SessionRow>> {
    let of = |kind, name: &str| state.watched.sessions_of(&row.namespace, kind, name);
    let mut sessions = of(SessionTargetKind::VirtualMachine, &row.machine);
    if row.kind == MachineKind::VmAccess {
        sessions.extend(of(SessionTargetKind::VmAccess, &row.name));
    }
    sessions
}

/// Who looks at a machine's consoles, of the sessions in use: these are walked through once for a page, not once for each row.
pub(super) fn viewers(in_use: &[Arc<SessionRow>], row: &MachineRow) -> Vec<String> {
    let is_of = |session: &&Arc<SessionRow>| {
        let target = match session.target_kind {
            SessionTargetKind::VmAccess if row.kind == MachineKind::VmAccess => &row.name,
            SessionTargetKind::VirtualMachine | SessionTargetKind::VirtualMachineInstance => &row.machine,
            _ => return false,
        };
        session.namespace == row.namespace && session.target == *target
    };
    let sessions = in_use.iter().filter(is_of);
    let connections = sessions.flat_map(|session| &session.connections);
    let mut users: Vec<String> = connections.map(|connection| connection.user.clone()).collect();
    users.sort_unstable();
    users.dedup();
    users
}

/// A link to a console: for a browser, for a program, and for a stock viewer. It opens the console once.
#[utoipa::path(post, path = "/vms/{vmId}/console", tag = "consoles", operation_id = "openConsole",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317)),
    request_body = Option<ConsoleRequest>, responses((status = 200, body = Envelope<ConsoleLink>)))]
pub(super) async fn open(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<ConsoleRequest>,
) -> ApiResult<Answer<ConsoleLink>> {
    let protocol = protocol(request.protocol.as_deref())?;
    if protocol == ConsoleProtocol::Ssh {
        return Err(ApiError::parameter(
            "protocol",
            "a machine has the consoles vnc and serial",
        ));
    }
    let seconds = expire_seconds(request.expire_time)?;
    let row = machine(&state, &caller, &id).await?;
    let (kind, name) = match row.kind {
        MachineKind::VmAccess => (SessionTargetKind::VmAccess, row.name.clone()),
        MachineKind::VirtualMachine => (SessionTargetKind::VirtualMachine, row.machine.clone()),
    };
    let link = LinkRequest {
        namespace: row.namespace.clone(),
        kind,
        name,
        protocol,
        seconds,
        view_only: request.view_only,
    };
    Ok(Answer::new(sessions::open::link(&state, &caller, link).await?))
}

/// Who is connected to a machine's consoles.
#[utoipa::path(get, path = "/vms/{vmId}/console/status", tag = "consoles", operation_id = "consoleStatus",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317)),
    responses((status = 200, body = Envelope<ConsoleStatus>)))]
pub(super) async fn status(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Answer<ConsoleStatus>> {
    let row = machine(&state, &caller, &id).await?;
    let sessions = sessions_of(&state, &row);
    let streams = sessions.iter().flat_map(|session| {
        session
            .connections
            .iter()
            .map(|connection| (session.name.clone(), connection))
    });
    let mut streams: Vec<(String, &ConnectionRow)> = streams.collect();
    let connected = !streams.is_empty();
    // Who may see a machine need not know who looks at it, and from where.
    let list = right("novasphere.io", "consolesessions", None, "list", Some(&row.namespace));
    if !state.authorization.allows(&caller, &list).await? {
        streams.retain(|(_, connection)| connection.user == caller.user.name);
    }
    streams.sort_by_key(|(_, connection)| connection.connected);
    let text = |time: Timestamp| state.time_zone.text(time);
    let first = streams.first().map(|(_, connection)| *connection);
    Ok(Answer::new(ConsoleStatus {
        connected,
        connect_time: first.map(|connection| text(connection.connected)),
        connect_at: first.map(|connection| connection.connected.to_string()),
        client_ip: first.map(|connection| connection.client.clone()),
        connections: streams
            .into_iter()
            .map(|(session, connection)| ConsoleConnection {
                session,
                user: connection.user.clone(),
                client_ip: connection.client.clone(),
                transport: format!("{:?}", connection.transport),
                connect_time: text(connection.connected),
                connect_at: connection.connected.to_string(),
            })
            .collect(),
    }))
}

/// Cut my consoles of a machine, or those of all people.
#[utoipa::path(post, path = "/vms/{vmId}/console/disconnect", tag = "consoles", operation_id = "disconnectConsole",
    params(("vmId" = String, Path, description = "UID of the VmAccess, or <namespace>.<name>", max_length = 317)),
    request_body = Option<DisconnectRequest>, responses((status = 200, body = Envelope<Nothing>)))]
pub(super) async fn disconnect(
    State(state): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(request): OptionalBody<DisconnectRequest>,
) -> ApiResult<Answer<()>> {
    let row = machine(&state, &caller, &id).await?;
    let (mut cut, mut failed) = (0_u32, None);
    for session in sessions_of(&state, &row) {
        let is_open = session.close_reason.is_none();
        if is_open && (request.all || is_of(&session, &caller.user.name)) {
            match sessions::revoke(&state, &caller, &session.namespace, &session.name).await {
                Ok(()) => cut += 1,
                Err(error) => failed = Some(error),
            }
        }
    }
    let detail = format!("{cut} sessions");
    let record = ActionRecord {
        user: Some(&caller.user.name),
        client: Some(caller.client),
        target: Some(format!("{:?}/{}/{}", row.kind, row.namespace, row.name)),
        detail: Some(&detail),
        ..ActionRecord::default()
    };
    state.audit.record(AuditAction::ConsoleDisconnected, &record);
    if let Some(error) = failed {
        return Err(error);
    }
    Ok(Answer::new(()).saying(DISCONNECTED).extra("disconnected", cut))
}

/// Whether a session is one user's alone: they got its last token or look at it, and nobody else does.
fn is_of(session: &SessionRow, user: &str) -> bool {
    let is_alone = session.connections.iter().all(|connection| connection.user == user);
    is_alone && (session.user.as_deref() == Some(user) || !session.connections.is_empty())
}

#[cfg(test)]
mod tests {
    use novasphere_crd::Transport;

    use super::*;
    use crate::code::Code;

    fn session(user: Option<&str>, viewers: &[&str]) -> SessionRow {
        let connections = viewers.iter().map(|viewer| ConnectionRow {
            user: (*viewer).to_owned(),
            client: "192.0.2.1".to_owned(),
            transport: Transport::WebSocket,
            connected: Timestamp::UNIX_EPOCH,
            input: None,
        });
        SessionRow {
            id: "s1".to_owned(),
            namespace: "team".to_owned(),
            name: "rest-1".to_owned(),
            target_kind: SessionTargetKind::VmAccess,
            target: "web".to_owned(),
            protocol: None,
            phase: None,
            user: user.map(str::to_owned),
            created: Timestamp::UNIX_EPOCH,
            expires: None,
            close_reason: None,
            connections: connections.collect(),
            login_label: None,
            reason: None,
        }
    }

    #[test]
    fn nobody_s_console_is_cut_with_mine() {
        for (user, viewers, is_mine) in [
            (Some("ann"), &[][..], true),
            (Some("ann"), &["ann"], true),
            (Some("ben"), &["ann"], true),
            (None, &["ann"], true),
            (Some("ann"), &["ann", "ben"], false),
            (Some("ben"), &[], false),
            (None, &[], false),
        ] {
            assert_eq!(is_of(&session(user, viewers), "ann"), is_mine, "{user:?} {viewers:?}");
        }
    }

    #[test]
    fn what_kubevirt_has_not_is_said() {
        assert_eq!(protocol(None).unwrap(), ConsoleProtocol::Vnc);
        assert_eq!(protocol(Some("serial")).unwrap(), ConsoleProtocol::Serial);
        let spice = protocol(Some("spice")).unwrap_err();
        assert_eq!(spice.code, Code::INVALID_PARAMETER);
        assert!(spice.detail.unwrap().contains("SPICE"));
        protocol(Some("x")).unwrap_err();
    }

    #[test]
    fn a_console_has_a_life() {
        assert_eq!(expire_seconds(None).unwrap(), None, "the target decides");
        assert_eq!(expire_seconds(Some(60)).unwrap(), Some(60));
        for bad in [0, 59, 86_401] {
            expire_seconds(Some(bad)).unwrap_err();
        }
    }
}
