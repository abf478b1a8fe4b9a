//! The threads that carry streams.
//!
//! A stream stays on the thread that it was given at its beginning. On a runtime that moves tasks between threads each key
//! and each answer wakes another thread to look for work: a fifth of the system calls of 100 busy streams were that. What a
//! thread has to do for one stream at once is bounded by the relay, so streams of one thread do not wait long for each other.

use std::{
    io,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use tokio::runtime::{Builder, Handle};

/// More threads than this carry more than one network interface does.
const THREADS_LIMIT: usize = 16;

struct Workers {
    handles: Vec<Handle>,
    next: AtomicUsize,
}

/// They live as long as the process, as the streams may.
static WORKERS: LazyLock<Workers> = LazyLock::new(|| {
    let count = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_LIMIT);
    let handles = (0..count).filter_map(|number| match start(number) {
        Ok(handle) => Some(handle),
        Err(error) => {
            tracing::warn!(%error, "cannot start a thread for streams");
            None
        }
    });
    Workers {
        handles: handles.collect(),
        next: AtomicUsize::new(0),
    }
});

fn start(number: usize) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name(format!("streams-{number}"))
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Runs a task on the next of the threads; on the caller's runtime when there are none.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    let next = WORKERS.next.fetch_add(1, Relaxed);
    let count = WORKERS.handles.len().max(1);
    match WORKERS.handles.get(next % count) {
        Some(worker) => drop(worker.spawn(task)),
        None => drop(tokio::spawn(task)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn tasks_take_turns_on_threads_of_their_own() {
        let mut names = Vec::new();
        for _ in 0..WORKERS.handles.len() {
            let (tell, told) = oneshot::channel();
            spawn(async move { drop(tell.send(thread::current().name().map(str::to_owned))) });
            names.push(told.await.unwrap().unwrap());
        }
        assert!(names.iter().all(|name| name.starts_with("streams-")), "{names:?}");
    }
}
