//! Beginning, renewing and ending logins.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use novasphere_runtime::{access::UserInfo, apply::Applier, tasks::Tasks, watch::Guard};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    keys::LoginKeys,
    record::{LoginId, LoginRecord, ProviderSession, refresh_hash},
    secret::{SecretError, WatchedSecret},
    token::{self, RefreshToken, SessionToken, TokenRefusal},
};
use crate::{
    caller::{CallerCredential, TenantId},
    code::Code,
    config::IdentityConfig,
    error::{ApiError, ApiResult},
};

/// The Secret with the keys.
pub const KEYS_SECRET: &str = "novasphere-login-keys";

/// The Secrets with the logins; a digit follows. An object may have a mebibyte, which is some 2,500 logins.
pub const LOGINS_SECRET_PREFIX: &str = "novasphere-logins-";

/// The Secrets with logins.
pub const LOGIN_SHARDS: u32 = 8;

/// The key of the Secret with the keys.
const KEYS_KEY: &str = "keys.json";

/// Logins of one user. The oldest makes room.
const LOGINS_PER_USER_LIMIT: usize = 50;

/// Groups of a user that are kept.
const GROUPS_LIMIT: usize = 256;

/// Bytes of a login that is kept.
const RECORD_BYTES: usize = 32 * 1024;

/// How long a login that is not known yet may take to come by the watch.
const WATCH_WAIT: Duration = Duration::from_secs(1);

/// The pause after the keys could not be had.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How often keys and logins are looked through for what is due.
const TIDY_INTERVAL: Duration = Duration::from_mins(1);

/// What logins need.
pub struct LoginOptions {
    /// Our own account.
    pub client: Client,
    /// Its writes.
    pub applier: Applier,
    /// Our own namespace.
    pub namespace: String,
    /// For which the tokens are: something that no other installation has, such as the UID of our namespace.
    pub audience: String,
    /// Lives.
    pub config: IdentityConfig,
    /// Of watches.
    pub guard: Guard,
}

/// The logins of all replicas. Clones share them.
#[derive(Clone)]
pub struct Logins(Arc<LoginsInner>);

struct LoginsInner {
    keys_secret: WatchedSecret,
    shards: Vec<WatchedSecret>,
    keys: ArcSwapOption<LoginKeys>,
    audience: String,
    config: IdentityConfig,
}

/// Somebody whose name was proven.
#[derive(Clone, Debug)]
pub struct NewLogin {
    /// The user as Kubernetes knows them.
    pub user: UserInfo,
    /// For people.
    pub display_name: String,
    /// Who vouches.
    pub provider: String,
    /// The login there.
    pub provider_session: Option<ProviderSession>,
    /// The tenant that it is for.
    pub tenant: Option<TenantId>,
    /// As whom the cluster is asked.
    pub credential: CallerCredential,
    /// Where the client is.
    pub client: std::net::IpAddr,
}

/// What a client is given.
#[derive(Clone, Debug)]
pub struct IssuedLogin {
    /// The session token.
    pub token: String,
    /// When it expires.
    pub expires: Timestamp,
    /// The refresh token.
    pub refresh_token: String,
    /// When the login ends at the latest.
    pub refresh_expires: Timestamp,
    /// The login.
    pub login: LoginId,
    /// What is kept of it.
    pub record: LoginRecord,
}

impl Logins {
    /// Starts the watches in tasks of `tasks`, and returns once keys and logins are known. While the Secret with the keys is missing or cannot be
    /// written, that is logged, and tried again.
    pub async fn start(options: LoginOptions, tasks: &mut Tasks) -> Self {
        let watch = |name: &str, tasks: &mut Tasks| {
            let LoginOptions {
                client,
                applier,
                namespace,
                guard,
                ..
            } = &options;
            WatchedSecret::spawn(client, applier, namespace, name, guard, tasks)
        };
        let keys_secret = watch(KEYS_SECRET, tasks);
        let shards: Vec<WatchedSecret> = (0..LOGIN_SHARDS)
            .map(|shard| watch(&format!("{LOGINS_SECRET_PREFIX}{shard}"), tasks))
            .collect();
        let logins = Self(Arc::new(LoginsInner {
            keys_secret,
            shards,
            keys: ArcSwapOption::empty(),
            audience: options.audience,
            config: options.config,
        }));
        logins.0.keys_secret.filled().await;
        for shard in &logins.0.shards {
            shard.filled().await;
        }
        while logins.0.keys.load().is_none() {
            let mut changes = logins.0.keys_secret.changes();
            if let Err(error) = logins.adopt_keys().await {
                tracing::warn!("nobody can sign in yet: {error}");
            }
            if logins.0.keys.load().is_none() {
                // Until the installation makes the Secret, or another replica fills it.
                let _ = timeout(RETRY_INTERVAL, changes.changed()).await;
            }
        }
        let this = logins.clone();
        tasks.spawn("keys of logins", async move { this.follow_keys().await });
        let this = logins.clone();
        tasks.spawn("ends of logins", async move { this.tidy().await });
        logins
    }

