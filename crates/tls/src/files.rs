//! Certificates and keys as they lie in PEM files.

use std::path::{Path, PathBuf};

use quorate_config::{Secret, Text};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::contexts::Error;
use crate::encrypted_key;

/// The certificates of a file: the first is whose it is, the others lead to who vouches for it.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = read_certificates(path)?;
    if found.is_empty() { Err(Error::NoCertificate(path.to_owned())) } else { Ok(found) }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path)?;
    CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| Error::not_pem(path, &error))
}

/// What PEM calls an encrypted key.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// The key of a file.
pub(crate) fn key(path: &Path, password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(path)?;
    let has = |mark: &str| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
    if has("Proc-Type: 4,ENCRYPTED") {
        return Err(Error::EncryptedKey(path.to_owned()));
    }
    if has(ENCRYPTED) {
        return decrypted(path, &bytes, password.ok_or_else(|| Error::NoPassword(path.to_owned()))?);
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(Error::NoKey(path.to_owned())),
        Err(error) => Err(Error::not_pem(path, &error)),
    }
}

fn decrypted(path: &Path, bytes: &[u8], password: &Secret) -> Result<PrivateKeyDer<'static>, Error> {
    // The library knows the label of plain keys only; what is between the lines is of the same form.
    let plain = String::from_utf8_lossy(bytes).replace(ENCRYPTED, "PRIVATE KEY");
    let der = PrivatePkcs8KeyDer::from_pem_slice(plain.as_bytes()).map_err(|error| Error::not_pem(path, &error))?;
    let key = encrypted_key::decrypt(der.secret_pkcs8_der(), password.reveal());
    let key = key.ok_or_else(|| Error::EncryptedKey(path.to_owned()))?;
    Ok(PrivatePkcs8KeyDer::from(key).into())
}

/// Whom we trust: those of a file, and those of every file of a directory.
pub(crate) fn authorities(file: Option<&Text>, directory: Option<&Text>) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    if let Some(file) = file {
        let path = file.as_path();
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|error| Error::Certificate(path.to_owned(), error))?;
        }
    }
    if let Some(directory) = directory {
        for path in files_of(directory.as_path())? {
            // As a directory for OpenSSL is made, it holds each certificate under two names, and perhaps other things.
            let found = read_certificates(&path).unwrap_or_default();
            store.add_parsable_certificates(found);
        }
        if store.is_empty() {
            return Err(Error::NoCertificate(directory.as_path().to_owned()));
        }
    }
    Ok(store)
}

/// Where systems keep those whom they trust; the first that is there counts, and before them what SSL_CERT_FILE names.
const OF_THE_SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Trusts whom the system trusts, too.
pub(crate) fn add_those_of_the_system(store: &mut RootCertStore) {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let mut known = named.into_iter().chain(OF_THE_SYSTEM.map(PathBuf::from));
    if let Some(path) = known.find(|path| path.is_file()) {
        // One that can't be read is one less to be trusted.
        store.add_parsable_certificates(read_certificates(&path).unwrap_or_default());
    }
}

fn files_of(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error: std::io::Error| Error::Unreadable(directory.to_owned(), error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Unreadable(path.to_owned(), error))
}
