//! The pages of the dashboard, as they lie in the program: `dashboard/` without its mock.

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// A file's path below the dashboard, and what is in it.
type File = (&'static str, &'static [u8]);

macro_rules! files {
    ($($path:literal,)*) => {
        &[$((
            $path,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard/", $path)),
        )),*]
    };
}

/// All of them. A test compares them with the folder.
const FILES: &[File] = files![
    "icon.svg",
    "index.html",
    "js/api.js",
    "js/call/controls.js",
    "js/call/course.js",
    "js/call/curves.js",
    "js/call/lanes.js",
    "js/call/page.js",
    "js/call/player.js",
    "js/call/said.js",
    "js/call/timeline.js",
    "js/call/view.js",
    "js/call/waves.js",
    "js/dialog.js",
    "js/dom.js",
    "js/early.js",
    "js/format.js",
    "js/keys.js",
    "js/live.js",
    "js/main.js",
    "js/meter.js",
    "js/pages/calls.js",
    "js/pages/engines.js",
    "js/pages/history.js",
    "js/pages/personas.js",
    "js/pages/settings.js",
    "js/pages/signin.js",
    "js/talk/answers.js",
    "js/talk/conversation.js",
    "js/talk/ear.js",
    "js/talk/line.js",
    "js/talk/mouth.js",
    "js/talk/page.js",
    "js/talk/resample.js",
    "js/talk/sound.js",
    "js/talk/troubles.js",
    "js/theme.js",
    "js/words.js",
    "style/base.css",
    "style/call.css",
    "style/pages.css",
    "style/parts.css",
    "vendor/uplot/LICENSE",
    "vendor/uplot/uPlot.iife.min.js",
    "vendor/uplot/uPlot.min.css",
];

/// What every answer carries: pages run their own scripts alone, ask their own server alone, stand
/// in no page of somebody else's, and may hear the microphone.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    ("permissions-policy", "microphone=(self), autoplay=(self), camera=(), geolocation=()"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    // Each time it is asked whether they are still the same, so that an update is seen at once.
    ("cache-control", "no-cache"),
];

/// The routes: `/`, and a route for each file.
pub(crate) fn router() -> Router {
    let mut routes = Router::new();
    for &(path, bytes) in FILES {
        let (kind, tag) = (kind(path), tag(bytes));
        let answer = move |headers: HeaderMap| {
            let answer = give(kind, &tag, bytes, &headers);
            async move { answer }
        };
        if path == "index.html" {
            routes = routes.route("/", get(answer.clone()));
        }
        routes = routes.route(&format!("/{path}"), get(answer));
    }
    routes
}

/// The one route of a dashboard that is closed to everybody.
pub(crate) fn closed() -> Router {
    const WHY: &str = "the dashboard is closed: set VOICE_BOT_API_TOKEN, and sign in with it\n";
    Router::new().route("/", get(|| async { (StatusCode::FORBIDDEN, WHY) }))
}

fn give(kind: &'static str, tag: &str, bytes: &'static [u8], asked: &HeaderMap) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag));
    let mut answer = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, kind)], bytes).into_response()
    };
    let headers = answer.headers_mut();
    let tag = HeaderValue::from_str(tag).expect("base64 in quotes is a header's value");
    headers.insert(header::ETAG, tag);
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "text/plain; charset=utf-8",
    }
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..12]))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn below(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match (path.is_dir(), name) {
                (true, "mock") | (false, "README.md") => {}
                (true, _) => below(&path, found),
                (false, _) => found.push(path.to_str().unwrap().to_owned()),
            }
        }
    }

    #[test]
    fn every_page_of_the_folder_is_in_the_program_and_nothing_else() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard");
        let mut found = Vec::new();
        below(&folder, &mut found);
        found.sort();
        let held = FILES.iter().map(|(path, _)| folder.join(path).to_str().unwrap().to_owned());
        assert_eq!(held.collect::<Vec<_>>(), found);
    }

    #[test]
    fn what_the_browser_has_already_is_not_sent_again() {
        let file = b"body { margin: 0 }";
        let first = give("text/css", &tag(file), file, &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let again = give("text/css", &tag(file), file, &asked);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(again.headers().contains_key("content-security-policy"));
        let changed = give("text/css", &tag(b"other"), b"other", &asked);
        assert_eq!(changed.status(), StatusCode::OK);
    }
}
