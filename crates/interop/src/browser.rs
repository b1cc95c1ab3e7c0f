//! A headless Chromium, driven by Debian's chromedriver over the WebDriver protocol.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{PATIENCE, free_port, pause};

/// A browser with one window. It ends with the test.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

/// What an HTTP server answers: the status, the header as text, and the body.
///
/// # Errors
/// Nobody answers, or not in HTTP.
pub fn http(port: u16, request: &str) -> std::io::Result<(u16, String, Vec<u8>)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let nonsense = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let mut answer = Vec::new();
    let (mut head, mut length) = (0, None);
    while length.is_none_or(|length| answer.len() < head + length) {
        let mut chunk = [0; 64 * 1024];
        let read = stream.read(&mut chunk)?;
        answer.extend_from_slice(&chunk[..read]);
        if head == 0
            && let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
        {
            head = end + 4;
            let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
            let field = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            length = field.and_then(|value| value.trim().parse::<usize>().ok());
        }
        if read == 0 {
            break;
        }
    }
    let text = String::from_utf8_lossy(answer.get(..head).ok_or_else(nonsense)?).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(nonsense)?;
    Ok((status, text, answer.split_off(head)))
}

impl Browser {
    /// Starts one with a window of this size. `None`, and a line that says so, if there is no Chromium here.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(width: u32, height: u32) -> Option<Browser> {
        let is_there =
            |name| Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        if !is_there("chromedriver") || !is_there("chromium") {
            println!("SKIPPED chromium: not installed (cargo xtask peers)");
            return None;
        }
        let port = free_port();
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = driver.spawn().expect("chromedriver can be started");
        let mut browser = Browser { driver, port, session: String::new() };
        let deadline = Instant::now() + 2 * PATIENCE;
        while !browser.try_ask("GET", "/status", &Value::Null).is_ok_and(|status| status["ready"] == true) {
            assert!(Instant::now() < deadline, "chromedriver does not answer");
            pause();
        }
        let window = format!("--window-size={width},{height}");
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", window.as_str()];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let session = browser.ask("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().expect("a session has an id").to_owned();
        Some(browser)
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close", self.port);
        let kind = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
        let (status, _, text) = http(self.port, &format!("{head}\r\n{kind}\r\n\r\n{body}"))?;
        let answer: Value = serde_json::from_slice(&text)?;
        match status {
            200 => Ok(answer["value"].clone()),
            _ => Err(std::io::Error::other(answer["value"]["message"].to_string())),
        }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn tell(&self, what: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}{what}", self.session), body)
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.tell("/url", &json!({ "url": url }));
    }

    /// Runs a script in the page; what it returns. A promise is awaited.
    pub fn run(&self, script: &str) -> Value {
        self.tell("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns something true.
    ///
    /// # Panics
    /// If it does not by the deadline; with what the page shows.
    pub fn await_that(&self, script: &str) -> Duration {
        let start = Instant::now();
        loop {
            let value = self.run(script);
            if value != Value::Null && value != false && value != "" && value != 0 {
                return start.elapsed();
            }
            assert!(
                start.elapsed() < 3 * PATIENCE,
                "in vain: {script}\n{}",
                self.run("return document.body.innerText")
            );
            pause();
        }
    }

    /// Keeps a picture of the page, as PNG.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn keep(&self, path: &Path) {
        let picture = self.ask("GET", &format!("/session/{}/screenshot", self.session), &Value::Null);
        std::fs::write(path, decode(picture.as_str().unwrap_or_default())).expect("there is room for a picture");
    }

    /// Shows the page as a telephone would.
    pub fn be_phone(&self) {
        let device = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
        self.tell("/goog/cdp/execute", &json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": device }));
    }

    /// What the page has complained of since the last call.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.tell("/se/log", &json!({ "type": "browser" }));
        let is_bad = |line: &&Value| line["level"] == "SEVERE" || line["level"] == "WARNING";
        let lines = log.as_array().into_iter().flatten().filter(is_bad);
        lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session, and not with its driver.
        let _ = self.try_ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Reads base 64.
fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte));
    let digits: Vec<u32> = digits.filter_map(|digit| u32::try_from(digit).ok()).collect();
    let mut bytes = Vec::with_capacity(text.len());
    for four in digits.chunks(4) {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_is_read() {
        for (text, bytes) in [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo"), ("Zm9vYmE=", b"fooba")]
        {
            assert_eq!(decode(text), bytes);
        }
    }
}
