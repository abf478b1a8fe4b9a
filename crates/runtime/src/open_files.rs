//! How many files, and so connections, the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one, and logs both. A stream takes two files, and service managers leave the
/// soft limit at 1,024 for the sake of programs that still use `select(2)`, which nothing here does (systemd.exec(5),
/// `LimitNOFILE`).
///
/// A limit that cannot be raised is logged, and the process goes on with it.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, soft = current, hard = maximum, "cannot raise the limit of open files");
        return;
    }
    tracing::info!(before = current, now = maximum, "limit of open files");
}

/// The limit as it is now; `None` is no limit.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_allowed_is_taken() {
        raise();
        assert_eq!(limit(), getrlimit(Resource::Nofile).maximum);
    }
}
