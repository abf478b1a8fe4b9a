//! The end of a process: asked for once, seen by all.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
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
        Self {
            token: CancellationToken::new(),
            grace,
        }
    }

    /// One that SIGTERM and SIGINT set off as well. A second signal, or `grace` running out, ends the process at once with status 1.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the process cannot listen for signals.
    pub fn on_signals(grace: Duration) -> std::io::Result<Self> {
        let shutdown = Self::new(grace);
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        tokio::spawn(follow_signals(shutdown.clone(), signals));
        Ok(shutdown)
    }

    /// Asks everybody to stop. More calls change nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Returns when a stop was asked for; at once if it was already.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        self.token.clone().cancelled_owned()
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

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn follow_signals(shutdown: Shutdown, mut signals: Signals) {
    tokio::select! {
        name = signals.next() => tracing::info!("{name}: stopping, within {:?}; a second signal stops at once", shutdown.grace),
        () = shutdown.wait() => {}
    }
    shutdown.trigger();
    tokio::select! {
        name = signals.next() => tracing::warn!("{name} again: stopping at once"),
        () = tokio::time::sleep(shutdown.grace) => tracing::error!("not stopped within {:?}: stopping at once", shutdown.grace),
    }
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_clones_see_a_trigger_before_and_after_waiting() {
        let shutdown = Shutdown::new(Duration::from_secs(1));
        let (early, seen) = (shutdown.clone().wait(), shutdown.clone());
        assert!(!shutdown.is_triggered());
        shutdown.trigger();
        early.await;
        seen.wait().await;
        assert!(seen.is_triggered());
    }
}
