//! Which suites are spoken: `tls-ciphersuites` (TLS 1.3) and `tls-ciphers` (TLS 1.2), as OpenSSL reads such lists.
//!
//! A list names suites in the order in which they are preferred. What the library does not have is left out: it has only
//! what is still held for safe, and lists in use name much else. A list of which nothing is left is an error.

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite};

use crate::contexts::Error;

/// Suites of TLS 1.2 by the names of OpenSSL, and what kinds they are of.
const OLDER: [(CipherSuite, &str, &[&str]); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["ECDSA", "AES", "AESGCM", "AES256"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["ECDSA", "AES", "AESGCM", "AES128"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["ECDSA", "CHACHA20"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        &["RSA", "aRSA", "AES", "AESGCM", "AES256"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        &["RSA", "aRSA", "AES", "AESGCM", "AES128"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        &["RSA", "aRSA", "CHACHA20"],
    ),
];

/// Kinds that all of ours are of.
const EVERY: [&str; 7] = ["ALL", "DEFAULT", "HIGH", "COMPLEMENTOFDEFAULT", "ECDHE", "EECDH", "AEAD"];

/// The suites of `provider` that the two directives leave, in their order.
pub(crate) fn chosen(
    provider: &CryptoProvider,
    suites: Option<&str>,
    ciphers: Option<&str>,
) -> Result<Vec<SupportedCipherSuite>, Error> {
    let of = |version| {
        let suites = provider.cipher_suites.iter().copied();
        suites.filter(move |suite| suite.version().version == version).collect::<Vec<_>>()
    };
    let newer = of(ProtocolVersion::TLSv1_3);
    let older = of(ProtocolVersion::TLSv1_2);
    let mut chosen = match suites {
        None => newer,
        Some(list) => newer_of(&newer, list)?,
    };
    chosen.extend(match ciphers {
        None => older,
        Some(list) => older_of(&older, list)?,
    });
    Ok(chosen)
}

/// What of a list of TLS 1.3's suites there is.
fn newer_of(all: &[SupportedCipherSuite], list: &str) -> Result<Vec<SupportedCipherSuite>, Error> {
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    for word in words(list) {
        // The library calls them TLS13_..., which everybody else calls TLS_...
        let is_named = |suite: &&SupportedCipherSuite| {
            let name = format!("{:?}", suite.suite());
            name.strip_prefix("TLS13_").is_some_and(|rest| word.strip_prefix("TLS_") == Some(rest))
        };
        if let Some(suite) = all.iter().find(is_named)
            && !chosen.contains(suite)
        {
            chosen.push(*suite);
        }
    }
    if chosen.is_empty() { Err(Error::NoSuite("tls-ciphersuites", list.to_owned())) } else { Ok(chosen) }
}

/// What of a list of TLS 1.2's suites there is.
fn older_of(all: &[SupportedCipherSuite], list: &str) -> Result<Vec<SupportedCipherSuite>, Error> {
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    let mut banned: Vec<SupportedCipherSuite> = Vec::new();
    for word in words(list) {
        let (sign, word) = match word.as_bytes()[0] {
            sign @ (b'!' | b'-' | b'+') => (sign, &word[1..]),
            _ => (b' ', word),
        };
        let meant: Vec<SupportedCipherSuite> = all.iter().filter(|suite| is_meant(suite, word)).copied().collect();
        match sign {
            b'!' | b'-' => chosen.retain(|suite| !meant.contains(suite)),
            b'+' => {
                let (moved, kept) = chosen.into_iter().partition(|suite| meant.contains(suite));
                chosen = kept;
                chosen.extend::<Vec<_>>(moved);
            }
            _ => {
                let fresh = meant.iter().filter(|suite| !chosen.contains(suite) && !banned.contains(suite));
                let fresh: Vec<_> = fresh.copied().collect();
                chosen.extend(fresh);
            }
        }
        if sign == b'!' {
            banned.extend(meant);
        }
    }
    if chosen.is_empty() { Err(Error::NoSuite("tls-ciphers", list.to_owned())) } else { Ok(chosen) }
}

/// Whether a word, which may join several kinds with `+`, means a suite.
fn is_meant(suite: &SupportedCipherSuite, word: &str) -> bool {
    let Some((_, name, kinds)) = OLDER.iter().find(|(id, ..)| *id == suite.suite()) else { return false };
    let is_of_kind = |kind: &str| EVERY.contains(&kind) || kinds.contains(&kind) || kind == "TLSv1.2";
    word == *name || word == format!("{:?}", suite.suite()) || word.split('+').all(is_of_kind)
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([':', ',', ' ']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs::default_provider;

    fn names(suites: Option<&str>, ciphers: Option<&str>) -> Result<Vec<String>, String> {
        let chosen = chosen(&default_provider(), suites, ciphers).map_err(|error| error.to_string())?;
        Ok(chosen.iter().map(|suite| format!("{:?}", suite.suite())).collect())
    }

    #[test]
    fn without_a_list_there_is_all_that_the_library_has_and_each_has_a_name_in_openssl() {
        let all = names(None, None).unwrap();
        assert_eq!(all.len(), 9);
        for suite in default_provider().cipher_suites {
            let is_newer = suite.version().version == ProtocolVersion::TLSv1_3;
            assert!(is_newer || OLDER.iter().any(|(id, ..)| *id == suite.suite()), "{suite:?}");
        }
    }

    #[test]
    fn a_list_has_its_own_order_and_what_is_not_there_is_left_out() {
        let suites = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256";
        let ciphers = "DHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305";
        let expected = [
            "TLS13_CHACHA20_POLY1305_SHA256",
            "TLS13_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ];
        assert_eq!(names(Some(suites), Some(ciphers)).unwrap(), expected);
    }

    #[test]
    fn kinds_are_added_taken_away_and_banned() {
        let tls13 = names(None, None).unwrap().iter().filter(|name| name.starts_with("TLS13")).count();
        let older = |list: &str| names(None, Some(list)).map(|names| names[tls13..].to_vec());
        assert_eq!(older("HIGH:!aNULL:!MD5").unwrap().len(), 6);
        assert_eq!(older("ECDHE+AESGCM:!ECDSA").unwrap().len(), 2);
        assert_eq!(older("!CHACHA20:ALL").unwrap().len(), 4);
        assert_eq!(
            older("ALL:-AES:+ECDSA").unwrap(),
            ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]
        );
    }

    #[test]
    fn a_list_of_which_nothing_is_left_is_refused() {
        assert!(names(Some("TLS_AES_128_CCM_SHA256"), None).unwrap_err().contains("tls-ciphersuites"));
        assert!(names(None, Some("AES256-SHA:RC4")).unwrap_err().contains("tls-ciphers"));
        assert!(names(None, Some("ALL:!ALL")).is_err());
    }
}
