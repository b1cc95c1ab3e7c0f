//! The page and its interface over HTTP/1.1. What is asked is looked at by `gate` before anything else.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /`, `/app.js`, ... | the page |
//! | `GET /api/state` | the newest state |
//! | `GET /api/stream` | each new state, as server-sent events |
//! | `GET /api/history` | how figures went |
//! | `POST /api/plan` | `{"wish": "failover", "name": ...}`: what would be done |
//! | `POST /api/perform` | `{"plan": number}`: does it |

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use quorate_topology::{Address, Wish};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::assets;
use super::board::{Board, What};
use super::gate::{Gate, Headers, Refusal};

type Body = BoxBody<Bytes, Infallible>;

/// Connections at a time; more wait.
const CONNECTIONS: usize = 256;
/// A body that is longer is none of ours.
const LONGEST: usize = 4096;
/// How long a request may take to come.
const SLOWEST: Duration = Duration::from_secs(10);
/// Nothing but what this server itself sends is run, shown or asked, and no other page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Serves for ever.
pub(super) async fn accept(listener: TcpListener, board: Rc<Board>, gate: Rc<Gate>) {
    let places = Rc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let place = Rc::clone(&places);
        let Ok(stream) = listener.accept().await else {
            // Descriptors may be short for a moment.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (board, gate) = (Rc::clone(&board), Rc::clone(&gate));
        tokio::task::spawn_local(async move {
            let Ok(_place) = place.acquire().await else { return };
            let service = service_fn(|request| {
                let (board, gate) = (Rc::clone(&board), Rc::clone(&gate));
                async move { Ok::<_, Infallible>(sealed(answer(request, &board, &gate).await)) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(SLOWEST).max_buf_size(32 * 1024);
            // Browsers break connections as they like.
            let _ = server.serve_connection(TokioIo::new(stream.0), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, board: &Board, gate: &Gate) -> Response<Body> {
    let acts = request.method() == Method::POST;
    let headers = headers(request.headers());
    let allowed = if acts { gate.let_act(headers) } else { gate.let_read(headers) };
    if let Err(Refusal { status, text }) = allowed {
        let kind = if acts { "application/json" } else { "text/plain; charset=utf-8" };
        let text = if acts { json!({ "error": text }).to_string() } else { text.to_owned() };
        return response(StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN), kind, text);
    }
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/api/state") => json_response(Ok(board.follow().borrow().clone())),
        (&Method::GET, "/api/history") => json_response(Ok(Bytes::from(board.history().to_string()))),
        (&Method::GET, "/api/stream") => stream(board),
        (&Method::GET, path) => match assets::find(path) {
            Some(asset) => response(StatusCode::OK, asset.kind, asset.text),
            None => response(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "There is nothing here.\n"),
        },
        (&Method::POST, "/api/plan" | "/api/perform") => {
            let body = Limited::new(request.into_body(), LONGEST).collect();
            let Ok(Ok(body)) = tokio::time::timeout(SLOWEST, body).await else {
                return json_response(Err("the request is too long or too slow".to_owned()));
            };
            let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            let what = if path == "/api/plan" {
                wish(&body).map(What::Plan)
            } else {
                body["plan"].as_u64().map(What::Perform)
            };
            let done = match what {
                Some(what) => board.order(what).await,
                None => Err("that is no wish that is known here".to_owned()),
            };
            json_response(done.map(|value| Bytes::from(value.to_string())))
        }
        _ => response(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "That can't be done here.\n"),
    }
}

fn headers(map: &HeaderMap) -> Headers<'_> {
    let get = |name: HeaderName| map.get(name).and_then(|value| value.to_str().ok());
    Headers {
        host: get(header::HOST),
        origin: get(header::ORIGIN),
        site: get(HeaderName::from_static("sec-fetch-site")),
        kind: get(header::CONTENT_TYPE),
        authorization: get(header::AUTHORIZATION),
    }
}

/// Reads `{"wish": word, ...}`.
fn wish(body: &Value) -> Option<Wish> {
    let node = || body["node"].as_str().and_then(Address::parse);
    match body["wish"].as_str()? {
        "failover" => Some(Wish::FailOver(body["name"].as_str()?.to_owned())),
        "promote" => node().map(Wish::Promote),
        "add" => node().map(Wish::Add),
        "remove" => node().map(Wish::Remove),
        "rebalance" => Some(Wish::Rebalance),
        _ => None,
    }
}

/// Each new state, as long as somebody reads.
fn stream(board: &Board) -> Response<Body> {
    let mut states = board.follow();
    states.mark_changed();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    tokio::task::spawn_local(async move {
        while states.changed().await.is_ok() {
            let state = states.borrow_and_update().clone();
            if state.is_empty() {
                continue;
            }
            let mut event = Vec::with_capacity(state.len() + 8);
            event.extend_from_slice(b"data: ");
            event.extend_from_slice(&state);
            event.extend_from_slice(b"\n\n");
            if sender.send(Bytes::from(event)).await.is_err() {
                return;
            }
        }
    });
    let frames = Frames(receiver);
    let body = StreamBody::new(frames).boxed();
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// The body of a stream: what comes through a channel.
struct Frames(tokio::sync::mpsc::Receiver<Bytes>);

impl futures_util::Stream for Frames {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn json_response(done: Result<Bytes, String>) -> Response<Body> {
    match done {
        Ok(text) => response(StatusCode::OK, "application/json", text),
        Err(error) => response(StatusCode::CONFLICT, "application/json", json!({ "error": error }).to_string()),
    }
}

fn response(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Adds what every answer says of how it may be used.
fn sealed(mut response: Response<Body>) -> Response<Body> {
    let mut add = |name: &'static str, value: &'static str| {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    };
    add("content-security-policy", POLICY);
    add("x-content-type-options", "nosniff");
    add("referrer-policy", "no-referrer");
    add("cross-origin-opener-policy", "same-origin");
    add("cross-origin-resource-policy", "same-origin");
    add("cache-control", "no-store");
    response
}
