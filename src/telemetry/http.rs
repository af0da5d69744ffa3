//! The pages: `/metrics`, `/livez`, `/readyz`, `/status`, and one for a browser at `/`.
//!
//! Requests come in over a listener that the daemon has bound; what the pages
//! say comes from its [`State`]. They are read-only: no body is ever read and
//! nothing changes. A browser that was lured here by a name (DNS rebinding) is
//! refused, for it says that name in `Host`. What an operator may do stands in
//! [`admin`], behind a socket of its own.

pub mod admin;

mod events;

mod home;

mod params;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time;

pub use self::params::Params;

use self::events::{Events, Pulse};
use self::home::Home;
use super::Refused;

/// A scraper, a probe and a person need a handful.
const CONNECTIONS_MAX: usize = 32;
/// A request is a few lines; whoever takes longer for them wants to hold a place.
const HEADER_WAIT: Duration = Duration::from_secs(5);
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
    /// The names that were blocked last, the newest first, at most so many.
    fn refused(&self, most: usize) -> Vec<Refused>;
    /// The metrics in Prometheus' text format 0.0.4.
    fn metrics(&self) -> String;
}

/// Serves the pages for as long as it is polled.
pub async fn serve(listener: TcpListener, state: Arc<dyn State>) {
    let home = Home::default();
    serve_at(listener, Arc::new(Window { state, home })).await;
}

/// Where connections come from.
trait Door: Send + Sync {
    type Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn open(&self) -> impl Future<Output = io::Result<Self::Socket>> + Send;
}

impl Door for TcpListener {
    type Socket = TcpStream;

    async fn open(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl Door for UnixListener {
    type Socket = UnixStream;

    async fn open(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Who answers behind a door.
trait Desk: Send + Sync + 'static {
    /// One request is answered on a connection, and that ends in this time, also when nobody reads the answer; a
    /// stream ends when nothing was taken from it for as long.
    const PATIENCE: Duration;

    fn answer(&self, request: Parts, pulse: Pulse) -> impl Future<Output = Page> + Send;
}

/// Takes connections for as long as it is polled; with it they end.
async fn serve_at<D: Desk>(door: impl Door, desk: Arc<D>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut talks = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let place = place.expect("nobody closes the semaphore");
        while talks.try_join_next().is_some() {}
        match door.open().await {
            Ok(socket) => drop(talks.spawn(talk(socket, Arc::clone(&desk), place))),
            Err(error) => {
                tracing::debug!(%error, "no connection for a page");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Carries one connection to its end.
async fn talk<S, D: Desk>(socket: S, desk: Arc<D>, _place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pulse = Pulse::default();
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (desk, pulse) = (Arc::clone(&desk), Arc::clone(&pulse));
        async move { Ok::<_, Infallible>(desk.answer(request.into_parts().0, pulse).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_buf_size(HEAD_OCTETS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let mut taken = 0;
    // Whatever a client does wrong is its own loss.
    while time::timeout(D::PATIENCE, connection.as_mut())
        .await
        .is_err()
    {
        let before = std::mem::replace(&mut taken, pulse.load(Relaxed));
        if before == taken {
            return;
        }
    }
}

type Page = Response<Either<Full<Bytes>, Events>>;

/// The read-only pages: whoever reaches the address may look.
struct Window {
    state: Arc<dyn State>,
    home: Home,
}

impl Desk for Window {
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn answer(&self, request: Parts, _: Pulse) -> Page {
        if !is_addressed_to_us(&request) {
            return text(
                StatusCode::FORBIDDEN,
                "the host must be an address or localhost\n",
            );
        }
        if let Some(refusal) = only(&[Method::GET, Method::HEAD], &request.method) {
            return refusal;
        }
        match request.uri.path() {
            "/" => self.home.page(&self.state).await,
            "/metrics" => page(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.state.metrics(),
            ),
            path => shared(&*self.state, path, request.uri.query()).unwrap_or_else(|| {
                let pages = "/, /metrics, /livez, /readyz, /status\n";
                text(StatusCode::NOT_FOUND, pages)
            }),
        }
    }
}

/// The pages that are behind every door.
fn shared<S: State + ?Sized>(state: &S, path: &str, query: Option<&str>) -> Option<Page> {
    match path {
        "/livez" => Some(livez(state)),
        "/readyz" => Some(readyz(state, query)),
        "/status" => Some(json(StatusCode::OK, &state.status())),
        _ => None,
    }
}

/// Refuses every method but these.
fn only(allowed: &[Method], method: &Method) -> Option<Page> {
    if allowed.contains(method) {
        return None;
    }
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let message = format!("{}\n", names.join(" or "));
    let mut page = text(StatusCode::METHOD_NOT_ALLOWED, message);
    let names = HeaderValue::from_str(&names.join(", "));
    page.headers_mut()
        .insert(ALLOW, names.expect("methods are plain"));
    Some(page)
}

/// Only names can be rebound; an address in `Host` was typed or configured.
fn is_addressed_to_us(request: &Parts) -> bool {
    let mut hosts = request.headers.get_all(HOST).iter();
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

fn livez<S: State + ?Sized>(state: &S) -> Page {
    match state.live() {
        Ok(took) => text(
            StatusCode::OK,
            format!("ok, answered in {} us\n", took.as_micros()),
        ),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// Upstreams count only when asked for: one that comes and goes must not restart every box behind it.
fn readyz<S: State + ?Sized>(state: &S, query: Option<&str>) -> Page {
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
    let mut page = Response::new(Either::Left(Full::new(body.into())));
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
