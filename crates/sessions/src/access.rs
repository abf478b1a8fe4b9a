//! Who has which right in Kubernetes, remembered for a short time and shared by all streams that ask the same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use kube::{Api, Client, api::PostParams};
use novasphere_core::console_session::access::review;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// How old an answer may be when a stream is opened. It spares a crowd of viewers of one session a question each.
pub const FRESH: Duration = Duration::from_secs(3);

/// How old the answer for an open stream may become; with a round of questions it stays below the promised 30 s.
pub const RECHECK: Duration = Duration::from_secs(20);

/// How old a refusal may be: somebody may just be getting the right.
const REFUSED: Duration = Duration::from_secs(1);

/// Answers that are remembered. When there are more, those that nobody asked for lately are forgotten.
const CAPACITY: usize = 50_000;

/// How long kube-apiserver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A person, as kube-apiserver knows him.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// The name.
    pub name: String,
    /// The groups.
    pub groups: Vec<String>,
}

/// Why it is not known whether a user has a right.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// kube-apiserver does not answer, or not to us.
    #[error("cannot ask for the user's rights: {0}")]
    Api(#[source] Box<kube::Error>),
    /// kube-apiserver takes too long.
    #[error("kube-apiserver did not say within {} s whether the user has the right", TIMEOUT.as_secs())]
    Timeout,
}

/// Asks kube-apiserver. Clones share the answers.
#[derive(Clone)]
pub struct AccessChecker {
    reviews: Api<SubjectAccessReview>,
    answers: Arc<Mutex<HashMap<Question, Slot>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    user: User,
    right: [Option<String>; 7],
}

type Slot = Arc<tokio::sync::Mutex<Option<(Instant, bool)>>>;

impl AccessChecker {
    /// A checker without answers. `client` needs `create` on `subjectaccessreviews`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            reviews: Api::all(client),
            answers: Arc::default(),
        }
    }

    /// Whether the user has the right. An answer that is not older than `max_age` is taken as it is; those who ask the same
    /// at the same time share one question.
    ///
    /// # Errors
    ///
    /// [`AccessError`] when it cannot be known now.
    pub async fn allows(
        &self,
        user: &User,
        attributes: &ResourceAttributes,
        max_age: Duration,
    ) -> Result<bool, AccessError> {
        let slot = self.slot(user, attributes);
        let mut answer = slot.lock().await;
        if let Some((at, allowed)) = *answer
            && at.elapsed() <= if allowed { max_age } else { max_age.min(REFUSED) }
        {
            return Ok(allowed);
        }
        let review = review(&user.name, &user.groups, attributes.clone());
        // The age of an answer is that of the question: what changed after it may not be in it.
        let asked = Instant::now();
        let reply = timeout(TIMEOUT, self.reviews.create(&PostParams::default(), &review))
            .await
            .map_err(|_| AccessError::Timeout)?
            .map_err(|error| AccessError::Api(Box::new(error)))?;
        let allowed = reply.status.is_some_and(|status| status.allowed);
        *answer = Some((asked, allowed));
        Ok(allowed)
    }

    fn slot(&self, user: &User, attributes: &ResourceAttributes) -> Slot {
        let question = Question {
            user: user.clone(),
            right: right(attributes),
        };
        let mut answers = self.answers.lock();
        if answers.len() >= CAPACITY {
            answers.retain(|_, slot| is_recent(slot));
        }
        if answers.len() >= CAPACITY {
            answers.clear();
        }
        Arc::clone(answers.entry(question).or_default())
    }
}

fn right(attributes: &ResourceAttributes) -> [Option<String>; 7] {
    let ResourceAttributes {
        group,
        name,
        namespace,
        resource,
        subresource,
        verb,
        version,
        ..
    } = attributes.clone();
    [group, version, resource, subresource, namespace, name, verb]
}

/// One that is being asked now is.
fn is_recent(slot: &Slot) -> bool {
    slot.try_lock()
        .map_or(true, |answer| answer.is_some_and(|(at, _)| at.elapsed() <= RECHECK))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// Allows everything to ann, and counts.
    fn checker() -> (AccessChecker, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            counter.fetch_add(1, SeqCst);
            async move {
                let body = request.into_body().collect_bytes().await.unwrap();
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                let allowed = review["spec"]["user"] == "ann";
                review["status"] = json!({"allowed": allowed});
                tokio::task::yield_now().await;
                Ok::<_, std::io::Error>(Response::new(Body::from(serde_json::to_vec(&review).unwrap())))
            }
        });
        (AccessChecker::new(Client::new(service, "default")), asked)
    }

    fn user(name: &str) -> User {
        User {
            name: name.into(),
            groups: vec!["staff".into()],
        }
    }

    fn look(name: &str) -> ResourceAttributes {
        ResourceAttributes {
            name: Some(name.into()),
            verb: Some("get".into()),
            ..ResourceAttributes::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_asks_once_and_again_when_the_answer_is_old() {
        let (checker, asked) = checker();
        let (ann, right) = (user("ann"), look("web"));
        let crowd = (0..50).map(|_| checker.allows(&ann, &right, FRESH));
        for allowed in futures::future::join_all(crowd).await {
            assert!(allowed.unwrap());
        }
        assert_eq!(asked.load(SeqCst), 1);
        tokio::time::advance(FRESH * 2).await;
        assert!(checker.allows(&ann, &right, RECHECK).await.unwrap());
        assert_eq!(asked.load(SeqCst), 1);
        assert!(checker.allows(&ann, &right, FRESH).await.unwrap());
        assert_eq!(asked.load(SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_one_user_and_target_are_not_those_of_another() {
        let (checker, asked) = checker();
        assert!(checker.allows(&user("ann"), &look("web"), FRESH).await.unwrap());
        assert!(!checker.allows(&user("ben"), &look("web"), FRESH).await.unwrap());
        assert!(checker.allows(&user("ann"), &look("db"), FRESH).await.unwrap());
        assert_eq!(asked.load(SeqCst), 3);
    }
}
