//! Cuts a controller off at its n-th write, as if the process were killed there.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use http::Method;
use kube::{Client, client::Body};
use tokio::sync::Notify;
use tower::service_fn;

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

/// Counts the writes of one client and cuts it off.
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
    /// A client that is cut off at `cut`, or never.
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

    /// The client with the fault in it. Once cut, nothing it sends reaches the
    /// server and nothing it asked is answered.
    #[must_use]
    pub fn wrap(&self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let shared = Arc::clone(&self.shared);
        let service = service_fn(move |request: http::Request<Body>| {
            let client = client.clone();
            let shared = Arc::clone(&shared);
            async move {
                let cut = shared.passes(write_of(&request)).await;
                let answer = client.send(request).await;
                if cut {
                    shared.die();
                }
                if shared.dead.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                answer
            }
        });
        Client::new(service, namespace)
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
        self.shared.log.lock().map(|log| log.clone()).unwrap_or_default()
    }
}

impl Shared {
    /// Returns whether to die after this request; never returns when dead.
    async fn passes(&self, write: Option<String>) -> bool {
        if let Some(write) = write
            && !self.dead.load(Ordering::SeqCst)
        {
            let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
            if let Ok(mut log) = self.log.lock() {
                log.push(write);
            }
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

    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    fn server(count: Arc<AtomicUsize>) -> Client {
        let service = service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, std::io::Error>(Response::new(Body::empty())) }
        });
        Client::new(service, "default")
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
        let client = fault.wrap(server(Arc::clone(&count)));
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
        let client = fault.wrap(server(Arc::clone(&count)));
        assert!(!post(&client).await && fault.is_dead());
        assert!(!post(&client).await);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
