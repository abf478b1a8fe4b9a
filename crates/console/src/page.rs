//! `GET /console/`: the page that shows a console in a browser. It is built from `crates/console/page` and embedded.
//!
//! The page is the same for everybody and holds no secret: the token comes in the fragment of its address, which no browser
//! sends.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use novasphere_dataplane::listener::websocket;
use novasphere_wire::websocket::opening::{NotAnOrigin, Origins};
use sha2::{Digest, Sha256};

/// The path of the page. Its files are below.
pub const PATH: &str = "/console/";

/// What the bundler has written, by name and content hash.
struct Asset {
    name: &'static str,
    plain: &'static [u8],
    packed: &'static [u8],
}

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// With a place for the origins that may embed it.
static INDEX: &str = include_str!(concat!(env!("OUT_DIR"), "/index.html"));
const EMBEDDERS: &str = "@embedders@";

/// An asset's name changes with its content.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The page's name does not.
const ASK_EACH_TIME: HeaderValue = HeaderValue::from_static("no-cache");

/// The page, ready to be served. Clones share everything.
#[derive(Clone, Debug)]
pub struct Page {
    index: Bytes,
    tag: HeaderValue,
    policy: HeaderValue,
    is_embedded: bool,
}

impl Page {
    /// Prepares the page. Pages of the `embedders`, origins such as `https://portal.example.org`, may show it in a frame and
    /// may hand it new tokens, beside those of its own origin.
    ///
    /// # Errors
    ///
    /// [`NotAnOrigin`] for the first of `embedders` that no browser sends.
    pub fn new<T: AsRef<str>>(embedders: impl IntoIterator<Item = T>) -> Result<Self, NotAnOrigin> {
        let embedders = Origins::new(embedders)?;
        let listed: Vec<&str> = embedders.iter().collect();
        let index = INDEX.replace(EMBEDDERS, &listed.join(" "));
        let mut digest = base16ct::lower::encode_string(&Sha256::digest(&index));
        digest.truncate(32);
        let tag = format!("\"{digest}\"");
        let refused = |_| NotAnOrigin(listed.join(" "));
        Ok(Self {
            index: Bytes::from(index),
            tag: HeaderValue::from_str(&tag).unwrap_or(ASK_EACH_TIME),
            policy: HeaderValue::from_str(&policy(&listed)).map_err(refused)?,
            is_embedded: !listed.is_empty(),
        })
    }

    /// Answers a request below [`PATH`], or `None` when it is for something else.
    #[must_use]
    pub fn answer<B>(&self, request: &Request<B>) -> Option<Response<Full<Bytes>>> {
        let path = request.uri().path();
        let name = path.strip_prefix(PATH);
        if name.is_none() && path != PATH.trim_end_matches('/') {
            return None;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "this is a page; use GET\n");
            let allow = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allow);
            return Some(response);
        }
        let mut response = match name {
            // Relative, because a proxy may have taken a prefix off the path.
            None => redirect("console/"),
            Some("") => self.index(request.headers()),
            Some(name) => asset(name, request.headers()).unwrap_or_else(|| {
                text(
                    StatusCode::NOT_FOUND,
                    "there is nothing here; the page is at /console/\n",
                )
            }),
        };
        self.guard(response.headers_mut());
        if request.method() == Method::HEAD {
            *response.body_mut() = Full::default();
        }
        Some(response)
    }

    fn index(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .any(|tags| listed(tags).any(|tag| tag.trim_start_matches("W/").as_bytes() == self.tag.as_bytes()));
        let mut response = if known {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            body(self.index.clone(), "text/html; charset=utf-8")
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CACHE_CONTROL, ASK_EACH_TIME);
        response
    }

    fn guard(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

impl websocket::PageSource for Page {
    fn answer(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        self.answer(request)
    }

    fn is_embedded(&self) -> bool {
        self.is_embedded
    }
}

/// Nothing but the page's own files and its own host. Pictures come as `data:` too: noVNC shows JPEG rectangles and the
/// machine's pointer so.
fn policy(embedders: &[&str]) -> String {
    let ancestors: String = embedders.iter().flat_map(|origin| [" ", origin]).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'self'{ancestors}"
    )
}

fn asset(name: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let name = name.strip_prefix("assets/")?;
    let asset = ASSETS.iter().find(|asset| asset.name == name)?;
    let kind = match name.rsplit_once('.') {
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let packed = takes_gzip(headers);
    let content = if packed { asset.packed } else { asset.plain };
    let mut response = body(Bytes::from_static(content), kind);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(response)
}

/// Whether the client reads gzip: it names it without forbidding it (RFC 9110 section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().any(|value| {
        listed(value).any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let forbidden = weight
                .trim()
                .strip_prefix("q=")
                .and_then(|weight| weight.parse::<f32>().ok())
                .is_some_and(|weight| weight <= 0.0);
            name.trim().eq_ignore_ascii_case("gzip") && !forbidden
        })
    })
}

