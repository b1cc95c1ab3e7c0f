//! Both ends of a connection, over a pair of sockets that take little at once.

use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use quorate_config::{ClientAuthentication, Mode, Source, Tls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::{Contexts, Outgoing, Stream};

/// Somebody who vouches for others, and a place for the files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    place: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { issuer: Issuer::new(params, key), place }
    }

    /// A certificate for `name`, as files `name.crt` and `name.key`.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    /// Directives for whoever has the certificate of that name.
    fn settings(&self, name: &str, more: &str) -> Tls {
        let path = |file: &str| self.file(file).display().to_string();
        settings(&format!(
            "tls-cert-file {}\ntls-key-file {}\ntls-client-cert-file {0}\ntls-client-key-file {1}\ntls-ca-cert-file {}\n{more}",
            path(&format!("{name}.crt")),
            path(&format!("{name}.key")),
            path("ca.crt"),
        ))
    }
}

fn settings(lines: &str) -> Tls {
    quorate_config::load(Mode::Server, &[Source::Text(lines.as_bytes().to_vec())]).unwrap().config.tls
}

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    (one, other)
}

/// Lets the two go through their handshake; the first error of either.
fn meet(server: (&Stream, &UnixStream), client: (&Stream, &UnixStream)) -> std::io::Result<()> {
    let mut errors = Vec::new();
    for _ in 0..20 {
        for (stream, socket) in [client, server] {
            stream.advance(socket)?;
            match stream.read(socket, &mut [0; 16]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => errors.push(error),
                Ok(0) => {}
                Ok(count) => panic!("{count} bytes from nowhere"),
            }
        }
    }
    errors.into_iter().next().map_or(Ok(()), Err)
}

fn met(server: &Contexts, client: &Outgoing) -> std::io::Result<[(Stream, UnixStream); 2]> {
    let (near, far) = pair();
    let (server, client) = (server.accept().unwrap(), client.connect().unwrap());
    meet((&server, &near), (&client, &far))?;
    assert!(server.is_established() && client.is_established());
    Ok([(server, near), (client, far)])
}

