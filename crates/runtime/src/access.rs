//! Which rights a user has in Kubernetes: `SubjectAccessReview`, remembered for a short time and shared by all that ask the same.
//!
//! A review names the user with UID, groups and extra, as kube-apiserver's own authorization does: an authorizer that limits by
//! `extra` (`OpenShift`'s token scopes, webhooks) would otherwise be asked about a user with more rights than the caller has.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

/// The age that an answer may have when a stream is opened. A crowd of viewers of one session then costs one review.
pub const FRESH_TTL: Duration = Duration::from_secs(3);

/// The age that the answer for an open stream may reach; with one round of reviews it stays below the promised 30 s.
pub const RECHECK_TTL: Duration = Duration::from_secs(20);

/// The age that a denial may have: the right may just have been granted.
const DENIED_TTL: Duration = Duration::from_secs(1);

/// Answers that are remembered. Above it, those that nobody asked for lately are forgotten.
const CACHE_LIMIT: usize = 50_000;

/// The time that kube-apiserver may take to answer.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// A Kubernetes user as kube-apiserver has authenticated them, like `k8s.io/api/authentication/v1.UserInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UserInfo {
    /// The name; never empty.
    pub name: String,
    /// The UID, when the authenticator gives one.
    pub uid: Option<String>,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the authenticator says of the user, such as the scopes of a token.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// The review of one right of this user.
    #[must_use]
    pub fn review(&self, right: ResourceAttributes) -> SubjectAccessReview {
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(self.name.clone()),
                uid: self.uid.clone(),
                groups: Some(self.groups.clone()),
                extra: (!self.extra.is_empty()).then(|| self.extra.clone()),
                resource_attributes: Some(right),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }
}

/// The sentence for a user without a right: it names the missing verb and resource.
#[must_use]
pub fn missing_right(user: &str, right: &ResourceAttributes) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!(
        "user {user:?} may not {} {}/{} {:?} in API group {:?} in the namespace {:?}; ask for a Role with this verb on this \
         resource",
        part(&right.verb),
        part(&right.resource),
        part(&right.subresource),
        part(&right.name),
        part(&right.group),
        part(&right.namespace),
    )
}

/// Why it is not known whether a user has a right.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// kube-apiserver does not answer, or refuses the review itself.
    #[error("cannot ask for the user's rights: {0}")]
    Api(#[source] Box<kube::Error>),
    /// kube-apiserver takes too long.
    #[error("kube-apiserver did not say within {} s whether the user has the right", REVIEW_TIMEOUT.as_secs())]
    Timeout,
}

/// Why a user may not go on.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The user does not have the right. The text names the verb and the resource, and the authorizer's reason if it gives one.
    #[error("{0}")]
    Denied(String),
    /// It is not known now.
    #[error(transparent)]
    Unknown(#[from] ReviewError),
}

/// Asks kube-apiserver for rights. Clones share the answers.
#[derive(Clone)]
pub struct AccessReviewer {
    reviews: Api<SubjectAccessReview>,
    answers: Arc<Mutex<HashMap<QuestionHash, Slot>>>,
}

/// SHA-256 of user and right. Who asks decides how long they are: 50,000 of them as they are would be gigabytes.
type QuestionHash = [u8; 32];

#[derive(Clone, Debug)]
struct Answer {
    asked_at: Instant,
    allowed: bool,
    reason: Option<String>,
}

/// What is known of one question. Who holds the lock asks.
#[derive(Debug, Default)]
struct Asked {
    answer: Option<Answer>,
    /// When the last review was asked for that got no answer in time.
    timed_out: Option<Instant>,
}

type Slot = Arc<tokio::sync::Mutex<Asked>>;

