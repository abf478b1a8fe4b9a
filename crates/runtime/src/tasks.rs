//! Background tasks that have names: whose end is logged, with its panic.

use std::{any::Any, collections::HashMap};

use tokio::task::{Id, JoinError, JoinSet};

use crate::shutdown::Shutdown;

/// A background task that ended although it never should. The process ends with it, and is started again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task {name:?} {}; the process ends to start over", how(.panic.as_deref()))]
pub struct TaskEnded {
    /// The task's name.
    pub name: &'static str,
    /// The text of its panic; `None` when it returned.
    pub panic: Option<String>,
}

fn how(panic: Option<&str>) -> String {
    panic.map_or_else(|| "ended by itself".to_owned(), |text| format!("panicked: {text}"))
}

/// Tasks by name. Names need not be unique. Dropping the set aborts what is left of them.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// No tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` under a name.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits for the first task to end, and logs it as an error. Never returns while there are no tasks, so it can stand in a
    /// `select!` beside what the tasks are for. Cancel safe.
    pub async fn first_end(&mut self) -> TaskEnded {
        let Some(ended) = self.next_end().await else {
            return std::future::pending().await;
        };
        tracing::error!(task = ended.name, panic = ended.panic, "a background task ended");
        ended
    }

    /// Waits until all tasks have ended, as they should after the request to stop; a panic is logged.
    pub async fn join_all(&mut self) {
        while let Some(ended) = self.next_end().await {
            if let Some(panic) = ended.panic {
                tracing::error!(task = ended.name, panic, "a background task panicked while it stopped");
            }
        }
    }

    /// How many tasks have not been seen to end.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether there are no tasks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    async fn next_end(&mut self) -> Option<TaskEnded> {
        let (id, panic) = match self.set.join_next_with_id().await? {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(text(error))),
        };
        Some(TaskEnded {
            name: self.names.remove(&id).unwrap_or("unnamed"),
            panic,
        })
    }
}

/// The text of a panic; what else a [`JoinError`] can be is that the task was aborted.
/// Runs a task of no role until the process is asked to stop. One that ends before, which it never should, is logged and stops the
/// process to start over: without it, a certificate would run out some day and nobody would know why.
pub fn spawn_until(name: &'static str, shutdown: Shutdown, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = Tasks::new();
    tasks.spawn(name, task);
    tokio::spawn(async move {
        tokio::select! {
            _ = tasks.first_end() => shutdown.trigger(),
            () = shutdown.wait() => {}
        }
    });
}

fn text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => panic_text(&*payload).to_owned(),
        Err(error) => error.to_string(),
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("(a panic without a text)")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_task_has_its_name_and_its_panic() {
        let mut tasks = Tasks::new();
        tasks.spawn("lease", std::future::pending());
        tasks.spawn("watch", async { panic!("no {}", "luck") });
        let ended = tasks.first_end().await;
        assert_eq!((ended.name, ended.panic.as_deref()), ("watch", Some("no luck")));
        assert_eq!(
            ended.to_string(),
            "the task \"watch\" panicked: no luck; the process ends to start over"
        );
        tasks.spawn("watch", async {});
        assert_eq!(
            tasks.first_end().await.to_string(),
            "the task \"watch\" ended by itself; the process ends to start over"
        );
        assert_eq!(tasks.len(), 1, "one more task of the same name took nothing away");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_of_the_process_that_ends_early_stops_it() {
        let (running, broken) = (Shutdown::new(Duration::ZERO), Shutdown::new(Duration::ZERO));
        spawn_until("rotation", running.clone(), std::future::pending());
        spawn_until("rotation", broken.clone(), async { panic!("no key") });
        broken.wait().await;
        assert!(!running.is_triggered());
    }

    #[tokio::test(start_paused = true)]
    async fn without_tasks_none_ends() {
        let mut tasks = Tasks::new();
        let waited = tokio::time::timeout(Duration::from_secs(1), tasks.first_end()).await;
        assert!(waited.is_err());
        tasks.spawn("stopping", async { panic!("late") });
        tasks.join_all().await;
        assert!(tasks.is_empty());
    }
}
