//! The one layer around all handlers.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use novasphere_runtime::{metrics::HttpMetrics, telemetry::traces::continue_trace};
use tokio::time::timeout;
use tracing::Instrument;

use super::{
    address::{ClientAddress, PeerAddress},
    note::RequestNote,
    origin::is_listed,
    render::Wanted,
};
use crate::{code::Code, config::ApiConfig, error::ApiError, state::ApiState};

/// The time that a request may take until its answer begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The label of requests that no route takes: a path of a client's must not become one.
const UNKNOWN_ROUTE: &str = "unknown";

/// How long browsers may keep the answer to a CORS preflight, in seconds.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");

const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Accept-Language, If-Match, If-None-Match, Idempotency-Key, Last-Event-ID, X-CSRF-Token, X-Request-Id, \
     X-User-Token",
);

const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("ETag, Retry-After, X-Request-Id");

/// What the layer needs of the process.
struct Around {
    state: ApiState,
    metrics: HttpMetrics,
    /// The templates of all routes, as labels live.
    routes: HashMap<String, &'static str>,
}

/// All routes inside the layer. `templates` are their paths, for labels of metrics.
pub fn layered(
    routes: Router<ApiState>,
    state: ApiState,
    metrics: HttpMetrics,
    templates: impl IntoIterator<Item = String>,
) -> Router<ApiState> {
    let routes_by_template = templates.into_iter().map(|template| {
        // Once for each route of the process.
        let label: &'static str = Box::leak(template.clone().into_boxed_str());
        (template, label)
    });
    let around = Arc::new(Around {
        state,
        metrics,
        routes: routes_by_template.collect(),
    });
    let no_such_path = || async { ApiError::new(Code::NO_SUCH_PATH) };
    routes
        .fallback(no_such_path)
        .layer(from_fn(move |request: Request, next: Next| {
            let around = Arc::clone(&around);
            async move { around.answer(request, next).await }
        }))
}

impl Around {
    async fn answer(&self, mut request: Request, next: Next) -> Response {
        let began = Instant::now();
        let config = &self.state.config;
        let note = RequestNote::new(request.headers());
        let peer = request.extensions().get::<PeerAddress>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
        let client = ClientAddress::of(peer, request.headers(), &config.trusted_proxies);
        request.extensions_mut().insert(note.clone());
        request.extensions_mut().insert(client);
        let method = request.method().clone();
        let headers = request.headers().clone();
        let route = self.route(&request);
        let span = tracing::info_span!("request", %method, route, request_id = note.request_id());
        continue_trace(&span, &headers);
        let answered = self.inner(request, next, client).instrument(span).await;
        let mut response = Wanted::of(&method, &headers).render(answered, &note);
        cross_origin(&mut response, &headers, config);
        common(response.headers_mut(), &note);
        let took = began.elapsed();
        self.metrics.answered(&method, route, response.status(), took);
        let user = note.user();
        tracing::info!(
            target: "novasphere_api::access",
            %method,
            route,
            status = response.status().as_u16(),
            user,
            client = %client.0,
            request_id = note.request_id(),
            milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "request"
        );
        response
    }

    async fn inner(&self, request: Request, next: Next, client: ClientAddress) -> Response {
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if is_preflight {
            return preflight(request.headers(), &self.state.config);
        }
        if let Err(error) = self.state.limits.of_address(client.0) {
            return error.into_response();
        }
        let answered = timeout(REQUEST_TIMEOUT, next.run(request)).await;
        answered.unwrap_or_else(|_| ApiError::new(Code::REQUEST_TIMEOUT).into_response())
    }

    fn route(&self, request: &Request) -> &'static str {
        let matched = request.extensions().get::<MatchedPath>();
        let known = matched.and_then(|matched| self.routes.get(matched.as_str()));
        known.copied().unwrap_or(UNKNOWN_ROUTE)
    }
}

fn preflight(headers: &HeaderMap, config: &ApiConfig) -> Response {
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    if !origin.is_some_and(|origin| is_listed(origin, config)) {
        return ApiError::new(Code::ORIGIN_FORBIDDEN).into_response();
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let answer = response.headers_mut();
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    response
}

/// CORS: never `*`, so that an answer with a cookie's rights is read by listed pages alone.
fn cross_origin(response: &mut Response, headers: &HeaderMap, config: &ApiConfig) {
    let answer = response.headers_mut();
    answer.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = headers.get(header::ORIGIN) else {
        return;
    };
    if origin.to_str().is_ok_and(|origin| is_listed(origin, config)) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
}

/// Headers of every answer. Nothing here is a page that needs more than nothing; those that are set their own policy.
fn common(headers: &mut HeaderMap, note: &RequestNote) {
    if let Ok(id) = HeaderValue::from_str(note.request_id()) {
        headers.insert("x-request-id", id);
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.append(
        header::VARY,
        HeaderValue::from_static("Authorization, Cookie, Accept, Accept-Language"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000"),
    );
}
