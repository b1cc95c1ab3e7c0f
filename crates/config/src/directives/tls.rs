//! TLS: where certificates and keys are, which connections are encrypted, who must have a certificate.

use std::time::Duration;

use crate::choice::Choice;
use crate::config::{from_seconds, seconds};
use crate::quantity::{INT, decimal};
use crate::spec::{Apply, Flags, Form, Spec, choice, kept, number, switch, text};
use crate::text::{Secret, Text, shown};

/// Certificates and what is encrypted. Paths are of PEM files.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// `tls-port`; 0 listens on none.
    pub port: u16,
    /// `tls-cert-file`: our certificate.
    pub certificate: Option<Text>,
    /// `tls-key-file`: its key.
    pub key: Option<Text>,
    /// `tls-key-file-pass`: what the key is encrypted with.
    pub key_password: Option<Secret>,
    /// `tls-client-cert-file`: the certificate for connections that we open; without it the other one.
    pub client_certificate: Option<Text>,
    /// `tls-client-key-file`.
    pub client_key: Option<Text>,
    /// `tls-client-key-file-pass`.
    pub client_key_password: Option<Secret>,
    /// `tls-ca-cert-file`: whom we trust.
    pub authorities: Option<Text>,
    /// `tls-ca-cert-dir`: a directory of those whom we trust.
    pub authorities_directory: Option<Text>,
    /// `tls-auth-clients`: whether clients need a certificate.
    pub client_authentication: ClientAuthentication,
    /// `tls-replication`: encrypt the link to our primary.
    pub replication: bool,
    /// `tls-cluster`: encrypt the cluster bus.
    pub cluster: bool,
    /// `tls-protocols`: versions to speak, separated by blanks, as `TLSv1.2 TLSv1.3`; unset is both.
    pub protocols: Option<Text>,
    /// `tls-ciphersuites`: suites of TLS 1.3, separated by colons.
    pub cipher_suites: Option<Text>,
    /// `tls-ciphers`: the same of TLS 1.2, as OpenSSL reads such a list.
    pub ciphers: Option<Text>,
    /// `tls-prefer-server-ciphers`: our order decides, and not the client's.
    pub prefer_server_ciphers: bool,
    /// `tls-session-caching`: a client that comes again may take up its session.
    pub session_caching: bool,
    /// `tls-session-cache-size`: how many sessions are kept; 0 for any number.
    pub session_cache_size: usize,
    /// `tls-session-cache-timeout`: for how long.
    pub session_cache_timeout: Duration,
    /// `tls-handshake-timeout`: how long a client may take until it is agreed how to encrypt.
    pub handshake_timeout: Duration,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            port: 0,
            certificate: None,
            key: None,
            key_password: None,
            client_certificate: None,
            client_key: None,
            client_key_password: None,
            authorities: None,
            authorities_directory: None,
            client_authentication: ClientAuthentication::Required,
            replication: false,
            cluster: false,
            protocols: None,
            cipher_suites: None,
            ciphers: None,
            prefer_server_ciphers: false,
            session_caching: true,
            session_cache_size: 20480,
            session_cache_timeout: Duration::from_secs(300),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Tls {
    /// Whether anything is encrypted.
    pub fn is_used(&self) -> bool {
        self.port > 0 || self.replication || self.cluster
    }
}

/// Whether clients need a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuthentication {
    /// They are not asked for one.
    No,
    /// Nobody gets in without.
    #[default]
    Required,
    /// One that is shown must be good.
    Optional,
}

impl Choice for ClientAuthentication {
    const WORDS: &'static [(&'static str, ClientAuthentication)] = &[
        ("no", ClientAuthentication::No),
        ("yes", ClientAuthentication::Required),
        ("optional", ClientAuthentication::Optional),
    ];
}

/// Loaded anew whenever it is set: the file may have changed though its name has not.
const A_FILE: Flags = Flags::ALWAYS_APPLIED;

