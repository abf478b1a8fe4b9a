//! What a path means. No IO.

use http::Method;
use novasphere_core::name::DnsSubdomain;
use novasphere_crd::SessionTargetKind;
use novasphere_runtime::serve::status::StatusError;

use crate::{GROUP, VERSION};

/// A subresource of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    /// `vmaccesses/console`
    VmAccessConsole,
    /// `vncworkspaces/console`
    VncWorkspaceConsole,
    /// `consolesessions/connect`
    SessionConnect,
    /// `consolesessions/token`
    SessionToken,
}

/// All of them, as discovery lists them.
pub const SUBRESOURCES: &[Subresource] = &[
    Subresource::SessionConnect,
    Subresource::SessionToken,
    Subresource::VmAccessConsole,
    Subresource::VncWorkspaceConsole,
];

impl Subresource {
    /// The plural of the object's kind.
    #[must_use]
    pub const fn resource(self) -> &'static str {
        match self {
            Self::VmAccessConsole => "vmaccesses",
            Self::VncWorkspaceConsole => "vncworkspaces",
            Self::SessionConnect | Self::SessionToken => "consolesessions",
        }
    }

    /// The last part of the path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::VmAccessConsole | Self::VncWorkspaceConsole => "console",
            Self::SessionConnect => "connect",
            Self::SessionToken => "token",
        }
    }

    /// The kind of what is sent and answered.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::VmAccessConsole | Self::VncWorkspaceConsole | Self::SessionConnect => "ConsoleOptions",
            Self::SessionToken => "ConsoleToken",
        }
    }

    /// Whose console it opens, when it makes a session for that.
    #[must_use]
    pub const fn target(self) -> Option<SessionTargetKind> {
        match self {
            Self::VmAccessConsole => Some(SessionTargetKind::VmAccess),
            Self::VncWorkspaceConsole => Some(SessionTargetKind::VncWorkspace),
            Self::SessionConnect | Self::SessionToken => None,
        }
    }

    /// The Kubernetes verb and the method that it comes as.
    #[must_use]
    pub const fn verb(self) -> (&'static str, Method) {
        match self {
            Self::VmAccessConsole | Self::VncWorkspaceConsole | Self::SessionConnect => ("get", Method::GET),
            Self::SessionToken => ("create", Method::POST),
        }
    }
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`
    Root,
    /// `/livez`, `/healthz`
    Livez,
    /// `/readyz`
    Readyz,
    /// `/apis`
    Groups,
    /// `/apis/<group>`
    Group,
    /// `/apis/<group>/<version>`
    Resources,
    /// `/openapi/v2`
    OpenApiV2,
    /// `/openapi/v3`
    OpenApiV3Index,
    /// `/openapi/v3/apis/<group>/<version>`
    OpenApiV3,
    /// An object's subresource.
    Object {
        /// Which.
        subresource: Subresource,
        /// The object's namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Route {
    /// Reads method and path.
    ///
    /// # Errors
    ///
    /// 404 for what there is not, 405 for another method, 400 for a name that no object has.
    pub fn read(method: &Method, path: &str) -> Result<Self, StatusError> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let route = match parts.as_slice() {
            [] => Self::Root,
            ["livez" | "healthz"] => Self::Livez,
            ["readyz"] => Self::Readyz,
            ["apis"] => Self::Groups,
            ["openapi", "v2"] => Self::OpenApiV2,
            ["openapi", "v3"] => Self::OpenApiV3Index,
            ["openapi", "v3", "apis", GROUP, VERSION] => Self::OpenApiV3,
            ["apis", GROUP] => Self::Group,
            ["apis", GROUP, VERSION] => Self::Resources,
            [
                "apis",
                GROUP,
                VERSION,
                "namespaces",
                namespace,
                resource,
                name,
                subresource,
            ] => Self::object(namespace, resource, name, subresource)?,
            _ => return Err(StatusError::NoSuchPath),
        };
        let allowed = match &route {
            Self::Object { subresource, .. } => subresource.verb().1,
            _ => Method::GET,
        };
        if *method == allowed {
            Ok(route)
        } else {
            Err(StatusError::MethodNotAllowed(allowed))
        }
    }

    fn object(namespace: &str, resource: &str, name: &str, subresource: &str) -> Result<Self, StatusError> {
        let is_meant = |known: &&Subresource| known.resource() == resource && known.name() == subresource;
        let subresource = SUBRESOURCES.iter().find(is_meant).ok_or(StatusError::NoSuchPath)?;
        for part in [namespace, name] {
            if let Err(error) = DnsSubdomain::parse(part) {
                return Err(StatusError::BadRequest(format!(
                    "{part:?} in the path is no name: {error}"
                )));
            }
        }
        Ok(Self::Object {
            subresource: *subresource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = "/apis/subresources.novasphere.io/v1alpha1";

    fn read(method: &Method, path: &str) -> Result<Route, u16> {
        Route::read(method, path).map_err(|error| error.code().as_u16())
    }

    #[test]
    fn every_path_of_the_contract_is_served() {
        for (path, route) in [
            ("/", Route::Root),
            ("/apis", Route::Groups),
            ("/apis/", Route::Groups),
            ("/apis/subresources.novasphere.io", Route::Group),
            (BASE, Route::Resources),
            ("/openapi/v2", Route::OpenApiV2),
            ("/openapi/v3", Route::OpenApiV3Index),
            ("/openapi/v3/apis/subresources.novasphere.io/v1alpha1", Route::OpenApiV3),
            ("/livez", Route::Livez),
            ("/healthz", Route::Livez),
            ("/readyz", Route::Readyz),
        ] {
            assert_eq!(read(&Method::GET, path), Ok(route), "{path}");
            assert_eq!(read(&Method::DELETE, path), Err(405), "{path}");
        }
    }

    #[test]
    fn subresources_take_their_method_only() {
        let object = |subresource| Route::Object {
            subresource,
            namespace: "team".to_owned(),
            name: "web".to_owned(),
        };
        let path = |rest: &str| format!("{BASE}/namespaces/team/{rest}");
        for (rest, method, subresource) in [
            ("vmaccesses/web/console", Method::GET, Subresource::VmAccessConsole),
            (
                "vncworkspaces/web/console",
                Method::GET,
                Subresource::VncWorkspaceConsole,
            ),
            ("consolesessions/web/connect", Method::GET, Subresource::SessionConnect),
            ("consolesessions/web/token", Method::POST, Subresource::SessionToken),
        ] {
            assert_eq!(read(&method, &path(rest)), Ok(object(subresource)));
            for other in [Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD] {
                assert_eq!(read(&other, &path(rest)), Err(405), "{other} {rest}");
            }
        }
        assert_eq!(read(&Method::GET, &path("consolesessions/web/token")), Err(405));
    }

    #[test]
    fn everything_else_is_not_there() {
        for path in [
            "/api",
            "/apis/other.io",
            "/apis/subresources.novasphere.io/v1",
            "/apis/subresources.novasphere.io/v1alpha1/vmaccesses",
            "/apis/subresources.novasphere.io/v1alpha1/namespaces/team/vmaccesses",
            "/apis/subresources.novasphere.io/v1alpha1/namespaces/team/vmaccesses/web",
            "/apis/subresources.novasphere.io/v1alpha1/namespaces/team/vmaccesses/web/token",
            "/apis/subresources.novasphere.io/v1alpha1/namespaces/team/vmaccesses/web/console/more",
            "//apis",
        ] {
            assert_eq!(read(&Method::GET, path), Err(404), "{path}");
        }
        let odd = format!("{BASE}/namespaces/team/vmaccesses/..%2f/console");
        assert_eq!(read(&Method::GET, &odd), Err(400));
    }

    proptest! {
        #[test]
        fn arbitrary_paths_are_answered(path in "(/[ -~]{0,12}){0,10}") {
            let _ = Route::read(&Method::GET, &path);
        }
    }
}
