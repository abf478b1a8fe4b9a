//! Requests that want a WebSocket: a line for the query, then lines `name: value`.

#![no_main]

use http::Request;
use libfuzzer_sys::fuzz_target;
use novasphere_wire::websocket::{
    opening::{Opening, Origins},
    session_opening::SessionOpening,
};

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let mut request = Request::get(format!("/ws?{}", lines.next().unwrap_or_default()));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let (Ok(request), Ok(origins)) = (request.body(()), Origins::new(["https://consoles.example.org"])) else { return };
    if let Ok(opening) = SessionOpening::read(&request, &origins, "resume") {
        assert!(opening.resume.is_none() || opening.is_page, "a cookie of an allowed page alone");
    }
    if let Ok(opening) = Opening::read(&request, &origins) {
        let origin = request.headers().get("origin");
        assert!(origin.is_none_or(|origin| origin.as_bytes().eq_ignore_ascii_case(b"https://consoles.example.org")));
        let response: http::Response<()> = opening.response();
        if let Some(echoed) = response.headers().get("sec-websocket-protocol") {
            let offered = request.headers().get_all("sec-websocket-protocol");
            let mut offered = offered.iter().filter_map(|offer| offer.to_str().ok()).flat_map(|offer| offer.split(','));
            assert!(offered.any(|offer| offer.trim().as_bytes() == echoed.as_bytes()), "only what was offered");
        }
    }
});
