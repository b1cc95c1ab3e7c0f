//! TLS: where certificates and keys are, which connections are encrypted, who must have a certificate.

use crate::choice::Choice;
use crate::quantity::{INT, decimal};
use crate::spec::{Apply, Flags, Form, Refusal, Spec, choice, kept, number, switch, text};
use crate::text::{Secret, Text, shown};

/// Certificates and what is encrypted. Paths are of PEM files.
#[derive(Debug, Clone, PartialEq, Default)]
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
const SUITES: &str = "the TLS library picks the ciphers of TLS 1.2 itself; it has no weak ones";
const SESSIONS: &str = "the TLS library keeps its sessions itself";

const NOT_YET: &str = "there is no TLS yet";

pub(super) static TABLE: &[Spec] = &[
    number("tls-port", decimal(0, 65535), |c| c.tls.port.into(), |c, n| c.tls.port = n as u16)
        .applies(Apply::ListenTls)
        .vetted(check_off)
        .not_yet(NOT_YET),
    text("tls-cert-file", |c| shown(&c.tls.certificate), |c, text| c.tls.certificate = Text::unless_empty(text))
        .is(A_FILE)
        .applies(Apply::Tls)
        .not_yet(NOT_YET),
    text("tls-key-file", |c| shown(&c.tls.key), |c, text| c.tls.key = Text::unless_empty(text))
        .is(A_FILE)
        .applies(Apply::Tls)
        .not_yet(NOT_YET),
    text(
        "tls-key-file-pass",
        |c| Secret::shown(&c.tls.key_password),
        |c, text| c.tls.key_password = Secret::unless_empty(text),
    )
    .is(Flags::SENSITIVE)
    .applies(Apply::Tls)
    .not_yet(NOT_YET),
    text(
        "tls-client-cert-file",
        |c| shown(&c.tls.client_certificate),
        |c, text| c.tls.client_certificate = Text::unless_empty(text),
    )
    .is(A_FILE)
    .applies(Apply::Tls)
    .not_yet(NOT_YET),
    text("tls-client-key-file", |c| shown(&c.tls.client_key), |c, text| c.tls.client_key = Text::unless_empty(text))
        .is(A_FILE)
        .applies(Apply::Tls)
        .not_yet(NOT_YET),
    text(
        "tls-client-key-file-pass",
        |c| Secret::shown(&c.tls.client_key_password),
        |c, text| c.tls.client_key_password = Secret::unless_empty(text),
    )
    .is(Flags::SENSITIVE)
    .applies(Apply::Tls)
    .not_yet(NOT_YET),
    kept("tls-dh-params-file", Form::Text, "", "key exchange is by elliptic curves, which need no parameters")
        .is(A_FILE),
    text("tls-ca-cert-file", |c| shown(&c.tls.authorities), |c, text| c.tls.authorities = Text::unless_empty(text))
        .is(A_FILE)
        .applies(Apply::Tls)
        .not_yet(NOT_YET),
    text(
        "tls-ca-cert-dir",
        |c| shown(&c.tls.authorities_directory),
        |c, text| c.tls.authorities_directory = Text::unless_empty(text),
    )
    .is(A_FILE)
    .applies(Apply::Tls)
    .not_yet(NOT_YET),
    choice(
        "tls-auth-clients",
        ClientAuthentication::words,
        |c| c.tls.client_authentication.as_word(),
        |c, word| c.tls.client_authentication = Choice::named(word),
    )
    .applies(Apply::Tls)
    .not_yet(NOT_YET),
    kept("tls-auth-clients-user", Form::Choice(&["CN", "URI", "off"]), "off", "a certificate does not name a user")
        .later(),
    switch("tls-replication", |c| c.tls.replication, |c, on| c.tls.replication = on)
        .applies(Apply::Tls)
        .not_yet(NOT_YET),
    switch("tls-cluster", |c| c.tls.cluster, |c, on| c.tls.cluster = on).applies(Apply::Tls).not_yet(NOT_YET),
    text("tls-protocols", |c| shown(&c.tls.protocols), |c, text| c.tls.protocols = Text::unless_empty(text))
        .applies(Apply::Tls)
        .not_yet(NOT_YET),
    kept("tls-ciphers", Form::Text, "", SUITES),
    text("tls-ciphersuites", |c| shown(&c.tls.cipher_suites), |c, text| c.tls.cipher_suites = Text::unless_empty(text))
        .applies(Apply::Tls)
        .not_yet(NOT_YET),
    kept("tls-prefer-server-ciphers", Form::Switch, "no", SUITES),
    kept("tls-session-caching", Form::Switch, "yes", SESSIONS),
    kept("tls-session-cache-size", Form::Number(decimal(0, INT)), "20480", SESSIONS),
    kept("tls-session-cache-timeout", Form::Number(decimal(0, INT)), "300", SESSIONS),
    kept("tls-auto-reload-interval", Form::Number(decimal(0, INT)), "0", "setting a certificate's path loads it anew")
        .later(),
];

fn check_off(shown: &[u8]) -> Result<(), Refusal> {
    if shown == b"0" { Ok(()) } else { Err(NOT_YET.into()) }
}