impl AccessReviewer {
    /// A reviewer without answers. `client` needs `create` on `subjectaccessreviews`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            reviews: Api::all(client),
            answers: Arc::default(),
        }
    }

    /// Whether the user has the right. An answer that is at most `max_age` old is used as it is; concurrent calls with the same
    /// question share one review.
    ///
    /// # Errors
    ///
    /// [`ReviewError`] when it cannot be known now.
    pub async fn allows(
        &self,
        user: &UserInfo,
        right: &ResourceAttributes,
        max_age: Duration,
    ) -> Result<bool, ReviewError> {
        Ok(self.answer(user, right, max_age).await?.allowed)
    }

    /// Succeeds only when the user has the right; otherwise as [`allows`](Self::allows).
    ///
    /// # Errors
    ///
    /// [`AccessError`]: the missing right by name, or why it is not known.
    pub async fn require(
        &self,
        user: &UserInfo,
        right: &ResourceAttributes,
        max_age: Duration,
    ) -> Result<(), AccessError> {
        let answer = self.answer(user, right, max_age).await?;
        if answer.allowed {
            return Ok(());
        }
        let sentence = missing_right(&user.name, right);
        Err(AccessError::Denied(match answer.reason {
            Some(reason) => format!("{sentence} ({reason})"),
            None => sentence,
        }))
    }

    async fn answer(
        &self,
        user: &UserInfo,
        right: &ResourceAttributes,
        max_age: Duration,
    ) -> Result<Answer, ReviewError> {
        let slot = self.slot(user, right);
        let came_at = Instant::now();
        let mut asked = slot.lock().await;
        if let Some(answer) = asked.answer.as_ref()
            && answer.asked_at.elapsed()
                <= if answer.allowed {
                    max_age
                } else {
                    max_age.min(DENIED_TTL)
                }
        {
            return Ok(answer.clone());
        }
        // A crowd that waited for a review without an answer must not wait for another one each, in turn.
        if asked.timed_out.is_some_and(|asked_at| asked_at >= came_at) {
            return Err(ReviewError::Timeout);
        }
        let review = user.review(right.clone());
        // The age of an answer is that of its question: a change after it may not be in the answer.
        let asked_at = Instant::now();
        let reply = timeout(REVIEW_TIMEOUT, self.reviews.create(&PostParams::default(), &review)).await;
        let Ok(reply) = reply else {
            asked.timed_out = Some(asked_at);
            return Err(ReviewError::Timeout);
        };
        let reply = reply.map_err(|error| ReviewError::Api(Box::new(error)))?;
        let status = reply.status.unwrap_or_default();
        let answer = Answer {
            asked_at,
            allowed: status.allowed,
            reason: status.reason.filter(|reason| !reason.is_empty()),
        };
        asked.answer = Some(answer.clone());
        Ok(answer)
    }

    fn slot(&self, user: &UserInfo, right: &ResourceAttributes) -> Slot {
        let question = hash_of(user, right);
        let mut answers = self.answers.lock();
        if answers.len() >= CACHE_LIMIT {
            answers.retain(|_, slot| is_recent(slot));
        }
        if answers.len() >= CACHE_LIMIT {
            answers.clear();
        }
        Arc::clone(answers.entry(question).or_default())
    }
}

/// Each part is hashed with its length, and each list with its end, so that no two questions are hashed alike. The selectors of
/// `ResourceAttributes` are never set here.
fn hash_of(user: &UserInfo, right: &ResourceAttributes) -> QuestionHash {
    let mut hasher = Sha256::new();
    let mut part = |text: Option<&str>| match text {
        Some(text) => {
            hasher.update([1]);
            hasher.update(text.len().to_be_bytes());
            hasher.update(text);
        }
        None => hasher.update([0]),
    };
    let ResourceAttributes {
        group,
        name,
        namespace,
        resource,
        subresource,
        verb,
        version,
        ..
    } = right;
    for text in [group, name, namespace, resource, subresource, verb, version] {
        part(text.as_deref());
    }
    part(Some(&user.name));
    part(user.uid.as_deref());
    for group in &user.groups {
        part(Some(group));
    }
    part(None);
    for (key, values) in &user.extra {
        part(Some(key));
        for value in values {
            part(Some(value));
        }
        part(None);
    }
    hasher.finalize().into()
}

