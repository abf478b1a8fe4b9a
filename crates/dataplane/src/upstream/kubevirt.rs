//! Consoles of KubeVirt machines: the `vnc` and `console` subresources through kube-apiserver.
//!
//! KubeVirt carries one stream of each kind per machine and throws the present viewer out when another connects, even when
//! that request then fails. So nothing here probes or tries twice, and a stream in use is left alone unless it is to be
//! taken over. The serial console has no way to ask for that: there the viewer who comes last has it.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::upgrade;
use hyper_util::rt::TokioIo;
use kube::{Client, client::Body};
use novasphere_wire::{
    close::EndReason,
    websocket::{frame::FrameRole, opening::accept_key},
};
use serde::Deserialize;

use crate::{peer::Peer, registry::Protocol, websocket::WebSocket};

/// The subprotocol of KubeVirt's consoles: bytes in binary messages.
const SUBPROTOCOL: HeaderValue = HeaderValue::from_static("plain.kubevirt.io");

/// Bytes of an answer's body that are read to find out what is wrong.
const ANSWER_BYTES_LIMIT: usize = 64 * 1024;

/// A machine's console.
#[derive(Clone)]
pub struct KubeVirtUpstream {
    /// A client with the gateway's own identity; it needs `get` on `virtualmachineinstances/vnc` and `/console`.
    pub client: Client,
    /// The machine's namespace.
    pub namespace: String,
    /// The name of the machine, which is that of its instance.
    pub name: String,
    /// Whether a VNC stream that is open is taken over rather than left alone.
    pub takeover: bool,
}

impl fmt::Debug for KubeVirtUpstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KubeVirtUpstream({}/{})", self.namespace, self.name)
    }
}

/// Why KubeVirt does not open a console.
#[derive(Debug, thiserror::Error)]
pub enum KubeVirtError {
    /// Somebody is connected.
    #[error("the machine's console is in use")]
    InUse,
    /// There is no running instance.
    #[error("the machine does not run: {0}")]
    NotRunning(String),
    /// The machine has no such console, or KubeVirt refuses for a reason of its own.
    #[error("KubeVirt refuses with {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// KubeVirt's words.
        message: String,
    },
    /// The gateway has not the right.
    #[error("the gateway may not open consoles; give it get on virtualmachineinstances/vnc and /console: {0}")]
    Forbidden(String),
    /// kube-apiserver, virt-api or virt-handler cannot be reached.
    #[error("KubeVirt cannot be reached: {0}")]
    Unreachable(String),
}

impl KubeVirtError {
    /// What the viewer is told.
    #[must_use]
    pub const fn close(&self) -> EndReason {
        match self {
            Self::InUse => EndReason::InUse,
            Self::NotRunning(_) => EndReason::TargetNotRunning,
            Self::Refused { .. } | Self::Forbidden(_) => EndReason::TargetRefused,
            Self::Unreachable(_) => EndReason::TargetUnreachable,
        }
    }

    /// What an answer other than 101 means.
    ///
    /// That the console is in use is said by virt-handler with 503, which virt-api wraps into a 500 with this text; v1.7.0
    /// leaves the text out, and there it cannot be told from a virt-handler that is down.
    fn of_answer(status: StatusCode, message: String) -> Self {
        let in_use = message.contains("Active VNC connection") || message.contains("websocket (503)");
        match status.as_u16() {
            500 if in_use => Self::InUse,
            // No instance; an instance that failed.
            404 | 409 => Self::NotRunning(message),
            400 if message.contains("not running") => Self::NotRunning(message),
            401 | 403 => Self::Forbidden(message),
            500.. => Self::Unreachable(message),
            _ => Self::Refused { status, message },
        }
    }
}

/// What KubeVirt says to somebody who would like to look at a screen and throws nobody out for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Somebody is connected.
    InUse,
    /// Nobody is connected, or the machine has no screen: KubeVirt works.
    Works,
    /// The machine does not run.
    NotRunning,
    /// kube-apiserver, virt-api or virt-handler cannot be reached.
    Unreachable,
}