    /// Begins a login.
    ///
    /// # Errors
    ///
    /// [`Code::FORBIDDEN`] for a user of Kubernetes' own, [`Code::CLUSTER_UNAVAILABLE`] when it cannot be kept.
    pub async fn begin(&self, new: NewLogin) -> ApiResult<IssuedLogin> {
        let now = Timestamp::now();
        let own_token = match &new.credential {
            CallerCredential::Bearer(token) => Some(token.expose().to_owned()),
            CallerCredential::Impersonated => None,
        };
        self.make_room(&new.user.name).await?;
        let secret = new_secret();
        let mut groups = new.user.groups;
        groups.truncate(GROUPS_LIMIT);
        let record = LoginRecord {
            user: new.user.name,
            groups,
            uid: new.user.uid,
            extra: new.user.extra,
            display_name: new.display_name,
            provider: new.provider,
            provider_session: new.provider_session,
            tenant: new.tenant.map(|tenant| tenant.0),
            has_own_token: own_token.is_some(),
            generation: 0,
            refresh_sha256: refresh_hash(&secret),
            created: now,
            expires: now + lifetime(self.0.config.login_lifetime),
            client: new.client.to_string(),
        };
        let bytes = record.write();
        if bytes.len() > RECORD_BYTES {
            return Err(ApiError::with(
                Code::FORBIDDEN,
                "the provider says more of this user than is kept; have it send fewer groups",
            ));
        }
        let login = LoginId::generate();
        let issued = self.issue(&login, record, secret, own_token, now)?;
        let shard = self.shard(&login)?;
        shard
            .set([(login.0.clone(), Some(bytes))])
            .await
            .map_err(|error| not_kept(&error))?;
        Ok(issued)
    }

    /// Renews a login. A refresh token is good once: one that comes again was stolen, or its thief was faster, so the login ends.
    ///
    /// # Errors
    ///
    /// [`Code::TOKEN_INVALID`], [`Code::LOGIN_ENDED`], [`Code::REFRESH_REUSED`].
    pub async fn refresh(&self, refresh_token: &str) -> ApiResult<IssuedLogin> {
        let keys = self.keys()?;
        let presented = RefreshToken::open(&keys, refresh_token).ok_or(ApiError::new(Code::TOKEN_INVALID))?;
        let login = LoginId::parse(&presented.sid).ok_or(ApiError::new(Code::TOKEN_INVALID))?;
        let record = self.find(&login).await.ok_or(ApiError::new(Code::LOGIN_ENDED))?;
        if !record.takes(presented.generation, &presented.secret) {
            self.end(&login).await?;
            return Err(ApiError::new(Code::REFRESH_REUSED));
        }
        let secret = new_secret();
        let renewed = LoginRecord {
            generation: record.generation.wrapping_add(1),
            refresh_sha256: refresh_hash(&secret),
            ..record.clone()
        };
        let swapped = self
            .shard(&login)?
            .swap(&login.0, record.write(), renewed.write())
            .await;
        if !swapped.map_err(|error| not_kept(&error))? {
            self.end(&login).await?;
            return Err(ApiError::new(Code::REFRESH_REUSED));
        }
        self.issue(&login, renewed, secret, presented.own_token, Timestamp::now())
    }

    /// The login that a refresh token is of, whether or not it is good any more.
    #[must_use]
    pub fn login_of(&self, refresh_token: &str) -> Option<LoginId> {
        let presented = RefreshToken::open(&*self.keys().ok()?, refresh_token)?;
        LoginId::parse(&presented.sid)
    }

    /// Whose session token this is; `None` for one that is not of our making.
    ///
    /// # Errors
    ///
    /// [`Code::TOKEN_INVALID`], [`Code::TOKEN_EXPIRED`], [`Code::LOGIN_ENDED`].
    pub async fn verify(&self, token: &str) -> ApiResult<Option<(SessionToken, LoginRecord)>> {
        let keys = self.keys()?;
        let session = match token::verify(&keys, &self.0.audience, token) {
            Ok(session) => session,
            Err(TokenRefusal::Foreign) => return Ok(None),
            Err(TokenRefusal::Invalid) => return Err(ApiError::new(Code::TOKEN_INVALID)),
            Err(TokenRefusal::Expired) => return Err(ApiError::new(Code::TOKEN_EXPIRED)),
        };
        let record = self
            .find(&session.login)
            .await
            .ok_or(ApiError::new(Code::LOGIN_ENDED))?;
        Ok(Some((session, record)))
    }

