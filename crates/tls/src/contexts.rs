//! What new connections are made from: the directives and the files that they name, read once.
//!
//! A [`Contexts`] is complete or it is an error; so whoever replaces one by another that was read later never has half of
//! a new one, and connections that stand keep what they were made from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_config::{ClientAuthentication, Tls};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::files;
use crate::sessions::Sessions;
use crate::stream::Stream;
use crate::suites;

/// Why there is no TLS as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directive that names a file is not set.
    #[error("No {0} configured!")]
    Unset(&'static str),
    /// Somebody is to be judged and nobody is trusted.
    #[error(
        "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or \
         tls-auth-clients are enabled!"
    )]
    NoAuthorities,
    /// A file or a directory can't be read.
    #[error("{path}: {1}", path = .0.display())]
    Unreadable(PathBuf, std::io::Error),
    /// A file is not what it should be.
    #[error("{path}: it is no PEM file: {1}", path = .0.display())]
    NotPem(PathBuf, String),
    /// A file or a directory has no certificate in it.
    #[error("{}: there is no certificate in it", .0.display())]
    NoCertificate(PathBuf),
    /// A file has no key in it.
    #[error("{}: there is no private key in it", .0.display())]
    NoKey(PathBuf),
    /// A key is encrypted, and no password is set.
    #[error("{}: the private key is encrypted, and there is no password for it", .0.display())]
    NoPassword(PathBuf),
    /// A key is encrypted in a way that can't be read.
    #[error("{}: the private key is encrypted, and can't be read: it has another password, or is not PKCS #8 with AES", .0.display())]
    EncryptedKey(PathBuf),
    /// A certificate is none.
    #[error("{path}: the certificate can't be used: {1}", path = .0.display())]
    Certificate(PathBuf, rustls::Error),
    /// A key is none.
    #[error("{path}: the private key can't be used: {1}", path = .0.display())]
    Key(PathBuf, rustls::Error),
    /// A key is another certificate's.
    #[error("{}: the private key does not belong to the certificate", .0.display())]
    Mismatch(PathBuf),
    /// `tls-protocols` names no version, or one that is not spoken.
    #[error("Invalid tls-protocols specified. Use a combination of 'TLSv1.2' and 'TLSv1.3'; {0}")]
    Protocols(String),
    /// No suite is left.
    #[error("Failed to configure {0}: there is none of '{1}' that can be spoken")]
    NoSuite(&'static str, String),
    /// There is nobody who could vouch for a server.
    #[error("nobody is trusted: there is no tls-ca-cert-file, and the system has no authorities")]
    NobodyTrusted,
    /// Certificates have no such names.
    #[error("'{0}' is no name of a host")]
    NoName(String),
    /// What fits each by itself does not fit together.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

impl Error {
    pub(crate) fn not_pem(path: &Path, error: &rustls::pki_types::pem::Error) -> Error {
        Error::NotPem(path.to_owned(), error.to_string())
    }
}

/// What connections are made from, those that come and those that go out.
#[derive(Clone)]
pub struct Contexts {
    incoming: Arc<ServerConfig>,
    outgoing: Outgoing,
}

/// What connections that go out are made from, for those to whom nobody comes.
#[derive(Debug, Clone)]
pub struct Outgoing(Arc<ClientConfig>);

impl Contexts {
    /// Reads what the directives name.
    ///
    /// # Errors
    /// A file is missing, or is not what it should be, or a directive can't be obeyed.
    pub fn load(settings: &Tls) -> Result<Contexts, Error> {
        let certificate = settings.certificate.as_ref().ok_or(Error::Unset("tls-cert-file"))?;
        let key = settings.key.as_ref().ok_or(Error::Unset("tls-key-file"))?;
        let provider = provider(settings)?;
        let own = identity(&provider, certificate.as_path(), key.as_path(), settings.key_password.as_ref())?;
        let theirs = client_identity(settings, &provider)?.unwrap_or_else(|| Arc::clone(&own));
        let authorities = files::authorities(settings.authorities.as_ref(), settings.authorities_directory.as_ref())?;
        let judges = settings.client_authentication != ClientAuthentication::No;
        if authorities.is_empty() && (judges || settings.cluster || settings.replication) {
            return Err(Error::NoAuthorities);
        }
        let (provider, authorities) = (Arc::new(provider), Arc::new(authorities));
        let versions = versions(settings)?;
        Ok(Contexts {
            incoming: Arc::new(incoming(settings, &provider, &versions, &authorities, own)?),
            outgoing: Outgoing::of(&provider, &versions, authorities, Some(theirs))?,
        })
    }

    /// An encrypted connection of somebody who has come.
    ///
    /// # Errors
    /// The library can't begin one.
    pub fn accept(&self) -> Result<Stream, Error> {
        Ok(Stream::new(rustls::ServerConnection::new(Arc::clone(&self.incoming))?.into()))
    }

    /// What those are made from that go out.
    pub fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }
}

impl Outgoing {
    /// Reads what the directives name for a client: whom it trusts, and its certificate if it has one.
    ///
    /// # Errors
    /// As [`Contexts::load`].
    pub fn load(settings: &Tls) -> Result<Outgoing, Error> {
        let provider = provider(settings)?;
        let own = client_identity(settings, &provider)?;
        let authorities = files::authorities(settings.authorities.as_ref(), settings.authorities_directory.as_ref())?;
        if authorities.is_empty() {
            return Err(Error::NoAuthorities);
        }
        Outgoing::of(&Arc::new(provider), &versions(settings)?, Arc::new(authorities), own)
    }

