//! Bodies of `/auth`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{BASE_PATH, caller::Caller, config::OidcConfig, error::ApiResult, login::IssuedLogin, state::ApiState};

/// A name and a password.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PasswordLogin {
    /// The user's name, without a prefix.
    #[schema(min_length = 1, max_length = 256)]
    pub(crate) username: String,
    /// The password.
    #[schema(min_length = 1, max_length = 512)]
    pub(crate) password: String,
    /// The tenant to work in; its namespaces alone are seen. Needed where the installation says so.
    #[schema(min_length = 1, max_length = 63)]
    #[serde(default)]
    pub(crate) tenant_id: Option<String>,
    /// Keep the tokens in cookies that no script can read, and leave them out of the answer.
    #[serde(default)]
    pub(crate) cookie: bool,
}

/// A token that kube-apiserver accepts.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KubernetesLogin {
    /// The token.
    #[schema(min_length = 1, max_length = 16384)]
    pub(crate) token: String,
    /// The tenant to work in.
    #[schema(min_length = 1, max_length = 63)]
    #[serde(default)]
    pub(crate) tenant_id: Option<String>,
    /// Keep the tokens in cookies.
    #[serde(default)]
    pub(crate) cookie: bool,
}

/// A refresh token; without one the cookie is taken.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct RefreshRequest {
    /// The token.
    #[schema(min_length = 1, max_length = 16384)]
    pub(crate) refresh_token: Option<String>,
}

/// What a login answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginAnswer {
    /// The session token, for `Authorization: Bearer`. Absent when cookies hold it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// When it expires, `yyyy-MM-dd HH:mm:ss` in the zone of the installation.
    expire_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    expire_at: String,
    /// Renews the login, once. Absent when cookies hold it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// When the login ends at the latest.
    refresh_expire_time: String,
    /// The same by RFC 3339.
    #[schema(format = DateTime)]
    refresh_expire_at: String,
    /// What the user may do, in all namespaces.
    permissions: Vec<String>,
    /// The user's name in Kubernetes.
    user: String,
    /// The name for people.
    display_name: String,
    /// The tenant that the login is for.
    tenant_id: Option<String>,
    /// What requests with the cookie carry in `X-CSRF-Token`.
    csrf_token: String,
}

impl LoginAnswer {
    pub(crate) async fn of(state: &ApiState, issued: &IssuedLogin, caller: &Caller, cookie: bool) -> ApiResult<Self> {
        let permissions = state.authorization.permissions(caller, None).await?;
        let text = |token: &str| (!cookie).then(|| token.to_owned());
        Ok(Self {
            token: text(&issued.token),
            expire_time: state.time_zone.text(issued.expires),
            expire_at: issued.expires.to_string(),
            refresh_token: text(&issued.refresh_token),
            refresh_expire_time: state.time_zone.text(issued.refresh_expires),
            refresh_expire_at: issued.refresh_expires.to_string(),
            permissions,
            user: issued.record.user.clone(),
            display_name: issued.record.display_name.clone(),
            tenant_id: issued.record.tenant.clone(),
            csrf_token: state.logins.csrf_token(&issued.login)?,
        })
    }
}

/// Who somebody is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    /// The name in Kubernetes.
    pub(crate) user: String,
    /// The name for people.
    pub(crate) display_name: String,
    /// The groups in Kubernetes.
    pub(crate) groups: Vec<String>,
    /// The tenant that the login is for.
    pub(crate) tenant_id: Option<String>,
    /// What the user may do, in all namespaces.
    pub(crate) permissions: Vec<String>,
}

/// What is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PermissionQuery {
    /// `vm`, `workspace` or `session`.
    #[param(min_length = 1, max_length = 32)]
    pub(crate) resource_type: String,
    /// Such as `start` or `console:access`.
    #[param(min_length = 1, max_length = 64)]
    pub(crate) operation: String,
    /// In one namespace; default: in all.
    #[param(min_length = 1, max_length = 63)]
    #[serde(default)]
    pub(crate) namespace: Option<String>,
}

/// Whether somebody may do something.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HasPermission {
    /// Whether they may.
    pub(crate) has_permission: bool,
}

/// The token against forged requests.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CsrfToken {
    /// For the header `X-CSRF-Token`.
    pub(crate) csrf_token: String,
}

/// The ways to sign in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Providers {
    /// By name and password.
    pub(crate) password: bool,
    /// By a token of Kubernetes.
    pub(crate) kubernetes: bool,
    /// Whether a tenant has to be named.
    pub(crate) tenant_required: bool,
    /// `OpenID` Connect providers.
    pub(crate) oidc: Vec<ProviderEntry>,
}

/// A provider.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProviderEntry {
    /// Its name in paths.
    pub(crate) name: String,
    /// What people read on the button.
    pub(crate) display_name: String,
    /// Where a browser goes to sign in.
    pub(crate) authorize_path: String,
}

impl ProviderEntry {
    pub(crate) fn of(config: &OidcConfig) -> Self {
        Self {
            name: config.name.clone(),
            display_name: config.display_name.clone().unwrap_or_else(|| config.name.clone()),
            authorize_path: format!("{BASE_PATH}/auth/oidc/{}/authorize", config.name),
        }
    }
}