impl KubeVirtUpstream {
    /// Finds out who has the screen, by asking for it in a way that leaves the present viewer alone. It is opened and closed
    /// at once when nobody has it. For a console that was lost, and once: never to see whether one is healthy.
    pub async fn probe(&self) -> Probe {
        let careful = Self {
            takeover: false,
            ..self.clone()
        };
        match careful.connect(Protocol::Vnc).await {
            Ok(_) | Err(KubeVirtError::Refused { .. } | KubeVirtError::Forbidden(_)) => Probe::Works,
            Err(KubeVirtError::InUse) => Probe::InUse,
            Err(KubeVirtError::NotRunning(_)) => Probe::NotRunning,
            Err(KubeVirtError::Unreachable(_)) => Probe::Unreachable,
        }
    }

    pub(super) async fn connect(&self, protocol: Protocol) -> Result<Box<dyn Peer>, KubeVirtError> {
        let unreachable = |error: &dyn fmt::Display| KubeVirtError::Unreachable(error.to_string());
        let key = STANDARD.encode(rand::random::<[u8; 16]>());
        let request = self.request(protocol, &key).map_err(|error| unreachable(&error))?;
        let response = self.client.send(request).await.map_err(|error| unreachable(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != accept_key(key.as_bytes()).as_bytes()) {
            return Err(unreachable(&"the answer is not of a WebSocket server"));
        }
        let upgraded = upgrade::on(response).await.map_err(|error| unreachable(&error))?;
        Ok(Box::new(WebSocket::new(
            TokioIo::new(upgraded),
            Bytes::new(),
            FrameRole::Client,
        )))
    }

    fn request(&self, protocol: Protocol, key: &str) -> http::Result<Request<Body>> {
        let console = match (protocol, self.takeover) {
            // Machines have no ssh console, so no session of one has it.
            (Protocol::Serial | Protocol::Ssh, _) => "console",
            (Protocol::Vnc, true) => "vnc",
            (Protocol::Vnc, false) => "vnc?preserveSession=true",
        };
        let Self { namespace, name, .. } = self;
        Request::get(format!(
            "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}/{console}"
        ))
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .header(header::SEC_WEBSOCKET_KEY, key)
        .body(Body::empty())
    }
}

#[derive(Deserialize)]
struct Status {
    message: String,
}

/// Reads what KubeVirt says: a `metav1.Status`, or plain text.
async fn refusal(response: Response<Body>) -> KubeVirtError {
    let status = response.status();
    let body = match Limited::new(response.into_body(), ANSWER_BYTES_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return KubeVirtError::Unreachable(error.to_string()),
    };
    let message = serde_json::from_slice(&body).map_or_else(
        |_| String::from_utf8_lossy(&body).trim().to_owned(),
        |Status { message }| message,
    );
    KubeVirtError::of_answer(status, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(status: u16, message: &str) -> EndReason {
        KubeVirtError::of_answer(StatusCode::from_u16(status).unwrap(), message.to_owned()).close()
    }

    #[test]
    fn answers_are_told_apart() {
        let busy = "Internal error occurred: dialing virt-handler: Can't connect to websocket (503): virt-handler: \
                    Active VNC connection. Request denied.";
        assert_eq!(close(500, busy), EndReason::InUse);
        assert_eq!(
            close(500, "Internal error occurred: dialing virt-handler: connection refused"),
            EndReason::TargetUnreachable
        );
        assert_eq!(close(503, "service unavailable"), EndReason::TargetUnreachable);
        assert_eq!(
            close(404, "virtualmachineinstance.kubevirt.io \"web\" not found"),
            EndReason::TargetNotRunning
        );
        assert_eq!(
            close(400, "Operation cannot be fulfilled: VMI is not running"),
            EndReason::TargetNotRunning
        );
        assert_eq!(close(409, "VMI is in failed phase"), EndReason::TargetNotRunning);
        assert_eq!(close(400, "No graphics devices are present."), EndReason::TargetRefused);
        assert_eq!(close(403, "forbidden"), EndReason::TargetRefused);
        assert_eq!(close(401, ""), EndReason::TargetRefused);
    }
}
