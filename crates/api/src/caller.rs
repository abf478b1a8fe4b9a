//! Who sends a request.

use std::{fmt, net::IpAddr};

use axum::extract::FromRequestParts;
use http::request::Parts;
use novasphere_runtime::access::UserInfo;

use crate::{error::ApiError, http::RequestNote, login::LoginId, state::ApiState};

/// A token of somebody else's making that kube-apiserver accepts. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    /// A token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// The token itself, for the header alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BearerToken(..)")
    }
}

/// As whom the cluster is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerCredential {
    /// With the user's own token, which kube-apiserver accepts: this takes no right of ours.
    Bearer(BearerToken),
    /// By impersonation of [`Caller::user`].
    Impersonated,
}

/// The ID of a tenant: the value of the label `novasphere.io/tenant` of its namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub String);

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user as kube-apiserver knows them.
    pub user: UserInfo,
    /// The name that the person typed or their provider gave, for people.
    pub display_name: String,
    /// As whom the cluster is asked.
    pub credential: CallerCredential,
    /// The login that the request's token is of; `None` for tokens that are not ours.
    pub login: Option<LoginId>,
    /// The tenant that the login is for.
    pub tenant: Option<TenantId>,
    /// Whether the token came as a cookie, so that forged requests have to be kept off.
    pub by_cookie: bool,
    /// Where the client connects from.
    pub client: IpAddr,
}

/// Authenticates each request: see [`crate::identity::authenticate()`].
impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = crate::identity::authenticate(parts, state).await?;
        RequestNote::of(parts).name_user(&caller.user.name);
        state.limits.of_user(&caller.user.name)?;
        Ok(caller)
    }
}