    /// Ends a login; one that has ended is as good.
    ///
    /// # Errors
    ///
    /// [`Code::CLUSTER_UNAVAILABLE`].
    pub async fn end(&self, login: &LoginId) -> ApiResult<()> {
        let shard = self.shard(login)?;
        if shard.value(&login.0).is_none() {
            return Ok(());
        }
        shard
            .set([(login.0.clone(), None)])
            .await
            .map_err(|error| not_kept(&error))
    }

    /// Ends all logins that `is_wanted` picks, and says which.
    ///
    /// # Errors
    ///
    /// [`Code::CLUSTER_UNAVAILABLE`]; some may have ended.
    pub async fn end_where(&self, is_wanted: impl Fn(&LoginRecord) -> bool) -> ApiResult<Vec<LoginId>> {
        let mut ended = Vec::new();
        for (login, record) in self.all() {
            if is_wanted(&record) {
                self.end(&login).await?;
                ended.push(login);
            }
        }
        Ok(ended)
    }

    /// All logins that have not ended.
    #[must_use]
    pub fn all(&self) -> Vec<(LoginId, LoginRecord)> {
        let now = Timestamp::now();
        let shards = self.0.shards.iter().filter_map(WatchedSecret::current);
        let entries = shards.flat_map(|secret| secret.data.clone().unwrap_or_default());
        entries
            .filter_map(|(key, value)| Some((LoginId::parse(&key)?, LoginRecord::read(&value.0)?)))
            .filter(|(_, record)| record.expires > now)
            .collect()
    }

    /// A login, if it has not ended.
    #[must_use]
    pub fn get(&self, login: &LoginId) -> Option<LoginRecord> {
        let value = self.shard(login).ok()?.value(&login.0)?;
        LoginRecord::read(&value).filter(|record| record.expires > Timestamp::now())
    }

