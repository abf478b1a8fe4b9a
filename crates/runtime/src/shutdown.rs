//! The end of a process: asked for once, seen by all.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// A request to stop that every task can wait for. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    grace: Duration,
}

impl Shutdown {
    /// One that only [`trigger`](Self::trigger) sets off. Tasks have `grace` to end afterwards.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        Self { token: CancellationToken::new(), grace }
    }

    /// One that SIGTERM and SIGINT set off. A second signal, or `grace` running out, ends the process at once with status 1.
    ///
    /// # Errors
    ///
    /// When the process cannot listen for signals.
    pub fn on_signals(grace: Duration) -> std::io::Result<Self> {
        let _ = grace;
        todo!()
    }

    /// Asks everybody to stop. More calls change nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Returns when a stop was asked for; at once if it was already.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        let token = self.token.clone();
        async move { token.cancelled_owned().await }
    }

    /// Whether a stop was asked for.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// How long tasks have to end after the request.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace
    }
}
