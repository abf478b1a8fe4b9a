//! What tests of answers share.

use http::Response;
use http_body_util::BodyExt;
use novasphere_runtime::serve::status::ResponseBody;
use serde_json::Value;

/// The body as JSON.
pub(crate) async fn body(response: Response<ResponseBody>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}
