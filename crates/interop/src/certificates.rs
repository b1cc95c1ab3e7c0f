//! Certificates for tests of TLS: somebody who vouches, and whom it vouches for.

use std::path::PathBuf;

use quorate_config::{Text, Tls};
use quorate_tls::Outgoing;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Somebody who vouches for others; the files go with it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    place: tempfile::TempDir,
}

impl Authority {
    /// A new one, in `ca.crt`.
    ///
    /// # Panics
    /// If there is no room for a file.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is a good one");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        let key = KeyPair::generate().expect("there are dice");
        let place = tempfile::tempdir().expect("there is room for a directory");
        let certificate = params.self_signed(&key).expect("it signs");
        std::fs::write(place.path().join("ca.crt"), certificate.pem()).expect("there is room for a file");
        Authority { issuer: Issuer::new(params, key), place }
    }

    /// Vouches for somebody, with a new key: `NAME.crt` and `NAME.key`.
    ///
    /// # Panics
    /// If there is no room for a file.
    pub fn issue(&self, name: &str) {
        let key = KeyPair::generate().expect("there are dice");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("the names are good");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        for (end, text) in [("crt", certificate.pem()), ("key", key.serialize_pem())] {
            std::fs::write(self.file(&format!("{name}.{end}")), text).expect("there is room for a file");
        }
    }

    /// The path of a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The same as text.
    pub fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// The options of a server of either make that has the certificate of this name and listens for TLS at this port, if it
    /// is to.
    pub fn options(&self, name: &str, port: Option<u16>) -> Vec<String> {
        let mut options = Vec::new();
        if let Some(port) = port {
            options.extend(["--tls-port".to_owned(), port.to_string()]);
        }
        for (directive, file) in
            [("cert", format!("{name}.crt")), ("key", format!("{name}.key")), ("ca-cert", "ca.crt".into())]
        {
            options.extend([format!("--tls-{directive}-file"), self.path(&file)]);
        }
        options
    }

    /// The same as lines of a configuration.
    pub fn lines(&self, name: &str, port: Option<u16>) -> String {
        let options = self.options(name, port);
        let (pairs, _) = options.as_chunks::<2>();
        pairs.iter().map(|[name, value]| format!("{} {value}\n", name.trim_start_matches('-'))).collect()
    }

    /// What a client needs that has the certificate of this name, or none.
    ///
    /// # Panics
    /// If there is no such certificate.
    pub fn client(&self, name: Option<&str>) -> Outgoing {
        let text = |name: &str| Some(Text::from(&*self.path(name)));
        let mut settings = Tls { authorities: text("ca.crt"), ..Tls::default() };
        if let Some(name) = name {
            settings.client_certificate = text(&format!("{name}.crt"));
            settings.client_key = text(&format!("{name}.key"));
        }
        Outgoing::load(&settings).expect("the certificates are good")
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}