pub(super) static TABLE: &[Spec] = &[
    number("tls-port", decimal(0, 65535), |c| c.tls.port.into(), |c, n| c.tls.port = n as u16)
        .applies(Apply::ListenTls),
    text("tls-cert-file", |c| shown(&c.tls.certificate), |c, text| c.tls.certificate = Text::unless_empty(text))
        .is(A_FILE)
        .applies(Apply::Tls),
    text("tls-key-file", |c| shown(&c.tls.key), |c, text| c.tls.key = Text::unless_empty(text))
        .is(A_FILE)
        .applies(Apply::Tls),
    text(
        "tls-key-file-pass",
        |c| Secret::shown(&c.tls.key_password),
        |c, text| c.tls.key_password = Secret::unless_empty(text),
    )
    .is(Flags::SENSITIVE)
    .applies(Apply::Tls),
    text(
        "tls-client-cert-file",
        |c| shown(&c.tls.client_certificate),
        |c, text| c.tls.client_certificate = Text::unless_empty(text),
    )
    .is(A_FILE)
    .applies(Apply::Tls),
    text("tls-client-key-file", |c| shown(&c.tls.client_key), |c, text| c.tls.client_key = Text::unless_empty(text))
        .is(A_FILE)
        .applies(Apply::Tls),
    text(
        "tls-client-key-file-pass",
        |c| Secret::shown(&c.tls.client_key_password),
        |c, text| c.tls.client_key_password = Secret::unless_empty(text),
    )
    .is(Flags::SENSITIVE)
    .applies(Apply::Tls),
    kept("tls-dh-params-file", Form::Text, "", "key exchange is by elliptic curves, which need no parameters")
        .is(A_FILE),
    text("tls-ca-cert-file", |c| shown(&c.tls.authorities), |c, text| c.tls.authorities = Text::unless_empty(text))
        .is(A_FILE)
        .applies(Apply::Tls),
    text(
        "tls-ca-cert-dir",
        |c| shown(&c.tls.authorities_directory),
        |c, text| c.tls.authorities_directory = Text::unless_empty(text),
    )
    .is(A_FILE)
    .applies(Apply::Tls),
    choice(
        "tls-auth-clients",
        ClientAuthentication::words,
        |c| c.tls.client_authentication.as_word(),
        |c, word| c.tls.client_authentication = Choice::named(word),
    )
    .applies(Apply::Tls),
    kept("tls-auth-clients-user", Form::Choice(&["CN", "URI", "off"]), "off", "a certificate does not name a user")
        .later(),
    switch("tls-replication", |c| c.tls.replication, |c, on| c.tls.replication = on).applies(Apply::Tls),
    switch("tls-cluster", |c| c.tls.cluster, |c, on| c.tls.cluster = on).applies(Apply::Tls),
    text("tls-protocols", |c| shown(&c.tls.protocols), |c, text| c.tls.protocols = Text::unless_empty(text))
        .applies(Apply::Tls),
    text("tls-ciphers", |c| shown(&c.tls.ciphers), |c, text| c.tls.ciphers = Text::unless_empty(text))
        .applies(Apply::Tls),
    text("tls-ciphersuites", |c| shown(&c.tls.cipher_suites), |c, text| c.tls.cipher_suites = Text::unless_empty(text))
        .applies(Apply::Tls),
    switch("tls-prefer-server-ciphers", |c| c.tls.prefer_server_ciphers, |c, on| c.tls.prefer_server_ciphers = on)
        .applies(Apply::Tls),
    switch("tls-session-caching", |c| c.tls.session_caching, |c, on| c.tls.session_caching = on).applies(Apply::Tls),
    number(
        "tls-session-cache-size",
        decimal(0, INT),
        |c| c.tls.session_cache_size as i128,
        |c, n| c.tls.session_cache_size = n as usize,
    )
    .applies(Apply::Tls),
    number(
        "tls-session-cache-timeout",
        decimal(0, INT),
        |c| seconds(c.tls.session_cache_timeout),
        |c, n| c.tls.session_cache_timeout = from_seconds(n),
    )
    .applies(Apply::Tls),
    number(
        "tls-handshake-timeout",
        decimal(1, INT),
        |c| seconds(c.tls.handshake_timeout),
        |c, n| c.tls.handshake_timeout = from_seconds(n),
    )
    .ours(),
    kept("tls-auto-reload-interval", Form::Number(decimal(0, INT)), "0", "setting a certificate's path loads it anew")
        .later(),
];