    fn of(
        provider: &Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
        authorities: Arc<RootCertStore>,
        own: Option<Arc<CertifiedKey>>,
    ) -> Result<Outgoing, Error> {
        let verifier = Chain { authorities, algorithms: provider.signature_verification_algorithms };
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut context = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
            None => builder.with_no_client_auth(),
        };
        context.enable_sni = false;
        context.resumption = Resumption::disabled();
        Ok(Outgoing(Arc::new(context)))
    }

    /// An encrypted connection to somebody.
    ///
    /// # Errors
    /// The library can't begin one.
    pub fn connect(&self) -> Result<Stream, Error> {
        // Nobody's name is checked; see `Chain`. As sessions would be kept by names, none is.
        let name = ServerName::from(std::net::Ipv4Addr::UNSPECIFIED);
        Ok(Stream::new(rustls::ClientConnection::new(Arc::clone(&self.0), name)?.into()))
    }
}

/// What connections to servers of the web are made from: those are called by names, which their certificates have to bear.
#[derive(Debug, Clone)]
pub struct Web(Arc<ClientConfig>);

impl Web {
    /// Trusts whom the directives name, and whom the system trusts.
    ///
    /// # Errors
    /// A file is not what it should be, or nobody is trusted.
    pub fn load(settings: &Tls) -> Result<Web, Error> {
        let mut authorities =
            files::authorities(settings.authorities.as_ref(), settings.authorities_directory.as_ref())?;
        files::add_those_of_the_system(&mut authorities);
        if authorities.is_empty() {
            return Err(Error::NobodyTrusted);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(provider(settings)?));
        let builder = builder.with_protocol_versions(&versions(settings)?)?;
        Ok(Web(Arc::new(builder.with_root_certificates(authorities).with_no_client_auth())))
    }

    /// An encrypted connection to a host of this name.
    ///
    /// # Errors
    /// It is no name.
    pub fn connect(&self, host: &str) -> Result<Stream, Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::NoName(host.to_owned()))?;
        Ok(Stream::new(rustls::ClientConnection::new(Arc::clone(&self.0), name)?.into()))
    }
}

/// The certificate for connections that go out, if there is one for these alone.
fn client_identity(settings: &Tls, provider: &CryptoProvider) -> Result<Option<Arc<CertifiedKey>>, Error> {
    let Some(certificate) = &settings.client_certificate else { return Ok(None) };
    let key = settings.client_key.as_ref().ok_or(Error::Unset("tls-client-key-file"))?;
    identity(provider, certificate.as_path(), key.as_path(), settings.client_key_password.as_ref()).map(Some)
}

/// What we speak with.
fn provider(settings: &Tls) -> Result<CryptoProvider, Error> {
    let mut provider = aws_lc_rs::default_provider();
    let suites = settings.cipher_suites.as_ref().map(ToString::to_string);
    let ciphers = settings.ciphers.as_ref().map(ToString::to_string);
    provider.cipher_suites = suites::chosen(&provider, suites.as_deref(), ciphers.as_deref())?;
    Ok(provider)
}

fn versions(settings: &Tls) -> Result<Vec<&'static SupportedProtocolVersion>, Error> {
    let Some(list) = &settings.protocols else { return Ok(vec![&TLS13, &TLS12]) };
    let list = list.to_string();
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    for word in list.split_whitespace() {
        match word.to_ascii_lowercase().as_str() {
            "tlsv1.2" => versions.push(&TLS12),
            "tlsv1.3" => versions.push(&TLS13),
            _ => return Err(Error::Protocols(format!("'{word}' is not spoken"))),
        }
    }
    if versions.is_empty() { Err(Error::Protocols("there is none".to_owned())) } else { Ok(versions) }
}

/// A certificate with its key.
fn identity(
    provider: &CryptoProvider,
    certificate: &Path,
    key: &Path,
    password: Option<&quorate_config::Secret>,
) -> Result<Arc<CertifiedKey>, Error> {
    let certificates = files::certificates(certificate)?;
    let secret = files::key(key, password)?;
    let secret = provider.key_provider.load_private_key(secret).map_err(|error| Error::Key(key.to_owned(), error))?;
    let identity = CertifiedKey::new(certificates, secret);
    match identity.keys_match() {
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(Error::Mismatch(key.to_owned())),
        // A certificate that this library can't read, as one of version 1, may be good enough for others.
        _ => Ok(Arc::new(identity)),
    }
}

fn incoming(
    settings: &Tls,
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    authorities: &Arc<RootCertStore>,
    own: Arc<CertifiedKey>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(versions)?;
    let verifier = || WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), Arc::clone(provider));
    let verifier = match settings.client_authentication {
        ClientAuthentication::No => None,
        ClientAuthentication::Required => Some(verifier().build()),
        ClientAuthentication::Optional => Some(verifier().allow_unauthenticated().build()),
    };
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier.map_err(|_| Error::NoAuthorities)?),
    };
    let mut context = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    context.ignore_client_order = settings.prefer_server_ciphers;
    if settings.session_caching {
        context.session_storage = Arc::new(Sessions::new(settings.session_cache_size, settings.session_cache_timeout));
    } else {
        context.session_storage = Arc::new(NoServerSessionStorage {});
        context.send_tls13_tickets = 0;
    }
    Ok(context)
}

/// Wants somebody whom we trust to vouch for a server, and does not ask for its name: it is Redis' rule, because nodes
/// are known by addresses that change, and the authority is a deployment's own.
#[derive(Debug)]
struct Chain {
    authorities: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Chain {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.authorities, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
