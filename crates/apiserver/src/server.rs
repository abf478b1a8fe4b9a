//! Which answer a request gets.

use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use novasphere_crd::SessionTargetKind;
use novasphere_runtime::{
    health::Health,
    serve::status::{ResponseBody, StatusError, bytes_response, json_response},
    shares::{NoPlace, Shares},
    telemetry::traces::continue_trace,
};
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tracing::Instrument;

use crate::{
    connect::{ApiCaller, ConsoleHandler, client_address},
    discovery,
    front_proxy::FrontProxy,
    listener::{PROXY_LIMIT, RequestHandler, TlsConnection, TlsPeer},
    metrics::ApiMetrics,
    negotiate::{Form, accepted_form, body_is_json},
    openapi,
    route::{Route, Subresource},
    token::TokenHandler,
};

/// Bytes of a request's body.
const BODY_BYTES: usize = 64 * 1024;
/// The time that a request may take until it is answered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests of users that are answered at a time, and those of one user among them: each holds a connection of kube-apiserver's.
const REQUESTS_LIMIT: usize = PROXY_LIMIT;
const REQUESTS_PER_USER_LIMIT: usize = 256;

/// Places for requests of users.
#[must_use]
pub fn request_places() -> Shares {
    Shares::new(REQUESTS_LIMIT, REQUESTS_PER_USER_LIMIT)
}

/// What answers requests.
pub struct ApiServer {
    /// Whose requests are kube-apiserver's.
    pub front_proxy: FrontProxy,
    /// Health of the process.
    pub health: Health,
    /// Counters.
    pub metrics: ApiMetrics,
    /// Consoles.
    pub consoles: ConsoleHandler,
    /// Tokens.
    pub tokens: TokenHandler,
    /// [`request_places`].
    pub requests: Shares,
}

impl RequestHandler for ApiServer {
    fn trusts(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        self.front_proxy.trusts(chain)
    }

    async fn answer(&self, peer: &TlsPeer, request: Request<Incoming>) -> Response<ResponseBody> {
        let began = Instant::now();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let route = Route::read(&method, &path);
        let known = route.as_ref().ok().cloned();
        let span = tracing::info_span!("request", %method, path);
        continue_trace(&span, request.headers());
        let answered = match route {
            Ok(route) => timeout(REQUEST_TIMEOUT, self.serve(peer, route, request).instrument(span))
                .await
                .unwrap_or_else(|_| {
                    Err(StatusError::Unavailable(
                        "the request took too long; try again".to_owned(),
                    ))
                }),
            Err(error) => Err(error),
        };
        let response = answered.unwrap_or_else(|error| {
            if matches!(known, Some(Route::Object { .. })) {
                tracing::info!(%method, path, code = error.code().as_u16(), reason = error.reason(), "refused: {error}");
            }
            error.response()
        });
        self.metrics
            .answered(&method, known.as_ref(), response.status(), began.elapsed());
        response
    }
}

impl ApiServer {
    async fn serve(
        &self,
        peer: &TlsPeer,
        route: Route,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, StatusError> {
        let headers = request.headers();
        Ok(match route {
            Route::Livez => text(StatusCode::OK, "ok"),
            Route::Readyz if self.health.is_ready() => text(StatusCode::OK, "ok"),
            Route::Readyz => return Err(StatusError::Unavailable("the server is not ready".to_owned())),
            Route::Groups => discovery::groups(accepted_form(headers, true)?, headers),
            Route::Object {
                subresource,
                namespace,
                name,
            } => {
                return self.object(peer, subresource, &namespace, &name, request).await;
            }
            Route::Root
            | Route::Group
            | Route::Resources
            | Route::OpenApiV2
            | Route::OpenApiV3Index
            | Route::OpenApiV3 => {
                let Form::Json = accepted_form(headers, false)? else {
                    return Err(StatusError::NotAcceptable);
                };
                match route {
                    Route::Root => discovery::root(),
                    Route::Group => discovery::group(),
                    Route::Resources => discovery::resources(),
                    Route::OpenApiV2 => json_response(StatusCode::OK, openapi::v2()),
                    Route::OpenApiV3Index => json_response(StatusCode::OK, openapi::v3_index()),
                    _ => json_response(StatusCode::OK, openapi::v3()),
                }
            }
        })
    }

    async fn object(
        &self,
        peer: &TlsPeer,
        subresource: Subresource,
        namespace: &str,
        name: &str,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, StatusError> {
        let headers = request.headers();
        let user = self.front_proxy.authenticate(peer.chain.as_deref(), headers)?;
        let caller = ApiCaller {
            user: &user,
            client: client_address(headers, peer.address),
        };
        // Until it is answered; a console that is open holds none.
        let _place = self
            .requests
            .take(&user.name)
            .map_err(|why| too_many(why, &user.name))?;
        match subresource {
            Subresource::VmAccessConsole => {
                let kind = SessionTargetKind::VmAccess;
                self.consoles
                    .console::<TlsConnection>(caller, kind, namespace, name, request)
                    .await
            }
            Subresource::VncWorkspaceConsole => {
                let kind = SessionTargetKind::VncWorkspace;
                self.consoles
                    .console::<TlsConnection>(caller, kind, namespace, name, request)
                    .await
            }
            Subresource::SessionConnect => {
                self.consoles
                    .connect::<TlsConnection>(caller, namespace, name, request)
                    .await
            }
            Subresource::SessionToken => {
                accepted_form(headers, false)?;
                body_is_json(headers)?;
                let body = body(request).await?;
                let token = self.tokens.create(caller, namespace, name, &body).await?;
                let token = serde_json::to_value(token).map_err(|error| StatusError::Internal(error.to_string()))?;
                let mut response = json_response(StatusCode::CREATED, &token);
                let headers = response.headers_mut();
                headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
                Ok(response)
            }
        }
    }
}

fn too_many(why: NoPlace, user: &str) -> StatusError {
    StatusError::TooManyRequests(match why {
        NoPlace::Full(limit) => format!("{limit} requests are being answered already; try again"),
        NoPlace::ShareUsed(share) => format!(
            "{share} requests of user {user:?} are being answered already, and a user may have no more; wait for some of them, and try again"
        ),
    })
}

async fn body(request: Request<Incoming>) -> Result<bytes::Bytes, StatusError> {
    let read = Limited::new(request.into_body(), BODY_BYTES).collect().await;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            StatusError::TooLarge(BODY_BYTES)
        } else {
            StatusError::BadRequest(format!("the body broke off: {error}"))
        }
    })?;
    Ok(read.to_bytes())
}

fn text(code: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    bytes_response(code, plain, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_whose_requests_are_not_answered_leaves_room_for_others() {
        let places = request_places();
        let taken: Vec<_> = std::iter::from_fn(|| places.take("jane").ok()).collect();
        assert_eq!(taken.len(), REQUESTS_PER_USER_LIMIT);
        let refused = too_many(places.take("jane").unwrap_err(), "jane");
        assert_eq!(refused.code(), 429);
        assert!(
            refused.to_string().starts_with("256 requests of user \"jane\""),
            "{refused}"
        );
        assert!(places.take("joe").is_ok());
    }
}
