//! Cuts a controller off at its n-th write, as if the process were killed there.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::{Method, Request};
use kube::client::Body;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tower::{Layer, Service};

/// On which side of the write the controller dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The server never sees the write.
    Before,
    /// The server has done it; the controller never hears the answer.
    After,
}

/// Where to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The number of the write, from 1.
    pub write: usize,
    /// Before or after it.
    pub side: Side,
}

/// Counts the writes of one client and cuts it off. Put it next to the wire, as
/// a layer of the client. Once cut, nothing that the client sends reaches the
/// server and nothing that it asked is answered.
#[derive(Clone, Debug)]
pub struct Fault {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cut: Option<Cut>,
    seen: AtomicUsize,
    dead: AtomicBool,
    died: Notify,
    log: Mutex<Vec<String>>,
}

impl Fault {
    /// A fault that cuts off at `cut`, or never.
    #[must_use]
    pub fn new(cut: Option<Cut>) -> Self {
        Self {
            shared: Arc::new(Shared {
                cut,
                seen: AtomicUsize::new(0),
                dead: AtomicBool::new(false),
                died: Notify::new(),
                log: Mutex::new(Vec::new()),
            }),
        }
    }

    /// Returns when the client has been cut off.
    pub async fn died(&self) {
        loop {
            let notified = self.shared.died.notified();
            if self.is_dead() {
                return;
            }
            notified.await;
        }
    }

    /// Whether the cut has happened.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.shared.dead.load(Ordering::SeqCst)
    }

    /// The writes that were asked for, in order.
    #[must_use]
    pub fn writes(&self) -> Vec<String> {
        self.shared.log.lock().clone()
    }
}

impl<S> Layer<S> for Fault {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A transport with a [`Fault`] in front.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone takes the next call; the one that is ready takes this.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let cut = shared.passes(write_of(&request)).await;
            let answer = inner.call(request).await;
            if cut {
                shared.die();
            }
            if shared.dead.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

impl Shared {
    /// Returns whether to die after this request; never returns when dead.
    async fn passes(&self, write: Option<String>) -> bool {
        if let Some(write) = write
            && !self.dead.load(Ordering::SeqCst)
        {
            let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
            self.log.lock().push(write);
            match self.cut {
                Some(cut) if cut.write == number && cut.side == Side::After => return true,
                Some(cut) if cut.write == number => self.die(),
                _ => {}
            }
        }
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        false
    }

    fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
        self.died.notify_waiters();
    }
}

/// Method and path of a write. The lease is no write of a reconcile, and a
/// review stores nothing.
fn write_of(request: &http::Request<Body>) -> Option<String> {
    let path = request.uri().path();
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && !path.contains("/leases")
        && !path.starts_with("/apis/authorization.k8s.io/");
    writes.then(|| format!("{} {path}", request.method()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Response;
    use kube::Client;
    use tower::service_fn;

    use super::*;

    /// A client of a server that counts, with the fault between them.
    fn client(fault: &Fault, count: &Arc<AtomicUsize>) -> Client {
        let count = Arc::clone(count);
        let server = service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, std::io::Error>(Response::new(Body::empty())) }
        });
        Client::new(fault.layer(server), "default")
    }

    async fn post(client: &Client) -> bool {
        let request = Request::post("/api/v1/namespaces/a/services")
            .body(Body::empty())
            .expect("a request");
        tokio::time::timeout(Duration::from_millis(50), client.send(request))
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn before_hides_the_write_from_the_server() {
        let count = Arc::new(AtomicUsize::new(0));
        let fault = Fault::new(Some(Cut {
            write: 2,
            side: Side::Before,
        }));
        let client = client(&fault, &count);
        assert!(post(&client).await && !fault.is_dead());
        assert!(!post(&client).await && fault.is_dead());
        fault.died().await;
        assert!(!post(&client).await);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(fault.writes().len(), 2);
    }

    #[tokio::test]
    async fn after_hides_the_answer_from_the_client() {
        let count = Arc::new(AtomicUsize::new(0));
        let fault = Fault::new(Some(Cut {
            write: 1,
            side: Side::After,
        }));
        let client = client(&fault, &count);
        assert!(!post(&client).await && fault.is_dead());
        assert!(!post(&client).await);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
