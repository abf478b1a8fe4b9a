//! Tokens that kube-apiserver itself accepts: it is asked whose they are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, Client, api::PostParams};
use novasphere_runtime::access::UserInfo;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

use crate::{
    code::Code,
    error::{ApiError, ApiResult},
};

/// The age that an answer may have: a token that was revoked is refused by kube-apiserver itself when something is asked with it.
const ANSWER_TTL: Duration = Duration::from_secs(10);

/// Answers that are remembered.
const ANSWERS_LIMIT: usize = 10_000;

/// The time that kube-apiserver may take.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer texts are no tokens.
const TOKEN_BYTES: usize = 16 * 1024;

/// SHA-256 of a token.
type TokenDigest = [u8; 32];

/// Answers by token.
type Answers = HashMap<TokenDigest, (Instant, Option<UserInfo>)>;

/// Asks whose tokens are. Clones share the answers.
#[derive(Clone)]
pub struct KubernetesTokens {
    reviews: Api<TokenReview>,
    answers: Arc<Mutex<Answers>>,
}

impl KubernetesTokens {
    /// Asks with our own account.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            reviews: Api::all(client),
            answers: Arc::default(),
        }
    }

    /// Whose token this is; `None` when kube-apiserver does not accept it.
    ///
    /// # Errors
    ///
    /// [`Code::CLUSTER_UNAVAILABLE`] or [`Code::CLUSTER_TIMEOUT`] when that cannot be known now.
    pub async fn user(&self, token: &str) -> ApiResult<Option<UserInfo>> {
        if token.is_empty() || token.len() > TOKEN_BYTES {
            return Ok(None);
        }
        let digest: TokenDigest = Sha256::digest(token).into();
        let known = self.answers.lock().get(&digest).cloned();
        if let Some((asked, user)) = known
            && asked.elapsed() <= ANSWER_TTL
        {
            return Ok(user);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let asked = Instant::now();
        let answer = timeout(REVIEW_TIMEOUT, self.reviews.create(&PostParams::default(), &review)).await;
        let answer = answer.map_err(|_| ApiError::new(Code::CLUSTER_TIMEOUT))?;
        let answer = answer.map_err(|error| {
            tracing::warn!(%error, "kube-apiserver does not say whose a token is");
            ApiError::new(Code::CLUSTER_UNAVAILABLE)
        })?;
        let user = user_of(answer);
        self.remember(digest, asked, user.clone());
        Ok(user)
    }

    fn remember(&self, digest: TokenDigest, asked: Instant, user: Option<UserInfo>) {
        let mut answers = self.answers.lock();
        if answers.len() >= ANSWERS_LIMIT {
            answers.retain(|_, (asked, _)| asked.elapsed() <= ANSWER_TTL);
        }
        if answers.len() < ANSWERS_LIMIT {
            answers.insert(digest, (asked, user));
        }
    }
}

fn user_of(review: TokenReview) -> Option<UserInfo> {
    let status = review.status?;
    let user = status.user.filter(|_| status.authenticated == Some(true))?;
    Some(UserInfo {
        name: user.username.filter(|name| !name.is_empty())?,
        uid: user.uid.filter(|uid| !uid.is_empty()),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_authenticated_user_is_one() {
        let user = |status: serde_json::Value| {
            let review = json!({"spec": {}, "status": status});
            user_of(serde_json::from_value(review).unwrap())
        };
        let ann =
            user(json!({"authenticated": true, "user": {"username": "ann", "groups": ["g"], "uid": ""}})).unwrap();
        assert_eq!((ann.name.as_str(), ann.uid, ann.groups.len()), ("ann", None, 1));
        assert_eq!(user(json!({"authenticated": false, "user": {"username": "ann"}})), None);
        assert_eq!(user(json!({"authenticated": true, "user": {"username": ""}})), None);
        assert_eq!(user(json!({"error": "no"})), None);
    }
}
