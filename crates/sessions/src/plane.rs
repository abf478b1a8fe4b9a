//! What all parts of a gateway share.

use std::{sync::Arc, time::Duration};

use kube::Client;
use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_dataplane::{
    audit::{AuditEvent, AuditLog, AuditRecord},
    registry::{Registry, SessionId},
};
use novasphere_runtime::{access::AccessReviewer, apply::Applier, events, tasks::Tasks};
use novasphere_wire::close::EndReason;

use crate::{
    active::ActiveStreams,
    admit::{ResumeBudget, TargetReader, TokenLookup},
    locate::{DesktopWaker, Explainer, Locator, TargetLocator},
    view::SessionView,
    write::{SessionReporter, SessionWriter},
};

/// How a gateway reaches the cluster.
pub(crate) struct Clients {
    /// For everything but consoles.
    pub(crate) client: Client,
    /// For consoles: it tries nothing twice.
    pub(crate) console_client: Client,
    /// For writes.
    pub(crate) applier: Applier,
    /// For events.
    pub(crate) events: events::Reporter,
}

/// How long viewers are waited for, and wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionTimes {
    /// For a desktop that sleeps or starts, at most.
    pub(crate) wake_timeout: Duration,
    /// For a viewer who was let in and may come back.
    pub(crate) resume_window: Duration,
}

/// What admission, enforcement and the writers of one process share.
pub(crate) struct SessionPlane {
    /// The name of this process in leases and connections.
    pub(crate) holder: String,
    pub(crate) times: SessionTimes,
    pub(crate) endpoints: Endpoints,
    pub(crate) view: SessionView,
    pub(crate) tokens: TokenLookup,
    pub(crate) target_reader: TargetReader,
    pub(crate) resume_budget: ResumeBudget,
    pub(crate) active: ActiveStreams,
    pub(crate) registry: Registry,
    pub(crate) writer: SessionWriter,
    pub(crate) access: AccessReviewer,
    pub(crate) targets: TargetLocator,
    pub(crate) reporter: SessionReporter,
    pub(crate) audit: AuditLog,
}

impl SessionPlane {
    /// A plane without streams; what it reports is written by tasks of `tasks`.
    pub(crate) fn start(
        clients: Clients,
        view: SessionView,
        holder: &str,
        endpoints: Endpoints,
        times: SessionTimes,
        audit: AuditLog,
        tasks: &mut Tasks,
    ) -> Arc<Self> {
        let Clients {
            client,
            console_client,
            applier,
            events,
        } = clients;
        let active = ActiveStreams::default();
        let writer = SessionWriter::new(client.clone(), view.clone(), applier.clone());
        let locator = Locator::new(client.clone());
        Arc::new(Self {
            holder: holder.to_owned(),
            times,
            endpoints,
            registry: Registry::default(),
            tokens: TokenLookup::new(client.clone(), view.clone()),
            target_reader: TargetReader::new(client.clone(), view.clone()),
            resume_budget: ResumeBudget::default(),
            access: AccessReviewer::new(client),
            targets: TargetLocator {
                desktops: DesktopWaker::new(
                    applier,
                    locator.clone(),
                    view.clone(),
                    audit.clone(),
                    times.wake_timeout,
                ),
                explainer: Explainer {
                    console_client: console_client.clone(),
                    view: view.clone(),
                },
                locator,
                console_client,
            },
            reporter: SessionReporter::start(writer.clone(), active.clone(), events, tasks),
            view,
            active,
            writer,
            audit,
        })
    }

    /// Ends a stream of this process, and notes in the audit log that it was decided.
    pub(crate) fn cut(&self, connection: &str, why: EndReason) {
        let live = self.active.find(connection);
        if self.registry.end_connection(connection, why)
            && let Some(live) = live
        {
            self.audit.record(
                AuditEvent::Cut,
                &AuditRecord {
                    reason: Some(why.reason()),
                    ..live.audit_record()
                },
            );
        }
    }

    /// Ends all streams of a session in this process, and notes in the audit log that it was decided.
    pub(crate) fn cut_session(&self, session: &SessionId, why: EndReason) {
        let ended = self.registry.end_session(session, why);
        if ended == 0 {
            return;
        }
        let event = if why == EndReason::Revoked {
            AuditEvent::Revoked
        } else {
            AuditEvent::Cut
        };
        let streams = format!("{ended} of its streams are here");
        let record = AuditRecord {
            session: Some(session.to_string()),
            session_uid: Some(&session.uid),
            reason: Some(why.reason()),
            detail: Some(&streams),
            ..AuditRecord::default()
        };
        self.audit.record(event, &record);
    }
}
