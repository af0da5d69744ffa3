//! The operator's door: a unix socket whose file permissions say who may come in.
//!
//! What the read-only listener shows is here too, and beside it what names were
//! asked for, why one is blocked, and two things that can be done: have the
//! policy read again, and have the cache forget. No body of a request is read.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::Either;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::super::{Sighting, Telemetry};
use super::events::{Events, Pulse, Wanted};
use super::params::Params;
use super::{Desk, Page, State, json, only, page, serve_at, shared, text};

/// Who watches decisions at once: a person or two, and a collector.
const WATCHERS_MAX: usize = 8;

/// What the operator's door leads to.
pub trait Admin: State {
    /// What was counted and what is remembered.
    fn telemetry(&self) -> Arc<Telemetry>;
    /// Whom the box is told to ask; empty: nobody was named.
    fn contact(&self) -> &str;
    /// What the policy in force says to a name, and what else is known of it.
    ///
    /// # Errors
    /// A sentence about a question that is none.
    fn explain(&self, question: Question)
    -> impl Future<Output = Result<Explained, String>> + Send;
    /// Reads the policy file again, and what else is read at a reload; returns when the policy was judged.
    ///
    /// # Errors
    /// What stays in force, and why: the file is none that could replace it.
    fn reload(&self) -> impl Future<Output = Result<Value, Value>> + Send;
    /// Forgets what upstream has said. Returns how many answers there were.
    fn flush_cache(&self) -> usize;
}

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// A name, as typed.
    pub name: String,
    /// A type of records, as typed.
    pub kind: String,
    /// Is upstream to be asked?
    pub resolve: bool,
}

/// An explanation, in both of its forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
}

/// Serves the operator's pages for as long as it is polled.
pub async fn serve<A: Admin>(listener: UnixListener, admin: Arc<A>) {
    let office = Office {
        admin,
        watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
    };
    serve_at(listener, Arc::new(office)).await;
}

struct Office<A> {
    admin: Arc<A>,
    watchers: Arc<Semaphore>,
}

impl<A: Admin> Desk for Office<A> {
    /// A large policy takes seconds to be read, and a write to it is waited for.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn answer(&self, request: Parts, pulse: Pulse) -> Page {
        let path = request.uri.path();
        let is_act = matches!(path, "/v1/reload" | "/v1/cache/flush");
        let allowed: &[Method] = match path {
            _ if is_act => &[Method::POST],
            _ if path.starts_with("/v1/") => &[Method::GET],
            _ => &[Method::GET, Method::HEAD],
        };
        if let Some(refusal) = only(allowed, &request.method) {
            return refusal;
        }
        if let Some(page) = shared(&*self.admin, path, request.uri.query()) {
            return page;
        }
        let params = match Params::read(request.uri.query()) {
            Ok(params) => params,
            Err(why) => return bad(&why),
        };
        let answered = self.own(path, params, pulse).await;
        answered.unwrap_or_else(|why| bad(&why))
    }
}

impl<A: Admin> Office<A> {
    /// The pages that are nowhere else.
    async fn own(&self, path: &str, params: Params, pulse: Pulse) -> Result<Page, String> {
        match path {
            "/v1/explain" => self.explain(params).await,
            "/v1/blocked" => self.blocked(params).await,
            "/v1/trail" => self.trail(params).await,
            "/v1/events" => self.events(params, pulse),
            "/v1/reload" => {
                params.done()?;
                Ok(match self.admin.reload().await {
                    Ok(body) => json(StatusCode::OK, &body),
                    Err(body) => json(StatusCode::UNPROCESSABLE_ENTITY, &body),
                })
            }
            "/v1/cache/flush" => {
                params.done()?;
                let flushed = self.admin.flush_cache();
                Ok(json(StatusCode::OK, &json!({ "v": 1, "flushed": flushed })))
            }
            _ => Ok(text(
                StatusCode::NOT_FOUND,
                "GET /status, /livez, /readyz, /v1/explain, /v1/blocked, /v1/trail, /v1/events; \
                 POST /v1/reload, /v1/cache/flush\n",
            )),
        }
    }

    async fn explain(&self, mut params: Params) -> Result<Page, String> {
        let question = Question {
            name: params.text("name").ok_or("name=NAME is missing")?,
            kind: params.text("type").unwrap_or_else(|| "A".to_owned()),
            resolve: params.switch("resolve")?,
        };
        let is_text = is_text(&mut params)?;
        params.done()?;
        let explained = self.admin.explain(question).await?;
        Ok(match is_text {
            true => text(StatusCode::OK, explained.text),
            false => json(StatusCode::OK, &explained.json),
        })
    }

    async fn blocked(&self, mut params: Params) -> Result<Page, String> {
        let since = params.value::<humantime::Duration>("since")?;
        let (all, is_text) = (params.switch("all")?, is_text(&mut params)?);
        params.done()?;
        let now = SystemTime::now();
        let since = since.and_then(|it| now.checked_sub(*it));
        let (telemetry, contact) = (self.admin.telemetry(), self.admin.contact().to_owned());
        let looked = spawn_blocking(move || match is_text {
            true => text(StatusCode::OK, telemetry.blocked_text(&contact, since, all)),
            false => json(StatusCode::OK, &telemetry.blocked_json(since, all)),
        });
        Ok(looked.await.expect("a look does not panic"))
    }

    /// All that is remembered of names.
    async fn trail(&self, params: Params) -> Result<Page, String> {
        params.done()?;
        let telemetry = self.admin.telemetry();
        let looked = spawn_blocking(move || {
            let names = telemetry.sightings(|_| true);
            let names: Vec<Value> = names.iter().map(Sighting::json).collect();
            json(StatusCode::OK, &json!({ "v": 1, "names": names }))
        });
        Ok(looked.await.expect("a look does not panic"))
    }

    fn events(&self, mut params: Params, pulse: Pulse) -> Result<Page, String> {
        let wanted = Wanted::read(&mut params)?;
        params.done()?;
        let Ok(place) = self.watchers.clone().try_acquire_owned() else {
            let full = "as many watch already as may\n";
            return Ok(text(StatusCode::SERVICE_UNAVAILABLE, full));
        };
        let events = Events::begin(self.admin.telemetry(), wanted, pulse, place);
        let mut page = Response::new(Either::Right(events));
        let headers = page.headers_mut();
        let kind = HeaderValue::from_static("application/jsonl");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(page)
    }
}

/// Is the form for people wanted?
fn is_text(params: &mut Params) -> Result<bool, String> {
    match params.text("format").as_deref() {
        None | Some("json") => Ok(false),
        Some("text") => Ok(true),
        Some(other) => Err(format!("format={other}: write text or json")),
    }
}

fn bad(why: &str) -> Page {
    page(
        StatusCode::BAD_REQUEST,
        "text/plain; charset=utf-8",
        format!("{why}\n"),
    )
}
