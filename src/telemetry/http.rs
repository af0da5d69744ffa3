//! The pages: `/metrics`, `/livez`, `/readyz` and `/status`.
//!
//! Requests come in over a listener that the daemon has bound; what the pages
//! say comes from its [`State`]. They are read-only: no body is ever read and
//! nothing changes. A browser that was lured here by a name (DNS rebinding) is
//! refused, for it says that name in `Host`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

/// A scraper, a probe and a person need a handful.
const CONNECTIONS_MAX: usize = 32;
/// A request is a few lines; whoever takes longer for them wants to hold a place.
const HEADER_WAIT: Duration = Duration::from_secs(5);
/// One request is answered on a connection, and that ends in this time, also when nobody reads the answer.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);
/// Octets of a request's head; hyper allows no fewer.
const HEAD_OCTETS_MAX: usize = 8 << 10;
/// When no connection can be accepted (EMFILE), trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the pages show.
pub trait State: Send + Sync + 'static {
    /// How long the last query to ourselves took, or why it had no answer within a second.
    ///
    /// # Errors
    /// When there was none: a sentence for a person.
    fn live(&self) -> Result<Duration, String>;
    /// What is missing before queries can be served by a valid policy; nothing: ready.
    fn missing(&self) -> Vec<String>;
    /// The upstreams that do not answer, as further things that are missing.
    fn missing_upstreams(&self) -> Vec<String>;
    /// The state, for people and dashboards.
    fn status(&self) -> Value;
    /// The metrics in Prometheus' text format 0.0.4.
    fn metrics(&self) -> String;
}

/// Serves the pages for as long as it is polled.
pub async fn serve(listener: TcpListener, state: Arc<dyn State>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("nobody closes the semaphore");
        match listener.accept().await {
            Ok((socket, _)) => drop(tokio::spawn(talk(socket, Arc::clone(&state), place))),
            Err(error) => {
                tracing::debug!(%error, "no connection for a page");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Carries one connection to its end.
async fn talk(socket: TcpStream, state: Arc<dyn State>, _place: OwnedSemaphorePermit) {
    let service = service_fn(|request| {
        let page = answer(state.as_ref(), &request);
        async { Ok::<_, std::convert::Infallible>(page) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_buf_size(HEAD_OCTETS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    // Whatever a client does wrong is its own loss.
    drop(time::timeout(CONNECTION_WAIT, connection).await);
}

type Page = Response<Full<Bytes>>;

fn answer<B>(state: &dyn State, request: &Request<B>) -> Page {
    if !is_addressed_to_us(request) {
        return text(
            StatusCode::FORBIDDEN,
            "the host must be an address or localhost\n",
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut page = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        page.headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return page;
    }
    match request.uri().path() {
        "/metrics" => page(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            state.metrics(),
        ),
        "/livez" => livez(state),
        "/readyz" => readyz(state, request.uri().query()),
        "/status" => json(StatusCode::OK, &state.status()),
        _ => text(
            StatusCode::NOT_FOUND,
            "/metrics, /livez, /readyz, /status\n",
        ),
    }
}

/// Only names can be rebound; an address in `Host` was typed or configured.
fn is_addressed_to_us<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    host.to_str().is_ok_and(is_address_or_localhost)
}

fn is_address_or_localhost(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|it| it.strip_suffix(']'))
        .unwrap_or(host);
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    host.parse::<SocketAddr>().is_ok()
        || bare.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
}

fn livez(state: &dyn State) -> Page {
    match state.live() {
        Ok(took) => text(
            StatusCode::OK,
            format!("ok, answered in {} us\n", took.as_micros()),
        ),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// Upstreams count only when asked for: one that comes and goes must not restart every box behind it.
fn readyz(state: &dyn State, query: Option<&str>) -> Page {
    let mut missing = state.missing();
    if query.is_some_and(|it| it.split('&').any(|pair| pair == "upstream=1")) {
        missing.extend(state.missing_upstreams());
    }
    let status = match missing.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, &missing.into())
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Page {
    page(status, "text/plain; charset=utf-8", body)
}

fn json(status: StatusCode, body: &Value) -> Page {
    page(status, "application/json", format!("{body:#}\n"))
}

fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_hosts() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9953",
            "[::1]",
            "[::1]:9953",
            "10.0.3.7:80",
            "localhost",
            "LocalHost:9953",
        ] {
            assert!(is_address_or_localhost(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9953",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
            "::1:9953:x",
        ] {
            assert!(!is_address_or_localhost(host), "{host}");
        }
    }
}
