//! The codes of answers: `200`, or the HTTP status and two digits. One table: the documentation and the `OpenAPI` document are made from it.

use http::StatusCode;

use crate::language::Sentence;

/// Why a request was refused or failed. Machines read its number and [`CodeRow::reason`]; people read the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(&'static CodeRow);

/// A row of [`CODES`].
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CodeRow {
    /// The number: `<HTTP status><two digits>`.
    pub number: u32,
    /// One word, for programs: `extra.reason`.
    pub reason: &'static str,
    /// For people, in English.
    pub english: &'static str,
    /// For people, in Chinese.
    pub chinese: &'static str,
}

impl Code {
    /// Its row.
    #[must_use]
    pub const fn row(self) -> &'static CodeRow {
        self.0
    }

    /// The HTTP status, the first three digits.
    #[must_use]
    pub fn status(self) -> StatusCode {
        let status = u16::try_from(self.0.number / 100).unwrap_or(500);
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The sentence for people.
    #[must_use]
    pub const fn sentence(self) -> Sentence {
        Sentence {
            english: self.0.english,
            chinese: self.0.chinese,
        }
    }
}

macro_rules! codes {
    ($($name:ident $number:literal $reason:literal $english:literal $chinese:literal)*) => {
        impl Code {
            $(
                #[doc = $english]
                pub const $name: Self = Self(&CodeRow { number: $number, reason: $reason, english: $english, chinese: $chinese });
            )*
        }

        /// All codes, by number.
        pub const CODES: &[Code] = &[$(Code::$name),*];
    };
}

codes! {
    INVALID_REQUEST 40001 "InvalidRequest" "The request cannot be understood" "无法理解该请求"
    INVALID_BODY 40002 "InvalidBody" "The body of the request is not what this call takes" "请求体格式不正确"
    INVALID_PARAMETER 40003 "InvalidParameter" "A parameter has a value that it may not have" "参数取值无效"
    INVALID_ID 40004 "InvalidId" "This is not an ID of an object" "对象 ID 无效"
    TENANT_REQUIRED 40005 "TenantRequired" "A tenant has to be named" "必须指定租户"
    BAD_CREDENTIALS 40101 "BadCredentials" "Wrong user name or password" "用户名或密码错误"
    NOT_SIGNED_IN 40102 "NotSignedIn" "Sign in first" "请先登录"
    TOKEN_INVALID 40103 "TokenInvalid" "The token is not valid" "令牌无效"
    TOKEN_EXPIRED 40104 "TokenExpired" "The token has expired; refresh it or sign in again" "令牌已过期，请刷新或重新登录"
    LOGIN_ENDED 40105 "LoginEnded" "This login has ended; sign in again" "该登录已结束，请重新登录"
    REFRESH_REUSED 40106 "RefreshReused" "This refresh token was used before, so the login has ended; sign in again" "刷新令牌被重复使用，登录已终止，请重新登录"
    FORBIDDEN 40301 "Forbidden" "You may not do this" "没有执行此操作的权限"
    CSRF_REFUSED 40302 "CsrfRefused" "The request lacks the token against forgery, or comes from a foreign page" "缺少 CSRF 令牌或请求来源不受信任"
    TENANT_FORBIDDEN 40303 "TenantForbidden" "You do not belong to this tenant" "您不属于该租户"
    ORIGIN_FORBIDDEN 40304 "OriginForbidden" "Pages of this origin may not call this API" "不允许该来源的页面调用此接口"
    NOT_FOUND 40401 "NotFound" "There is no such object, or you may not see it" "对象不存在或无权查看"
    NO_SUCH_PATH 40402 "NoSuchPath" "There is no such path" "路径不存在"
    METHOD_NOT_ALLOWED 40501 "MethodNotAllowed" "The path has no such method" "不支持该请求方法"
    NOT_ACCEPTABLE 40601 "NotAcceptable" "Only JSON can be served" "仅支持 JSON 响应"
    REQUEST_TIMEOUT 40801 "RequestTimeout" "The request took too long" "请求超时"
    CONFLICT 40901 "Conflict" "The object has changed or is in a state in which this cannot be done" "对象已变更或当前状态不允许此操作"
    ALREADY_EXISTS 40902 "AlreadyExists" "There is such an object already" "对象已存在"
    NOT_RUNNING 40903 "NotRunning" "The machine does not run" "虚拟机未运行"
    KEY_REUSED 40904 "IdempotencyKeyReused" "This idempotency key was used for another request" "幂等键已用于其他请求"
    EXPIRED_CURSOR 41001 "ExpiredCursor" "This page is too old; begin again with the first one" "分页游标已过期，请从第一页重新开始"
    PRECONDITION_FAILED 41201 "PreconditionFailed" "The object has another version than the request expects" "对象版本与请求不符"
    TOO_LARGE 41301 "TooLarge" "The body of the request is too large" "请求体过大"
    UNSUPPORTED_MEDIA_TYPE 41501 "UnsupportedMediaType" "The body must be application/json" "请求体必须为 application/json"
    INVALID_OBJECT 42201 "InvalidObject" "The cluster refuses the object" "集群拒绝了该对象"
    TOO_MANY_REQUESTS 42901 "TooManyRequests" "Too many requests; try again later" "请求过于频繁，请稍后再试"
    LOCKED_OUT 42902 "LockedOut" "Too many wrong passwords; try again later" "密码错误次数过多，请稍后再试"
    HEADERS_TOO_LARGE 43101 "HeadersTooLarge" "The head of the request is too large" "请求头过大"
    INTERNAL 50001 "InternalError" "The server has failed" "服务器内部错误"
    NOT_IMPLEMENTED 50101 "NotConfigured" "This is not set up here" "此功能未启用"
    PROVIDER_FAILED 50201 "ProviderFailed" "The identity provider does not answer as it should" "身份提供方响应异常"
    CLUSTER_UNAVAILABLE 50301 "ClusterUnavailable" "The cluster does not answer now; try again" "集群暂时无响应，请重试"
    NOT_READY 50302 "NotReady" "The server is just starting; try again" "服务正在启动，请稍后重试"
    CLUSTER_TIMEOUT 50401 "ClusterTimeout" "The cluster took too long to answer" "集群响应超时"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_and_begin_with_a_status() {
        assert!(CODES.is_sorted_by(|one, other| one.row().number < other.row().number));
        for code in CODES {
            assert_eq!(u32::from(code.status().as_u16()), code.row().number / 100, "{code:?}");
            assert!(!code.status().is_success());
        }
    }

    #[test]
    fn reasons_are_unique_words() {
        let mut reasons: Vec<_> = CODES.iter().map(|code| code.row().reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), CODES.len());
    }
}
