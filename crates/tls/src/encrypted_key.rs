//! Private keys that lie encrypted on disk: PKCS #8 as OpenSSL writes it (RFC 8018, PBES2 with PBKDF2 and AES-CBC).
//!
//! Not the older kind whose PEM file has a `DEK-Info` line: its password is hardly a hindrance.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::{iv::FixedLength, pbkdf2};

/// More rounds than this would keep a start waiting for long; OpenSSL makes 2,048.
const MOST_ROUNDS: u32 = 10_000_000;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;

const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// The digests of PBKDF2 by the last byte of their names.
const HMAC: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02];
/// AES in CBC, by the last byte of the name.
const AES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01];

/// The key in `der`, which is an EncryptedPrivateKeyInfo; `None` if that is not what it is, or not with this password.
pub(crate) fn decrypt(der: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Items(Items(der).take(SEQUENCE)?);
    let mut scheme = Items(whole.take(SEQUENCE)?);
    let mut encrypted = whole.take(OCTETS)?.to_vec();
    if scheme.take(OBJECT)? != PBES2 {
        return None;
    }
    let mut parts = Items(scheme.take(SEQUENCE)?);
    let (mut derivation, mut encryption) = (Items(parts.take(SEQUENCE)?), Items(parts.take(SEQUENCE)?));
    let (algorithm, length) = match encryption.take(OBJECT)?.strip_prefix(AES)? {
        [0x02] => (&cipher::AES_128, 16),
        [0x16] => (&cipher::AES_192, 24),
        [0x2a] => (&cipher::AES_256, 32),
        _ => return None,
    };
    let start: [u8; 16] = encryption.take(OCTETS)?.try_into().ok()?;
    if derivation.take(OBJECT)? != PBKDF2 {
        return None;
    }
    let mut key = vec![0; length];
    derive(Items(derivation.take(SEQUENCE)?), password, &mut key)?;
    let key = UnboundCipherKey::new(algorithm, &key).ok()?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
    let context = DecryptionContext::Iv128(FixedLength::from(start));
    key.decrypt(&mut encrypted, context).ok().map(|key| key.to_vec())
}

/// Makes a key of the password.
fn derive(mut parameters: Items<'_>, password: &[u8], key: &mut [u8]) -> Option<()> {
    let salt = parameters.take(OCTETS)?;
    let rounds = number(parameters.take(INTEGER)?).filter(|rounds| *rounds <= MOST_ROUNDS)?;
    if let Some(length) = parameters.take(INTEGER)
        && number(length) != u32::try_from(key.len()).ok()
    {
        return None;
    }
    let digest = match parameters.take(SEQUENCE) {
        None => pbkdf2::PBKDF2_HMAC_SHA1,
        Some(digest) => match Items(digest).take(OBJECT)?.strip_prefix(HMAC)? {
            [7] => pbkdf2::PBKDF2_HMAC_SHA1,
            [9] => pbkdf2::PBKDF2_HMAC_SHA256,
            [10] => pbkdf2::PBKDF2_HMAC_SHA384,
            [11] => pbkdf2::PBKDF2_HMAC_SHA512,
            _ => return None,
        },
    };
    pbkdf2::derive(digest, NonZeroU32::new(rounds)?, salt, password, key);
    Some(())
}

fn number(bytes: &[u8]) -> Option<u32> {
    let bytes = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    (bytes.len() <= 4).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

/// Items of DER that follow each other.
struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// What is in the next item, if it is of this kind; else it stays where it is.
    fn take(&mut self, kind: u8) -> Option<&'a [u8]> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        if tag != kind {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 | 0x82 => {
                let (length, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject as _;

    /// A key that OpenSSL has made, encrypted with `secret`.
    const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiSbkvSqpAB3wICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEBxSnykUqR5YKTISQZsFxJQEgZB5
gqup0sxe3tWUpRFOJdRs1jIZjAXKTrjyBLAKQTC6lmaK3l+0ZvzlyH93SDLd9agQ
x8bEfBrr4Kbgfye/6/5BXNWFvFI23vcG6Deln+Y8rUklD0IowkXEpSVnPa9bnxBA
zBNEDV+o0rt+sc5ENnmxuHnSq1/9TkaK48qRAsSZO9Nkw6cKtPUj7fStpPp6Ldc=
-----END PRIVATE KEY-----";

    #[test]
    fn what_openssl_has_encrypted_is_read_with_its_password_alone() {
        let der = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let der = der.secret_pkcs8_der();
        let key = decrypt(der, b"secret").unwrap();
        assert!(rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&PrivatePkcs8KeyDer::from(key).into()).is_ok());
        for wrong in [&b""[..], b"Secret", b"secret "] {
            // One wrong password in 256 leaves bytes that end as if they were right; then they are no key.
            assert_eq!(decrypt(der, wrong), None);
        }
    }

    #[test]
    fn bytes_that_were_cut_or_changed_are_an_answer_and_no_panic() {
        let der = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let der = der.secret_pkcs8_der();
        for at in 0..der.len() {
            assert_eq!(decrypt(&der[..at], b"secret"), None);
        }
        // What follows is the key itself, where every change is another key or none.
        let head = 92;
        for at in 0..head {
            let mut changed = der.to_vec();
            changed[at] ^= 0x10;
            let _ = decrypt(&changed, b"secret");
        }
    }
}
