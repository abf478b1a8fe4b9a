//! What handlers share.

use std::{ops::Deref, sync::Arc};

use kube::Client;
use novasphere_core::console_session::endpoints::Endpoints;
use novasphere_runtime::{apply::Applier, client::user::UserClients};

use crate::{
    audit::ApiAudit, authorization::Authorization, config::ApiConfig, events::RecentChanges, http::RequestLimits,
    identity::IdentityProviders, login::Logins, time::AnswerTimeZone, watches::Watched,
};

/// What handlers share. Clones share it.
#[derive(Clone)]
pub struct ApiState(Arc<SharedState>);

/// The contents of an [`ApiState`].
pub struct SharedState {
    /// The section `api` of the configuration.
    pub config: ApiConfig,
    /// Where viewers reach novasphere.
    pub endpoints: Endpoints,
    /// The process's own namespace.
    pub namespace: String,
    /// The process's own account.
    pub own: Client,
    /// Its writes.
    pub applier: Applier,
    /// Clients that speak for users.
    pub clients: UserClients,
    /// What users may see and do.
    pub authorization: Authorization,
    /// What the watches have seen.
    pub watched: Watched,
    /// The last changes of lists.
    pub recent_changes: RecentChanges,
    /// Providers of identities.
    pub identity: IdentityProviders,
    /// Logins that were made here.
    pub logins: Logins,
    /// How often somebody may ask.
    pub limits: RequestLimits,
    /// The zone of times in answers.
    pub time_zone: AnswerTimeZone,
    /// The audit log.
    pub audit: ApiAudit,
}

impl ApiState {
    /// The state of a process.
    #[must_use]
    pub fn new(shared: SharedState) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for ApiState {
    type Target = SharedState;

    fn deref(&self) -> &SharedState {
        &self.0
    }
}
