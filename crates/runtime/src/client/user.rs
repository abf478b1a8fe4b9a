//! Requests in the name of other users, over one pool of connections.
//!
//! kube makes a client, and with it a pool of connections, for each configuration that impersonates. Here the user is a header of the
//! request, so that all users share the pool.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header::AUTHORIZATION};
use kube::{
    Client,
    client::{Body, ConfigExt},
};
use tower::{BoxError, ServiceBuilder, util::MapRequestLayer};

use super::{ClientError, HttpTransport, bounded, transport};
use crate::access::UserInfo;

/// A token of a session is waited for up to ten seconds by the server that gives it, which then says what it waited for.
const USER_WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Users and groups that are never impersonated: with them a caller would have rights that no administrator gave.
const RESERVED_PREFIX: &str = "system:";

/// The group of everybody who is authenticated. kube-apiserver adds it to an impersonated user only when no group is named.
const AUTHENTICATED_GROUP: &str = "system:authenticated";

/// Why requests cannot be sent in a user's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserClientError {
    /// A name that would give rights of Kubernetes itself.
    #[error("{0:?} is reserved for Kubernetes itself and is never impersonated")]
    Reserved(String),
    /// A name, a UID or a token that cannot stand in a header.
    #[error("{0} has a character that cannot stand in a header")]
    NotAHeader(&'static str),
}

/// Makes clients that speak for users. Clones share the connections.
#[derive(Clone)]
pub struct UserClients {
    config: Arc<kube::Config>,
    transport: HttpTransport,
    /// Without a client certificate, by which kube-apiserver would know the process instead of the user whose token is sent.
    anonymous: HttpTransport,
}

impl UserClients {
    /// Clients of the cluster of this configuration.
    ///
    /// # Errors
    ///
    /// [`ClientError::Build`] when its TLS settings cannot be used.
    pub fn new(config: kube::Config) -> Result<Self, ClientError> {
        let own = transport(&config).map_err(ClientError::Build)?;
        let mut without_certificate = config.clone();
        let identity = &mut without_certificate.auth_info;
        identity.client_certificate = None;
        identity.client_certificate_data = None;
        identity.client_key = None;
        identity.client_key_data = None;
        let anonymous = transport(&without_certificate).map_err(ClientError::Build)?;
        Ok(Self {
            config: Arc::new(config),
            transport: own,
            anonymous,
        })
    }

    /// A client whose requests impersonate a user: kube-apiserver decides and logs as if they had sent them. The process's own account needs
    /// the verb `impersonate` on what is named.
    ///
    /// # Errors
    ///
    /// [`UserClientError`] for names that are reserved or are no headers; [`ClientError`] inside is not possible here.
    pub fn impersonating(&self, user: &UserInfo) -> Result<Client, UserClientError> {
        let headers = impersonation(user)?;
        let auth = self.config.auth_layer().ok().flatten();
        let service = ServiceBuilder::new()
            .layer(self.config.base_uri_layer())
            .option_layer(auth)
            .layer(with_headers(self.own_headers(headers)))
            .map_err(BoxError::from)
            .service(bounded(self.transport.clone(), USER_WRITE_TIMEOUT));
        Ok(Client::new(service, self.config.default_namespace.clone()))
    }

    /// A client whose requests carry a user's own token, and nothing of the process.
    ///
    /// # Errors
    ///
    /// [`UserClientError::NotAHeader`].
    pub fn bearer(&self, token: &str) -> Result<Client, UserClientError> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| UserClientError::NotAHeader("the token"))?;
        value.set_sensitive(true);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let service = ServiceBuilder::new()
            .layer(self.config.base_uri_layer())
            .layer(with_headers(self.own_headers(headers)))
            .map_err(BoxError::from)
            .service(bounded(self.anonymous.clone(), USER_WRITE_TIMEOUT));
        Ok(Client::new(service, self.config.default_namespace.clone()))
    }

    /// With the headers of the configuration, such as `User-Agent`.
    fn own_headers(&self, mut headers: HeaderMap) -> HeaderMap {
        headers.extend(self.config.headers.iter().cloned());
        headers
    }
}

fn with_headers(headers: HeaderMap) -> MapRequestLayer<impl Fn(Request<Body>) -> Request<Body> + Clone> {
    MapRequestLayer::new(move |mut request: Request<Body>| {
        request.headers_mut().extend(headers.clone());
        request
    })
}

/// The headers of `k8s.io/api/authentication/v1`.
fn impersonation(user: &UserInfo) -> Result<HeaderMap, UserClientError> {
    let mut headers = HeaderMap::new();
    let mut add = |name: HeaderName, value: &str, what: &'static str| {
        let value = HeaderValue::from_str(value).map_err(|_| UserClientError::NotAHeader(what))?;
        headers.append(name, value);
        Ok(())
    };
    if user.name.is_empty() || user.name.starts_with(RESERVED_PREFIX) {
        return Err(UserClientError::Reserved(user.name.clone()));
    }
    add(
        HeaderName::from_static("impersonate-user"),
        &user.name,
        "the user's name",
    )?;
    if let Some(uid) = &user.uid {
        add(HeaderName::from_static("impersonate-uid"), uid, "the user's UID")?;
    }
    for group in &user.groups {
        if group.starts_with(RESERVED_PREFIX) && group != AUTHENTICATED_GROUP {
            return Err(UserClientError::Reserved(group.clone()));
        }
        add(HeaderName::from_static("impersonate-group"), group, "a group's name")?;
    }
    for (key, values) in &user.extra {
        let name = HeaderName::try_from(format!("impersonate-extra-{key}"))
            .map_err(|_| UserClientError::NotAHeader("the key of an extra value"))?;
        for value in values {
            add(name.clone(), value, "an extra value")?;
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        }
    }

    #[test]
    fn user_and_groups_are_headers() {
        let headers = impersonation(&user("novasphere:ann", &["novasphere:ops", AUTHENTICATED_GROUP])).unwrap();
        assert_eq!(headers["impersonate-user"], "novasphere:ann");
        let groups: Vec<_> = headers.get_all("impersonate-group").iter().collect();
        assert_eq!(groups, ["novasphere:ops", "system:authenticated"]);
    }

    #[test]
    fn names_of_kubernetes_itself_are_never_impersonated() {
        for (name, groups) in [
            ("system:admin", &[][..]),
            ("", &[]),
            ("novasphere:ann", &["system:masters"]),
            ("novasphere:ann", &["system:nodes"]),
        ] {
            assert!(
                matches!(impersonation(&user(name, groups)), Err(UserClientError::Reserved(_))),
                "{name} {groups:?}"
            );
        }
    }

    #[test]
    fn a_name_that_would_end_a_header_is_refused() {
        let refused = impersonation(&user("ann\r\nImpersonate-Group: system:masters", &[]));
        assert_eq!(refused, Err(UserClientError::NotAHeader("the user's name")));
    }
}