/// A question under way counts as recent.
fn is_recent(slot: &Slot) -> bool {
    slot.try_lock().map_or(true, |asked| {
        asked
            .answer
            .as_ref()
            .is_some_and(|answer| answer.asked_at.elapsed() <= RECHECK_TTL)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// Allows everything to ann unless her token has the scope `none`, and keeps what was asked.
    #[derive(Clone, Default)]
    struct Cluster {
        asked: Arc<AtomicUsize>,
        last: Arc<Mutex<Value>>,
    }

    impl Cluster {
        fn reviewer(&self) -> AccessReviewer {
            let this = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let this = this.clone();
                async move {
                    this.asked.fetch_add(1, SeqCst);
                    let body = request.into_body().collect_bytes().await.unwrap();
                    let mut review: Value = serde_json::from_slice(&body).unwrap();
                    *this.last.lock() = review.clone();
                    let allowed =
                        review["spec"]["user"] == "ann" && review["spec"]["extra"]["scopes"] != json!(["none"]);
                    review["status"] =
                        json!({"allowed": allowed, "reason": if allowed { "" } else { "no RoleBinding" }});
                    tokio::task::yield_now().await;
                    Ok::<_, std::io::Error>(Response::new(Body::from(serde_json::to_vec(&review).unwrap())))
                }
            });
            AccessReviewer::new(Client::new(service, "default"))
        }

        fn asked(&self) -> usize {
            self.asked.load(SeqCst)
        }
    }

    fn user(name: &str) -> UserInfo {
        UserInfo {
            name: name.into(),
            groups: vec!["staff".into()],
            ..UserInfo::default()
        }
    }

    fn scoped(scope: &str) -> UserInfo {
        UserInfo {
            uid: Some("42".into()),
            extra: BTreeMap::from([("scopes".to_owned(), vec![scope.to_owned()])]),
            ..user("ann")
        }
    }

    fn view(name: &str) -> ResourceAttributes {
        ResourceAttributes {
            name: Some(name.into()),
            verb: Some("get".into()),
            resource: Some("consolesessions".into()),
            subresource: Some("connect".into()),
            namespace: Some("team".into()),
            ..ResourceAttributes::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_asks_once_and_again_when_the_answer_is_old() {
        let cluster = Cluster::default();
        let reviewer = cluster.reviewer();
        let (ann, right) = (user("ann"), view("web"));
        let crowd = (0..50).map(|_| reviewer.allows(&ann, &right, FRESH_TTL));
        for allowed in futures::future::join_all(crowd).await {
            assert!(allowed.unwrap());
        }
        assert_eq!(cluster.asked(), 1);
        tokio::time::advance(FRESH_TTL * 2).await;
        assert!(reviewer.allows(&ann, &right, RECHECK_TTL).await.unwrap());
        assert_eq!(cluster.asked(), 1);
        assert!(reviewer.allows(&ann, &right, FRESH_TTL).await.unwrap());
        assert_eq!(cluster.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_one_user_and_target_are_not_those_of_another() {
        let cluster = Cluster::default();
        let reviewer = cluster.reviewer();
        assert!(reviewer.allows(&user("ann"), &view("web"), FRESH_TTL).await.unwrap());
        assert!(!reviewer.allows(&user("ben"), &view("web"), FRESH_TTL).await.unwrap());
        assert!(reviewer.allows(&user("ann"), &view("db"), FRESH_TTL).await.unwrap());
        assert_eq!(cluster.asked(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn one_name_with_another_extra_or_uid_is_another_user() {
        let cluster = Cluster::default();
        let reviewer = cluster.reviewer();
        assert!(reviewer.allows(&user("ann"), &view("web"), FRESH_TTL).await.unwrap());
        assert!(!reviewer.allows(&scoped("none"), &view("web"), FRESH_TTL).await.unwrap());
        assert!(reviewer.allows(&scoped("all"), &view("web"), FRESH_TTL).await.unwrap());
        let other = UserInfo {
            uid: Some("43".into()),
            ..scoped("all")
        };
        assert!(reviewer.allows(&other, &view("web"), FRESH_TTL).await.unwrap());
        assert_eq!(cluster.asked(), 4);
    }

    #[tokio::test]
    async fn the_whole_user_is_asked_about() {
        let cluster = Cluster::default();
        let reviewer = cluster.reviewer();
        reviewer
            .require(&scoped("a"), &view("web"), Duration::ZERO)
            .await
            .unwrap();
        let sent = cluster.last.lock().clone();
        assert_eq!(sent["spec"]["user"], "ann");
        assert_eq!(sent["spec"]["uid"], "42");
        assert_eq!(sent["spec"]["groups"], json!(["staff"]));
        assert_eq!(sent["spec"]["extra"], json!({"scopes": ["a"]}));
        let right = &sent["spec"]["resourceAttributes"];
        assert_eq!(
            (&right["verb"], &right["subresource"]),
            (&json!("get"), &json!("connect"))
        );
    }

    #[tokio::test]
    async fn a_missing_right_is_named() {
        let reviewer = Cluster::default().reviewer();
        let denied = reviewer.require(&user("ben"), &view("web"), FRESH_TTL).await;
        let AccessError::Denied(text) = denied.unwrap_err() else {
            panic!("the answer is known");
        };
        for part in ["ben", "get", "consolesessions/connect", "web", "team", "no RoleBinding"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn the_verb_and_the_resource_are_named() {
        let right = ResourceAttributes {
            verb: Some("update".into()),
            resource: Some("vmaccesses".into()),
            subresource: Some("console".into()),
            ..view("web")
        };
        let sentence = missing_right("ben", &right);
        assert!(sentence.contains("update vmaccesses/console"), "{sentence}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_waits_for_one_answer_that_does_not_come_and_not_for_one_each() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let service = tower::service_fn(move |_: Request<Body>| {
            counter.fetch_add(1, SeqCst);
            std::future::pending::<Result<Response<Body>, std::io::Error>>()
        });
        let reviewer = AccessReviewer::new(Client::new(service, "default"));
        let (ann, right, start) = (user("ann"), view("web"), Instant::now());
        let crowd = (0..50).map(|_| reviewer.allows(&ann, &right, FRESH_TTL));
        for answer in futures::future::join_all(crowd).await {
            assert!(matches!(answer, Err(ReviewError::Timeout)));
        }
        assert_eq!((asked.load(SeqCst), start.elapsed()), (1, REVIEW_TIMEOUT));
        assert!(reviewer.allows(&ann, &right, FRESH_TTL).await.is_err());
        assert_eq!(asked.load(SeqCst), 2, "who comes later asks again");
    }

    #[test]
    fn parts_of_a_question_cannot_pass_for_others() {
        let with = |groups: &[&str], extra: &[(&str, &[&str])]| {
            let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            let user = UserInfo {
                groups: owned(groups),
                extra: extra
                    .iter()
                    .map(|(key, values)| ((*key).to_owned(), owned(values)))
                    .collect(),
                ..user("ann")
            };
            hash_of(&user, &view("web"))
        };
        let hashes = [
            with(&["ab", "c"], &[]),
            with(&["a", "bc"], &[]),
            with(&["a"], &[("bc", &[])]),
            with(&[], &[("a", &["bc"])]),
            with(&[], &[("a", &[]), ("bc", &[])]),
        ];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes.iter().skip(index + 1).any(|other| other == hash), "{index}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_denial_is_asked_about_again_soon() {
        let cluster = Cluster::default();
        let reviewer = cluster.reviewer();
        for _ in 0..2 {
            assert!(!reviewer.allows(&user("ben"), &view("web"), RECHECK_TTL).await.unwrap());
        }
        assert_eq!(cluster.asked(), 1);
        tokio::time::advance(DENIED_TTL * 2).await;
        assert!(!reviewer.allows(&user("ben"), &view("web"), RECHECK_TTL).await.unwrap());
        assert_eq!(cluster.asked(), 2);
    }
}
