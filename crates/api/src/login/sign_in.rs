//! From somebody whose name was proven to a login, by whichever way they came; and from its end to that of its consoles.

use std::time::Duration;

use http::{HeaderValue, header};
use kube::api::ObjectMeta;
use novasphere_crd::{ConsoleSession, ConsoleSessionSpec};
use novasphere_runtime::cache::Cache;
use serde_json::json;

pub(crate) use super::handlers::LoginAnswer;
use super::{IssuedLogin, LoginId, NewLogin, ProviderSession, cookies};
use crate::{
    audit::{ActionRecord, AuditAction},
    caller::{Caller, CallerCredential, TenantId},
    code::Code,
    envelope::Answer,
    error::{ApiError, ApiResult},
    http::ClientAddress,
    identity::VerifiedUser,
    state::ApiState,
};

/// After which it is looked again for consoles of a login that has ended: one that was being made then is in no watch yet.
const SECOND_LOOK_DELAY: Duration = Duration::from_secs(2);

/// Somebody whose name was proven.
pub(crate) struct SignIn {
    /// Who.
    pub(crate) verified: VerifiedUser,
    /// The login at their provider.
    pub(crate) provider_session: Option<ProviderSession>,
    /// As whom the cluster is asked.
    pub(crate) credential: CallerCredential,
    /// The tenant that they want to work in.
    pub(crate) tenant: Option<TenantId>,
    /// Where they are.
    pub(crate) client: ClientAddress,
}

/// A login that was just begun or renewed.
pub(crate) struct SignedIn {
    /// The login.
    pub(crate) issued: IssuedLogin,
    /// Where the person is.
    pub(crate) client: ClientAddress,
}

/// Begins a login.
///
/// # Errors
///
/// [`Code::FORBIDDEN`] for a user of Kubernetes' own, [`Code::TENANT_FORBIDDEN`], [`Code::TENANT_REQUIRED`].
pub(crate) async fn begin_login(state: &ApiState, sign_in: SignIn) -> ApiResult<SignedIn> {
    let SignIn {
        verified,
        provider_session,
        credential,
        tenant,
        client,
    } = sign_in;
    // An impersonated `system:` name would be one of Kubernetes' own; with a token of theirs they are who they are.
    let is_reserved = |name: &String| name.starts_with("system:");
    if credential == CallerCredential::Impersonated
        && (is_reserved(&verified.user.name) || verified.user.groups.iter().any(is_reserved))
    {
        return Err(ApiError::new(Code::FORBIDDEN));
    }
    let new = NewLogin {
        user: verified.user,
        display_name: verified.display_name,
        provider: verified.provider,
        provider_session,
        tenant: None,
        credential,
        client: client.0,
    };
    let tenant = chosen_tenant(state, &new, &verified.tenants, tenant).await?;
    let issued = state.logins.begin(NewLogin { tenant, ..new }).await?;
    let record = ActionRecord {
        user: Some(&issued.record.user),
        client: Some(client.0),
        reason: Some(&issued.record.provider),
        ..ActionRecord::default()
    };
    state.audit.record(AuditAction::SignedIn, &record);
    Ok(SignedIn { issued, client })
}

/// The tenant that a login is for, if the user belongs to it.
async fn chosen_tenant(
    state: &ApiState,
    new: &NewLogin,
    tenants: &[TenantId],
    wanted: Option<TenantId>,
) -> ApiResult<Option<TenantId>> {
    let Some(wanted) = wanted else {
        return match tenants {
            // Whose provider names one tenant needs to name none.
            [only] => Ok(Some(only.clone())),
            _ if state.config.identity.tenants.required => Err(ApiError::new(Code::TENANT_REQUIRED)),
            _ => Ok(None),
        };
    };
    let caller = Caller {
        user: new.user.clone(),
        display_name: String::new(),
        credential: new.credential.clone(),
        login: None,
        tenant: None,
        by_cookie: false,
        client: new.client,
    };
    let (authorization, watched) = (&state.authorization, &state.watched);
    let is_member = tenants.contains(&wanted)
        || tenants.is_empty() && authorization.is_of_tenant(&caller, &wanted, watched).await?;
    if is_member {
        Ok(Some(wanted))
    } else {
        Err(ApiError::new(Code::TENANT_FORBIDDEN))
    }
}

impl SignedIn {
    /// What a client is told; with `cookie` the tokens are in cookies alone.
    ///
    /// # Errors
    ///
    /// [`Code::CLUSTER_UNAVAILABLE`] when the user's rights are not known.
    pub(crate) async fn answer(&self, state: &ApiState, cookie: bool) -> ApiResult<Answer<LoginAnswer>> {
        let record = &self.issued.record;
        let caller = Caller {
            user: record.user_info(),
            display_name: record.display_name.clone(),
            // It is only asked what they may do.
            credential: CallerCredential::Impersonated,
            login: Some(self.issued.login.clone()),
            tenant: record.tenant_id(),
            by_cookie: cookie,
            client: self.client.0,
        };
        let mut answer = Answer::new(LoginAnswer::of(state, &self.issued, &caller, cookie).await?);
        if cookie {
            answer.headers = cookies::set(&self.issued, &state.config);
        }
        answer
            .headers
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(answer)
    }
}

/// Revokes the sessions that a login made, by our own account: who ended the login need not have the right, and the person may be gone.
pub(crate) async fn end_consoles(state: &ApiState, login: &LoginId) {
    let label = login.console_label();
    revoke_made(state, &label).await;
    let state = state.clone();
    tokio::spawn(async move {
        tokio::time::sleep(SECOND_LOOK_DELAY).await;
        revoke_made(&state, &label).await;
    });
}

async fn revoke_made(state: &ApiState, label: &str) {
    for row in state.watched.sessions() {
        let is_open = row.close_reason.is_none();
        if !is_open || row.login_label.as_deref() != Some(label) {
            continue;
        }
        let session = ConsoleSession {
            metadata: ObjectMeta {
                name: Some(row.name.clone()),
                namespace: Some(row.namespace.clone()),
                uid: Some(row.id.clone()),
                ..ObjectMeta::default()
            },
            spec: ConsoleSessionSpec::default(),
            status: None,
        };
        let patch = json!({"spec": {"revoked": true}});
        // The watch of this process shows it soon enough.
        let shown_by = Cache::new(|_| None);
        if let Err(error) = state.applier.merge(&session, patch, &shown_by).await {
            let (namespace, name) = (&row.namespace, &row.name);
            tracing::warn!(namespace, name, %error, "the console of a login that has ended is not revoked");
        }
    }
}
