//! What every serving role does alike: take an address, have a certificate, accept connections within limits, and stop without
//! dropping clients that load balancers still send.
//!
//! A role's own file is its own logic: it calls [`bind`] and [`certificate`], spawns its listeners into [`Listeners`], and waits
//! for [`Listeners::drained`].

mod accept;
mod certificate;
mod places;
mod request_head;
pub mod status;

use std::{io, net::SocketAddr, time::Duration};

use tokio::{net::TcpListener, time::sleep};

pub use self::{
    accept::accept,
    certificate::{Certificate, CertificateSource, certificate},
    places::{Place, PlaceLimit, PlaceLimits, Places, network},
    request_head::{StrictHead, host_refusal},
};
use crate::{
    ca::CaError,
    shutdown::Shutdown,
    tasks::{TaskEnded, Tasks},
    tls::TlsError,
};

/// From the request to stop until no connection is accepted any more. Load balancers and kube-apiserver learn in that time that
/// the process is not ready.
pub const UNREADY_GRACE: Duration = Duration::from_secs(2);

/// Why a role cannot serve. Settings are named by their path in the configuration file.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address is taken, or not of this machine.
    #[error("{setting}: cannot listen on {address}: {source}")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Only one of certificate and key is set.
    #[error("{setting}: only one of certificateFile and keyFile is set; set both, or neither")]
    HalfPair {
        /// The section of the two settings.
        setting: &'static str,
    },
    /// The certificate of the files cannot be used.
    #[error("{setting}: {source}")]
    Tls {
        /// The section of the certificate's settings.
        setting: &'static str,
        /// Why not.
        source: TlsError,
    },
    /// There is no certificate of novasphere's own authority.
    #[error(transparent)]
    Authority(CaError),
    /// A listener or another task of the role ended, which it never should.
    #[error(transparent)]
    TaskEnded(#[from] TaskEnded),
}

/// Listens on an address; `setting` names it in errors and in the log.
///
/// # Errors
///
/// [`ServeError::Listen`].
pub async fn bind(setting: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).await.map_err(|source| ServeError::Listen {
        setting,
        address,
        source,
    })?;
    tracing::info!(setting, address = ?listener.local_addr().ok(), "listening");
    Ok(listener)
}

/// The listeners of a role, which stop some time after the process is asked to.
#[derive(Debug)]
pub struct Listeners {
    tasks: Tasks,
    shutdown: Shutdown,
    stop: Shutdown,
}

impl Listeners {
    /// No listeners yet, of a process that is asked to stop by `shutdown`.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            tasks: Tasks::new(),
            stop: Shutdown::new(shutdown.grace()),
            shutdown,
        }
    }

    /// Returns when the listeners are to accept no more connections.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        self.stop.wait()
    }

    /// Runs a listener, which has to end when [`stopped`](Self::stopped) returns.
    pub fn spawn(&mut self, name: &'static str, listener: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, listener);
    }

    /// Waits for the request to stop, then for [`UNREADY_GRACE`], then for the ends of all listeners. `background` are the other
    /// tasks of the role.
    ///
    /// # Errors
    ///
    /// [`TaskEnded`] when a task ended before the request to stop.
    pub async fn drained(mut self, background: &mut Tasks) -> Result<(), TaskEnded> {
        let result = tokio::select! {
            () = self.shutdown.wait() => Ok(()),
            ended = self.tasks.first_end() => Err(ended),
            ended = background.first_end() => Err(ended),
        };
        if result.is_ok() {
            // A second signal ends the process at once, so nothing has to cut this short.
            sleep(UNREADY_GRACE).await;
        }
        self.stop.trigger();
        self.tasks.join_all().await;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn listeners_go_on_until_the_process_is_known_to_be_unready() {
        let shutdown = Shutdown::new(Duration::ZERO);
        let mut listeners = Listeners::new(shutdown.clone());
        let stopped = listeners.stopped();
        let until = tokio::spawn(async move {
            stopped.await;
            tokio::time::Instant::now()
        });
        let stopped = listeners.stopped();
        listeners.spawn("http", stopped);
        let asked = tokio::time::Instant::now();
        shutdown.trigger();
        assert_eq!(listeners.drained(&mut Tasks::new()).await, Ok(()));
        assert_eq!(until.await.unwrap() - asked, UNREADY_GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_early_ends_the_role_with_its_name() {
        let mut listeners = Listeners::new(Shutdown::new(Duration::ZERO));
        let stopped = listeners.stopped();
        listeners.spawn("http", stopped);
        let mut background = Tasks::new();
        background.spawn("front proxy", async {});
        let ended = listeners.drained(&mut background).await.unwrap_err();
        assert_eq!(ended.name, "front proxy");
    }

    #[tokio::test]
    async fn a_busy_address_is_named_with_its_setting() {
        let taken = bind("console.http.address", "127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let error = bind("console.http.address", taken.local_addr().unwrap())
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("console.http.address: cannot listen on 127.0.0.1:"),
            "{text}"
        );
    }
}