    /// The public keys of session tokens.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.keys().map_or(json!({"keys": []}), |keys| keys.jwks())
    }

    /// What a request with a cookie of this login has to carry in its header against forgery.
    ///
    /// # Errors
    ///
    /// [`Code::NOT_READY`].
    pub fn csrf_token(&self, login: &LoginId) -> ApiResult<String> {
        Ok(self.keys()?.authentication_code(&login.0))
    }

    /// [`LoginKeys::seal`].
    ///
    /// # Errors
    ///
    /// [`Code::NOT_READY`].
    pub fn seal(&self, purpose: &str, text: &[u8]) -> ApiResult<String> {
        let sealed = self.keys()?.seal(purpose, text);
        sealed.ok_or(ApiError::new(Code::INTERNAL))
    }

    /// [`LoginKeys::open`].
    #[must_use]
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        self.keys().ok()?.open(purpose, sealed)
    }

    fn keys(&self) -> ApiResult<Arc<LoginKeys>> {
        self.0.keys.load_full().ok_or(ApiError::new(Code::NOT_READY))
    }

    fn shard(&self, login: &LoginId) -> ApiResult<&WatchedSecret> {
        let digit = login.0.chars().next().and_then(|digit| digit.to_digit(16)).unwrap_or(0);
        let index = usize::try_from(digit % LOGIN_SHARDS).unwrap_or(0);
        self.0.shards.get(index).ok_or(ApiError::new(Code::INTERNAL))
    }

    /// A login that another replica has just begun may not be known here yet.
    async fn find(&self, login: &LoginId) -> Option<LoginRecord> {
        if let Some(record) = self.get(login) {
            return Some(record);
        }
        let shard = self.shard(login).ok()?;
        if shard.is_gone(&login.0) {
            return None;
        }
        let mut changes = shard.changes();
        let come = async {
            loop {
                if let Some(record) = self.get(login) {
                    return Some(record);
                }
                if shard.is_gone(&login.0) {
                    return None;
                }
                changes.changed().await.ok()?;
            }
        };
        timeout(WATCH_WAIT, come).await.ok().flatten()
    }

    fn issue(
        &self,
        login: &LoginId,
        record: LoginRecord,
        secret: String,
        own_token: Option<String>,
        now: Timestamp,
    ) -> ApiResult<IssuedLogin> {
        let keys = self.keys()?;
        let expires = (now + lifetime(self.0.config.token_lifetime)).min(record.expires);
        let refresh = RefreshToken {
            sid: login.0.clone(),
            generation: record.generation,
            secret,
            own_token: own_token.clone(),
        };
        let session = SessionToken {
            login: login.clone(),
            own_token,
            expires,
        };
        let token = token::sign(&keys, &self.0.audience, &record.user, &session, now);
        let (Some(token), Some(refresh_token)) = (token, refresh.seal(&keys)) else {
            return Err(ApiError::new(Code::INTERNAL));
        };
        Ok(IssuedLogin {
            token,
            expires,
            refresh_token,
            refresh_expires: record.expires,
            login: login.clone(),
            record,
        })
    }

    /// Ends the oldest logins of a user who has as many as may be.
    async fn make_room(&self, user: &str) -> ApiResult<()> {
        let mut own: Vec<_> = self
            .all()
            .into_iter()
            .filter(|(_, record)| record.user == user)
            .collect();
        own.sort_by_key(|(_, record)| record.created);
        let surplus = (own.len() + 1).saturating_sub(LOGINS_PER_USER_LIMIT);
        for (login, _) in own.iter().take(surplus) {
            self.end(login).await?;
        }
        Ok(())
    }

    /// Takes the keys of the Secret into use; makes them where it is empty, and rotates them where that is due.
    async fn adopt_keys(&self) -> Result<(), SecretError> {
        let secret = &self.0.keys_secret;
        let now = Timestamp::now();
        let stored = secret.value(KEYS_KEY).map(|bytes| LoginKeys::read(&bytes));
        let due = match &stored {
            None => LoginKeys::generate(now).map(Some),
            Some(Ok(keys)) => keys.rotated(now),
            Some(Err(error)) => {
                tracing::error!("{error}");
                return Ok(());
            }
        };
        match due {
            Ok(None) => {}
            Ok(Some(keys)) => {
                let live = secret.current();
                let live = live.ok_or_else(|| SecretError::Missing(KEYS_SECRET.to_owned()))?;
                match secret.set_unchanged(&live, [(KEYS_KEY.to_owned(), keys.write())]).await {
                    Ok(()) => self.0.keys.store(Some(Arc::new(keys))),
                    // Another replica was first, and the watch brings its keys.
                    Err(SecretError::Write(error)) => tracing::info!(%error, "keys of logins are not written"),
                    Err(error) => return Err(error),
                }
                return Ok(());
            }
            Err(error) => tracing::error!("{error}"),
        }
        if let Some(Ok(keys)) = stored {
            self.0.keys.store(Some(Arc::new(keys)));
        }
        Ok(())
    }

    async fn follow_keys(&self) {
        let mut changes = self.0.keys_secret.changes();
        loop {
            // Whichever comes first: what another replica wrote, or the time to rotate.
            let _ = timeout(TIDY_INTERVAL, changes.changed()).await;
            if let Err(error) = self.adopt_keys().await {
                tracing::warn!("keys of logins: {error}");
            }
        }
    }

    /// Takes away what has expired. Replicas do it at times of their own, and what one has taken is gone for the others.
    async fn tidy(&self) {
        loop {
            let jitter = Duration::from_secs(rand::random_range(0..60));
            tokio::time::sleep(TIDY_INTERVAL + jitter).await;
            let now = Timestamp::now();
            for shard in &self.0.shards {
                let over: Vec<_> = shard
                    .keys()
                    .into_iter()
                    .filter(|key| is_over(shard, key, now))
                    .collect();
                if !over.is_empty()
                    && let Err(error) = shard.set(over.into_iter().map(|key| (key, None))).await
                {
                    tracing::warn!("logins that are over stay: {error}");
                }
            }
        }
    }
}

/// What cannot be read is over, too.
fn is_over(shard: &WatchedSecret, key: &str, now: Timestamp) -> bool {
    let record = shard.value(key).and_then(|value| LoginRecord::read(&value));
    record.is_none_or(|record| record.expires <= now)
}

fn new_secret() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

fn lifetime(duration: novasphere_crd::Duration) -> SignedDuration {
    SignedDuration::try_from(duration.get()).unwrap_or(SignedDuration::from_hours(1))
}

fn not_kept(error: &SecretError) -> ApiError {
    tracing::warn!("a login cannot be kept: {error}");
    ApiError::new(Code::CLUSTER_UNAVAILABLE).retry_after(Duration::from_secs(1))
}