fn listed(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

fn body(content: Bytes, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = body(Bytes::from_static(text.as_bytes()), "text/plain; charset=utf-8");
    *response.status_mut() = status;
    response
}

fn redirect(location: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::PERMANENT_REDIRECT, "the page is at /console/\n");
    let location = HeaderValue::from_static(location);
    response.headers_mut().insert(header::LOCATION, location);
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use novasphere_crd::GuestKeyboard;
    use novasphere_wire::close::EndReason;
    use strum::IntoEnumIterator;

    use super::*;

    fn get(page: &Page, path: &str, headers: &[(&str, &str)]) -> Response<Full<Bytes>> {
        let request = headers
            .iter()
            .fold(Request::get(path), |request, (name, value)| {
                request.header(*name, *value)
            })
            .body(())
            .unwrap();
        page.answer(&request).unwrap()
    }

    fn page() -> Page {
        Page::new(["https://portal.example.org"]).unwrap()
    }

    async fn content(response: Response<Full<Bytes>>) -> Vec<u8> {
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn everything_that_the_page_names_is_served() {
        let index = String::from_utf8(content(get(&page(), "/console/", &[])).await).unwrap();
        let names: Vec<&str> = index.split('"').filter(|value| value.starts_with("assets/")).collect();
        assert_eq!(names.len(), 3, "{index}");
        for name in names {
            let response = get(&page(), &format!("/console/{name}"), &[]);
            assert_eq!(response.status(), 200, "{name}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], FOR_EVER);
            assert!(!content(response).await.is_empty());
        }
        assert!(!index.contains('@'), "no placeholder is left: {index}");
        assert!(index.contains("content=\"https://portal.example.org\""));
    }

    #[tokio::test]
    async fn the_page_runs_no_script_and_no_style_that_is_not_a_file_of_its_own() {
        let response = get(&page(), "/console/", &[]);
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(
            policy.ends_with("frame-ancestors 'self' https://portal.example.org"),
            "{policy}"
        );
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer");
        let index = String::from_utf8(content(response).await).unwrap();
        assert!(!index.contains("<style") && !index.contains("style=") && !index.contains("onclick"));
        assert_eq!(index.matches("<script").count(), 1);
    }

    #[tokio::test]
    async fn the_page_is_sent_again_only_when_it_changed() {
        let first = get(&page(), "/console/", &[]);
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        for tags in [tag.clone(), format!("\"other\", W/{tag}")] {
            let second = get(&page(), "/console/", &[("if-none-match", &tags)]);
            assert_eq!(second.status(), 304, "{tags}");
            assert!(content(second).await.is_empty());
        }
        let other = Page::new(["https://other.example.org"]).unwrap();
        assert_eq!(get(&other, "/console/", &[("if-none-match", &tag)]).status(), 200);
    }

    #[tokio::test]
    async fn files_are_packed_for_clients_that_read_that() {
        let index = String::from_utf8(content(get(&page(), "/console/", &[])).await).unwrap();
        let name = index
            .split('"')
            .find(|value| value.rsplit('.').next() == Some("js"))
            .unwrap();
        let path = format!("/console/{name}");
        let plain = get(&page(), &path, &[]);
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        for (accepts, packed) in [("br, GZIP;q=0.5", true), ("gzip;q=0", false), ("identity", false)] {
            let response = get(&page(), &path, &[("accept-encoding", accepts)]);
            assert_eq!(
                response.headers().contains_key(header::CONTENT_ENCODING),
                packed,
                "{accepts}"
            );
        }
        let packed = content(get(&page(), &path, &[("accept-encoding", "gzip")])).await;
        assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < content(plain).await.len());
    }

    #[test]
    fn other_paths_and_methods_are_told_so() {
        let page = page();
        for path in ["/", "/consolex", "/api/v1/console/ws"] {
            let request = Request::get(path).body(()).unwrap();
            assert!(page.answer(&request).is_none(), "{path}");
        }
        let redirect = get(&page, "/console", &[]);
        assert_eq!(
            (redirect.status(), &redirect.headers()[header::LOCATION]),
            (StatusCode::PERMANENT_REDIRECT, &HeaderValue::from_static("console/"))
        );
        for path in [
            "/console/assets/",
            "/console/assets/../index.html",
            "/console/index.html",
            "/console/x",
        ] {
            assert_eq!(get(&page, path, &[]).status(), 404, "{path}");
        }
        let post = Request::post("/console/").body(()).unwrap();
        assert_eq!(page.answer(&post).unwrap().status(), 405);
    }

    #[test]
    fn an_embedder_is_an_origin() {
        for wrong in ["*", "portal.example.org", "https://a; script-src *", "https://a\" x=\""] {
            assert!(Page::new([wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_page_has_the_keyboards_that_a_vm_access_can_name() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/page/src/keyboards.ts");
        let text = std::fs::read_to_string(path).unwrap();
        let layouts: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(": {"))
            .collect();
        assert_eq!(layouts, GuestKeyboard::ALL.map(GuestKeyboard::as_str));
    }

    #[test]
    fn the_page_tells_the_reasons_of_this_gateway() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/page/src/close_codes.ts");
        let text = std::fs::read_to_string(path).unwrap();
        let told: Vec<&str> = text.lines().filter(|line| line.starts_with("  [")).collect();
        let ours: Vec<String> = EndReason::iter()
            .map(|end| {
                format!(
                    "  [{}, {{ reason: {:?}, sentence: {:?} }}],",
                    end.code(),
                    end.reason(),
                    end.sentence()
                )
            })
            .collect();
        assert_eq!(told, ours, "{path} must hold exactly these rows:\n{}", ours.join("\n"));
    }
}
