//! Who may read and who may act: decided from a request's headers alone.
//!
//! A browser sends requests for whatever page is open in it. So the name in `Host` must be one that no stranger can let point here
//! (a number, localhost, or a name that the operator gave), or a page from elsewhere could read this one. Whoever acts must also
//! come from this very page and know the token, which no browser adds by itself.

use std::net::IpAddr;

pub(crate) struct Gate {
    names: Vec<String>,
    token: Option<String>,
}

/// Why a request is refused, with the status of HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: &'static str,
}

/// What a request says of where it comes from.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Headers<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    /// `Sec-Fetch-Site`
    pub(super) site: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    pub(super) authorization: Option<&'a str>,
}

const FORBIDDEN: u16 = 403;

impl Gate {
    pub(crate) fn new(names: Vec<String>, token: Option<String>) -> Gate {
        Gate { names, token }
    }

    pub(crate) fn may_act(&self) -> bool {
        self.token.is_some()
    }

    /// Whether the request may read.
    pub(super) fn let_read(&self, headers: Headers<'_>) -> Result<(), Refusal> {
        let host = headers.host.unwrap_or_default();
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, _)) => name,
            None => host.split(':').next().unwrap_or_default(),
        };
        let is_own = name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|own| own.eq_ignore_ascii_case(name));
        let text = "This page does not answer to that name; start the dashboard with --name to add it.\n";
        if is_own { Ok(()) } else { Err(Refusal { status: FORBIDDEN, text }) }
    }

    /// Whether the request may plan and act.
    pub(super) fn let_act(&self, headers: Headers<'_>) -> Result<(), Refusal> {
        self.let_read(headers)?;
        let refuse = |text| Err(Refusal { status: FORBIDDEN, text });
        let Some(token) = &self.token else {
            return refuse("The dashboard was started without --actions: it only shows.");
        };
        let own = |scheme: &str| headers.host.map(|host| format!("{scheme}://{host}"));
        let is_own =
            headers.origin.is_some() && [own("http"), own("https")].iter().any(|own| own.as_deref() == headers.origin);
        if !is_own || headers.site.is_some_and(|site| site != "same-origin") {
            return refuse("Actions are taken from the dashboard's own page only.");
        }
        if headers.kind.map(|kind| kind.split(';').next().unwrap_or_default().trim()) != Some("application/json") {
            return refuse("Actions are told as JSON.");
        }
        let given = headers.authorization.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        if !is_same(given.as_bytes(), token.as_bytes()) {
            return Err(Refusal { status: 401, text: "That is not the token." });
        }
        Ok(())
    }
}

/// Compares in a time that tells nothing of where they differ.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    given.len() == token.len() && given.iter().zip(token).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(vec!["board.example".to_owned()], Some("secret".to_owned()))
    }

    fn good<'a>() -> Headers<'a> {
        Headers {
            host: Some("127.0.0.1:7379"),
            origin: Some("http://127.0.0.1:7379"),
            site: Some("same-origin"),
            kind: Some("application/json"),
            authorization: Some("Bearer secret"),
        }
    }

    #[test]
    fn names_that_a_stranger_could_let_point_here_are_refused() {
        for host in ["127.0.0.1:7379", "localhost:7379", "[::1]:7379", "10.0.0.1", "Board.Example:80"] {
            assert_eq!(gate().let_read(Headers { host: Some(host), ..Headers::default() }), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil:7379"] {
            assert!(gate().let_read(Headers { host: Some(host), ..Headers::default() }).is_err(), "{host}");
        }
        assert!(gate().let_read(Headers::default()).is_err());
    }

    #[test]
    fn only_the_page_itself_with_the_token_acts() {
        assert_eq!(gate().let_act(good()), Ok(()));
        for (bad, status) in [
            (Headers { origin: Some("http://evil.example"), ..good() }, 403),
            (Headers { origin: None, ..good() }, 403),
            (Headers { origin: Some("null"), ..good() }, 403),
            (Headers { site: Some("cross-site"), ..good() }, 403),
            (Headers { kind: Some("text/plain"), ..good() }, 403),
            (Headers { kind: None, ..good() }, 403),
            (Headers { authorization: None, ..good() }, 401),
            (Headers { authorization: Some("Bearer secret2"), ..good() }, 401),
            (Headers { host: Some("evil.example"), origin: Some("http://evil.example"), ..good() }, 403),
        ] {
            assert_eq!(gate().let_act(bad).unwrap_err().status, status, "{bad:?}");
        }
        assert_eq!(Gate::new(Vec::new(), None).let_act(good()).unwrap_err().status, 403);
    }
}
