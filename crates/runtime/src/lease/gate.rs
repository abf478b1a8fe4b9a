//! Lets no write pass without leadership.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use kube::client::Body;
use tower::{BoxError, Layer, Service};

use super::{Leadership, NotLeader};

/// Whether a request of this method can change anything in the cluster.
#[must_use]
pub fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A [`Layer`] that refuses writes with [`NotLeader`] while this process does not lead.
///
/// Leadership is checked when the request arrives and once more when its body is taken, which is after a connection was made
/// and right before the first byte of the request is written (`GatedBody`). A request that is still unanswered when leadership
/// ends is given up with the same error; whether the apiserver acts on it then nobody knows, which is what the time between
/// [`super::Timings::renew_deadline`] and `duration` is for.
#[derive(Clone, Debug)]
pub struct WriteGate {
    leadership: Leadership,
}

impl WriteGate {
    /// A gate that `leadership` opens.
    #[must_use]
    pub fn new(leadership: Leadership) -> Self {
        Self { leadership }
    }
}

impl<S> Layer<S> for WriteGate {
    type Service = GatedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        GatedService {
            inner,
            leadership: self.leadership.clone(),
        }
    }
}

/// The service that [`WriteGate`] makes.
#[derive(Clone, Debug)]
pub struct GatedService<S> {
    inner: S,
    leadership: Leadership,
}

impl<S, B> Service<Request<Body>> for GatedService<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if !is_write(request.method()) {
            return Box::pin(self.inner.call(request));
        }
        let Some(permit) = self.leadership.permit() else {
            return Box::pin(std::future::ready(Err(NotLeader.into())));
        };
        request.extensions_mut().insert(MustLead(self.leadership.clone()));
        let answer = self.inner.call(request);
        let leadership = self.leadership.clone();
        Box::pin(async move {
            let _permit = permit;
            tokio::select! {
                biased;
                answer = answer => answer,
                () = leadership.lost() => Err(NotLeader.into()),
            }
        })
    }
}

/// Marks a request whose body may only be sent while leading.
#[derive(Clone, Debug)]
pub(crate) struct MustLead(Leadership);

/// What [`WriteGate`] does to a request, for tests of what comes after it.
#[cfg(test)]
pub(crate) fn mark(request: &mut Request<Body>, leadership: &Leadership) {
    request.extensions_mut().insert(MustLead(leadership.clone()));
}

/// A request body that fails instead of being sent when leadership has gone.
///
/// hyper encodes the head of an HTTP/1 request into its buffer, takes the first frame of the body, and only then writes to the
/// connection (`proto/h1/dispatch.rs`, `poll_write` before `poll_flush`), so an error here means that nothing was sent.
#[derive(Debug)]
pub(crate) struct GatedBody {
    body: Body,
    must_lead: Option<MustLead>,
}

impl GatedBody {
    /// Takes the mark of [`WriteGate`] off the request and into its body.
    pub(crate) fn wrap(request: Request<Body>) -> Request<Self> {
        let (mut parts, body) = request.into_parts();
        let must_lead = parts.extensions.remove::<MustLead>();
        Request::from_parts(parts, Self { body, must_lead })
    }
}

impl HttpBody for GatedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(MustLead(leadership)) = &self.must_lead
            && !leadership.is_current()
        {
            return Poll::Ready(Some(Err(NotLeader.into())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use futures::FutureExt;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::lease::{BootInstant, find_not_leader};

    fn request(method: Method) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri("http://cluster.invalid/api/v1")
            .body(Body::from(b"{}".to_vec()))
            .unwrap()
    }

    #[tokio::test]
    async fn writes_pass_only_while_leading_and_reads_always() {
        let leadership = Leadership::none();
        let mut service = WriteGate::new(leadership.clone()).layer(service_fn(|_: Request<Body>| async {
            Ok::<_, BoxError>(Response::new(Body::empty()))
        }));
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let error = service
                .ready()
                .await
                .unwrap()
                .call(request(method.clone()))
                .await
                .unwrap_err();
            assert!(find_not_leader(error.as_ref()), "{method}: {error}");
        }
        service.ready().await.unwrap().call(request(Method::GET)).await.unwrap();
        leadership.set(Some(BootInstant::now().after(Duration::from_mins(1))));
        service
            .ready()
            .await
            .unwrap()
            .call(request(Method::PATCH))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_write_without_an_answer_is_given_up_when_leadership_ends() {
        let leadership = Leadership::none();
        leadership.set(Some(BootInstant::now().after(Duration::from_mins(1))));
        let mut service = WriteGate::new(leadership.clone()).layer(service_fn(|_: Request<Body>| {
            pending::<Result<Response<Body>, BoxError>>()
        }));
        let mut answer = service.ready().await.unwrap().call(request(Method::PATCH));
        assert!((&mut answer).now_or_never().is_none());
        assert!(leadership.idle().now_or_never().is_none(), "a write is under way");
        leadership.set(None);
        assert!(find_not_leader(answer.await.unwrap_err().as_ref()));
        leadership.idle().await;
    }

    #[tokio::test]
    async fn a_body_is_not_given_out_when_leadership_ended_since_the_request_arrived() {
        let leadership = Leadership::none();
        leadership.set(Some(BootInstant::now().after(Duration::from_mins(1))));
        let ends = leadership.clone();
        let mut service = WriteGate::new(leadership).layer(service_fn(move |request: Request<Body>| {
            ends.set(None);
            async move {
                let body = http_body_util::BodyExt::collect(GatedBody::wrap(request).into_body()).await?;
                Ok::<_, BoxError>(Response::new(body))
            }
        }));
        let error = service
            .ready()
            .await
            .unwrap()
            .call(request(Method::POST))
            .await
            .unwrap_err();
        assert!(find_not_leader(error.as_ref()), "{error}");
    }
}
