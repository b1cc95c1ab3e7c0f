//! Where metrics are fetched: `GET /metrics` over HTTP, on a thread of its own. For probes there are `GET /live` (the process tells its
//! state) and `GET /ready` (clients are served with data that is not old on purpose: nothing is being loaded, and a replica is linked).

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

use quorate_topology::Info;

use super::{Format, Said, page};

/// What answers: asked at each fetch, on the endpoint's thread, which waits for it. Nothing if it can't be told.
pub type Told = dyn Fn() -> Option<Said> + Send + Sync;

/// Connections at a time; more wait.
const CONNECTIONS: usize = 16;
/// How long a request may take to come.
const SLOWEST: Duration = Duration::from_secs(10);

/// Listens at `address` and answers for ever. Where it listens; port 0 is any.
///
/// # Errors
/// The address can't be listened on, or there is no thread to be had.
pub fn start(address: SocketAddr, told: Arc<Told>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let place = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        runtime.block_on(async {
            // It was a listener a moment ago.
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                accept(listener, told).await;
            }
        });
    })?;
    Ok(place)
}

async fn accept(listener: tokio::net::TcpListener, told: Arc<Told>) {
    let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Descriptors may be short for a moment.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let told = Arc::clone(&told);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &*told);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(SLOWEST).max_buf_size(16 * 1024);
            // Whoever fetches may go when it likes.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

fn answer<B>(request: &Request<B>, told: &Told) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let format = wanted(request.headers());
            match told() {
                Some(said) => (StatusCode::OK, kind(format), page(&said, format)),
                None => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "It can't be told at the moment.\n".to_owned()),
            }
        }
        (&Method::GET, "/live") => match told() {
            Some(_) => (StatusCode::OK, TEXT, "It lives.\n".to_owned()),
            None => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "It does not tell its state.\n".to_owned()),
        },
        (&Method::GET, "/ready") => match told().map(|said| unready(&said.info)) {
            Some(None) => (StatusCode::OK, TEXT, "It is ready.\n".to_owned()),
            Some(Some(why)) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
            None => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "It does not tell its state.\n".to_owned()),
        },
        (&Method::GET, "/") => {
            (StatusCode::OK, TEXT, "Metrics are at /metrics, probes at /live and /ready.\n".to_owned())
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "Metrics are at /metrics.\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Why clients had better not come yet.
fn unready(info: &Info) -> Option<&'static str> {
    if info.flag("loading") || info.flag("async_loading") {
        return Some("It loads its dataset.");
    }
    (info.get("master_link_status").is_some_and(|status| status != "up")).then_some("It has no link to its primary.")
}

const TEXT: &str = "text/plain; charset=utf-8";

fn wanted(headers: &HeaderMap) -> Format {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.contains("application/openmetrics-text") { Format::Open } else { Format::Plain }
}

fn kind(format: Format) -> &'static str {
    match format {
        Format::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(path: &str, info: Option<&str>) -> u16 {
        let info = info.map(str::to_owned);
        let told = move || info.as_ref().map(|text| Said { info: Info::of(text), ..Said::default() });
        answer(&Request::get(path).body(()).unwrap(), &told).status().as_u16()
    }

    #[test]
    fn who_loads_or_has_lost_its_primary_lives_but_is_not_ready() {
        for (info, live, ready) in [
            (Some("role:master\r\nloading:0\r\n"), 200, 200),
            (Some("role:slave\r\nmaster_link_status:up\r\nloading:0\r\n"), 200, 200),
            (Some("role:slave\r\nmaster_link_status:down\r\n"), 200, 503),
            (Some("role:master\r\nloading:1\r\n"), 200, 503),
            (Some("redis_mode:sentinel\r\n"), 200, 200),
            (None, 503, 503),
        ] {
            assert_eq!((status("/live", info), status("/ready", info)), (live, ready), "{info:?}");
        }
        assert_eq!(status("/elsewhere", Some("")), 404);
    }
}