#[test]
fn what_is_written_arrives_however_little_the_socket_takes_at_once() {
    let authority = Authority::new();
    authority.issue("node");
    for protocols in ["TLSv1.2", "TLSv1.3"] {
        let contexts = Contexts::load(&authority.settings("node", &format!("tls-protocols {protocols}"))).unwrap();
        let [(server, near), (client, far)] = met(&contexts, contexts.outgoing()).unwrap();
        let sent: Vec<u8> = (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut written, mut arrived, mut blocked) = (0, Vec::new(), 0);
        let mut room = vec![0; 70_000];
        while arrived.len() < sent.len() {
            match server.write(&near, &sent[written..]) {
                Ok(count) => {
                    written += count;
                    if written < sent.len() {
                        continue;
                    }
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    blocked += 1;
                }
            }
            match client.read(&far, &mut room) {
                Ok(count) => arrived.extend_from_slice(&room[..count]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(arrived == sent, "{protocols}");
        assert!(blocked > 0, "a pair of sockets holds less than five million bytes");
        server.say_goodbye(&near);
        assert_eq!(client.read(&far, &mut room).unwrap(), 0);
    }
}

#[test]
fn a_read_that_does_not_fill_the_room_has_emptied_the_socket() {
    let authority = Authority::new();
    authority.issue("node");
    let contexts = Contexts::load(&authority.settings("node", "")).unwrap();
    let [(server, near), (client, far)] = met(&contexts, contexts.outgoing()).unwrap();
    for _ in 0..9 {
        assert_eq!(client.write(&far, &[7; 5000]).unwrap(), 5000);
    }
    let mut buffer = Vec::with_capacity(20_000);
    assert_eq!(server.read_behind(&near, &mut buffer).unwrap(), buffer.capacity());
    buffer.reserve_exact(200_000);
    assert_eq!(server.read_behind(&near, &mut buffer).unwrap(), 25_000);
    assert!(buffer.iter().all(|byte| *byte == 7));
    let mut peeked = [0; 1];
    let nothing = rustix::net::recv(&near, &mut peeked, rustix::net::RecvFlags::PEEK).unwrap_err();
    assert_eq!(nothing, rustix::io::Errno::AGAIN);
}

#[test]
fn who_has_no_certificate_that_is_vouched_for_is_refused_unless_none_is_asked_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.issue("node");
    stranger.issue("node");
    let anonymous = {
        let mut settings = authority.settings("node", "");
        (settings.client_certificate, settings.client_key) = (None, None);
        Outgoing::load(&settings).unwrap()
    };
    let known = Outgoing::load(&authority.settings("node", "")).unwrap();
    let unknown = {
        let mut settings = stranger.settings("node", "");
        settings.authorities = authority.settings("node", "").authorities;
        Outgoing::load(&settings).unwrap()
    };
    for (word, accepts) in [("yes", [true, false, false]), ("optional", [true, true, false]), ("no", [true; 3])] {
        let server = Contexts::load(&authority.settings("node", &format!("tls-auth-clients {word}"))).unwrap();
        for (client, accepts) in [&known, &anonymous, &unknown].into_iter().zip(accepts) {
            assert_eq!(met(&server, client).is_ok(), accepts, "{word}");
        }
    }
    let distrustful = Outgoing::load(&stranger.settings("node", "")).unwrap();
    let server = Contexts::load(&authority.settings("node", "tls-auth-clients no")).unwrap();
    assert!(met(&server, &distrustful).is_err(), "nobody it trusts vouches for the server");
}

#[test]
fn what_is_not_tls_is_refused_and_the_error_stays() {
    let authority = Authority::new();
    authority.issue("node");
    let contexts = Contexts::load(&authority.settings("node", "")).unwrap();
    let mut record = vec![0x16, 3, 1, 0xff, 0xff];
    record.resize(1000, 0x41);
    let hello = [0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
    for bytes in [&b"PING\r\n"[..], b"*1\r\n$4\r\nPING\r\n", &record, &[0; 64], &[0xff; 64], &hello] {
        let (near, mut far) = pair();
        let server = contexts.accept().unwrap();
        far.write_all(bytes).unwrap();
        let last = server.read(&near, &mut [0; 64]).unwrap_err();
        if last.kind() == ErrorKind::WouldBlock {
            // It may be the beginning of something; at the end it is nothing.
            drop(far);
            match server.read(&near, &mut [0; 64]) {
                Ok(count) => assert_eq!(count, 0, "bytes of {bytes:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}: {error}"),
            }
            continue;
        }
        assert_eq!(last.kind(), ErrorKind::InvalidData, "{bytes:?}: {last}");
        assert_eq!(server.read(&near, &mut [0; 64]).unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(!server.is_established());
    }
}

#[test]
fn what_cant_be_read_or_obeyed_is_an_error_that_names_it() {
    let authority = Authority::new();
    authority.issue("node");
    authority.issue("other");
    let place = |name: &str| authority.file(name);
    std::fs::write(place("empty.crt"), "").unwrap();
    std::fs::write(
        place("secret.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let why = |change: &dyn Fn(&mut Tls)| {
        let mut settings = authority.settings("node", "");
        change(&mut settings);
        Contexts::load(&settings).map(|_| ()).unwrap_err().to_string()
    };
    let text = |path: &Path| Some(quorate_config::Text::from(path.to_str().unwrap()));
    assert_eq!(why(&|tls| tls.certificate = None), "No tls-cert-file configured!");
    assert_eq!(why(&|tls| tls.key = None), "No tls-key-file configured!");
    assert!(why(&|tls| tls.authorities = None).starts_with("Either tls-ca-cert-file or tls-ca-cert-dir must"));
    assert!(why(&|tls| tls.certificate = text(&place("none.crt"))).contains("No such file"));
    assert!(why(&|tls| tls.certificate = text(&place("empty.crt"))).contains("there is no certificate in it"));
    assert!(why(&|tls| tls.key = text(&place("node.crt"))).contains("there is no private key in it"));
    assert!(why(&|tls| tls.key = text(&place("other.key"))).contains("does not belong to the certificate"));
    assert!(why(&|tls| tls.key = text(&place("secret.key"))).contains("there is no password for it"));
    assert!(why(&|tls| tls.protocols = Some("TLSv1.1 TLSv1.2".into())).contains("'TLSv1.1' is not spoken"));
    assert!(why(&|tls| tls.ciphers = Some("RC4".into())).contains("tls-ciphers"));
    let no_authority = settings(&format!(
        "tls-auth-clients no\ntls-cert-file {}\ntls-key-file {}",
        place("node.crt").display(),
        place("node.key").display()
    ));
    assert_eq!(no_authority.client_authentication, ClientAuthentication::No);
    assert!(Contexts::load(&no_authority).is_ok(), "nobody is judged");
}

#[test]
fn a_directory_of_authorities_may_hold_other_things_too() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.issue("node");
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(authority.file("ca.crt"), directory.path().join("0a1b2c3d.0")).unwrap();
    std::fs::copy(other.file("ca.crt"), directory.path().join("other.pem")).unwrap();
    std::fs::write(directory.path().join("README"), "Not a certificate.").unwrap();
    let mut settings = authority.settings("node", "");
    settings.authorities = None;
    settings.authorities_directory = Some(directory.path().to_str().unwrap().into());
    let contexts = Contexts::load(&settings).unwrap();
    assert!(met(&contexts, contexts.outgoing()).is_ok());
}
