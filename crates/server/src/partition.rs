//! A partition that a process makes for itself (DEBUG DROP-FROM): what comes from some peers is lost on the way, as if a cable were
//! pulled. It is there for trials on one machine, where every node is on the loopback interface and no rule of a firewall is wanted.
//!
//! Each TCP socket of the process gets a filter of the kernel, which looks at the sender of each segment and drops it: nothing is
//! acknowledged, nothing is refused, a connection hangs and a new one is not made. A listener hands its filter on to whatever it
//! accepts. When both sides drop what comes from the other, nothing passes in either direction, and connections that are begun
//! meanwhile are never answered. When the filters go, the kernels send again what was lost.
//!
//! It is not: a slow or lossy network (everything is lost, or nothing), and it does not keep clients away, who come from elsewhere.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use socket2::{Protocol, SockFilter, SockRef};

/// Peers that a program has room for.
const PEERS_MAX: usize = 500;

/// Whose segments are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    address: Ipv4Addr,
    /// Any, if there is none.
    port: Option<u16>,
}

impl Peer {
    /// `10.0.0.1` or `10.0.0.1:6379`
    pub fn parse(text: &[u8]) -> Option<Peer> {
        let text = std::str::from_utf8(text).ok()?;
        let whole = text.parse().ok().map(|address| Peer { address, port: None });
        whole.or_else(|| {
            let place: SocketAddrV4 = text.parse().ok()?;
            Some(Peer { address: *place.ip(), port: Some(place.port()) })
        })
    }
}

/// Drops what comes from these peers from now on, and from nobody else; how many sockets look for it.
///
/// # Errors
/// The kernel takes no such filter, or there are too many peers.
pub fn drop_from(peers: &[Peer]) -> io::Result<usize> {
    if peers.len() > PEERS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many peers"));
    }
    let program = program(peers);
    let mut sockets: Vec<OwnedFd> = own_descriptors()?.into_iter().filter_map(duplicate).collect();
    sockets.retain(|socket| SockRef::from(socket).protocol().is_ok_and(|protocol| protocol == Some(Protocol::TCP)));
    // The listeners first: what they accept from then on has the filter already.
    sockets.sort_by_key(|socket| !SockRef::from(socket).is_listener().unwrap_or(false));
    for socket in &sockets {
        match peers {
            [] => match SockRef::from(socket).detach_filter() {
                // It has none.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                detached => detached?,
            },
            _ => SockRef::from(socket).attach_filter(&program)?,
        }
    }
    Ok(sockets.len())
}

fn own_descriptors() -> io::Result<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// The same open file under a number of ours, so that it stays what it is while we look at it.
fn duplicate(descriptor: RawFd) -> Option<OwnedFd> {
    // SAFETY: it is borrowed for the one call that duplicates it. If another thread has closed it meanwhile, that call fails, or
    // duplicates what has its number now, which belongs to this process as well.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    borrowed.try_clone_to_owned().ok()
}

/// Classic BPF, as of the kernel's networking/filter documentation.
mod code {
    /// Load a word, or half of one, from a place.
    pub(super) const LOAD: u16 = 0x20;
    pub(super) const LOAD_HALF: u16 = 0x28;
    pub(super) const JUMP_IF_EQUAL: u16 = 0x15;
    pub(super) const RETURN: u16 = 0x06;
    /// From here on places are counted from the header of IP; others from that of TCP.
    pub(super) const NETWORK: u32 = -0x0010_0000_i32 as u32;
    /// The sender's address.
    pub(super) const SOURCE: u32 = NETWORK + 12;
    /// The sender's port.
    pub(super) const SOURCE_PORT: u32 = 0;
}

fn program(peers: &[Peer]) -> Vec<SockFilter> {
    use code::{JUMP_IF_EQUAL, LOAD, LOAD_HALF, RETURN, SOURCE, SOURCE_PORT};
    let mut program = Vec::new();
    for peer in peers {
        let address = u32::from(peer.address);
        program.push(SockFilter::new(LOAD, 0, 0, SOURCE));
        match peer.port {
            None => program.push(SockFilter::new(JUMP_IF_EQUAL, 0, 1, address)),
            Some(port) => program.extend([
                SockFilter::new(JUMP_IF_EQUAL, 0, 3, address),
                SockFilter::new(LOAD_HALF, 0, 0, SOURCE_PORT),
                SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(port)),
            ]),
        }
        // Nothing of the segment is kept.
        program.push(SockFilter::new(RETURN, 0, 0, 0));
    }
    program.push(SockFilter::new(RETURN, 0, 0, u32::MAX));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use socket2::{Domain, Socket, Type};

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(300);
    /// A filter is the whole process's, so that one test at a time may have one.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    /// Nobody else in this process speaks from here.
    const ASIDE: Ipv4Addr = Ipv4Addr::new(127, 9, 8, 7);

    fn dial(from: Ipv4Addr, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&to.into(), patience)?;
        Ok(socket.into())
    }

    fn hears(stream: &mut TcpStream, patience: Duration) -> bool {
        stream.set_read_timeout(Some(patience)).unwrap();
        stream.read_exact(&mut [0]).is_ok()
    }

    #[test]
    fn what_peers_send_is_lost_until_they_are_let_in_again() {
        let _alone = ALONE.lock();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let mut old = dial(ASIDE, place, LONG).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        assert!(drop_from(&[Peer::parse(ASIDE.to_string().as_bytes()).unwrap()]).unwrap() >= 3);
        old.write_all(b"x").unwrap();
        assert!(!hears(&mut accepted, SHORT), "the old connection passes something");
        assert!(dial(ASIDE, place, SHORT).is_err(), "a new connection is made");
        let mut client = dial(Ipv4Addr::LOCALHOST, place, LONG).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        client.write_all(b"y").unwrap();
        assert!(hears(&mut served, LONG), "others are cut off, too");
        drop_from(&[]).unwrap();
        assert!(hears(&mut accepted, LONG), "what was lost does not come again");
        dial(ASIDE, place, LONG).unwrap();
    }

    #[test]
    fn a_peer_is_an_address_with_a_port_or_without() {
        assert_eq!(Peer::parse(b"127.0.1.2"), Some(Peer { address: Ipv4Addr::new(127, 0, 1, 2), port: None }));
        let one = Peer { address: Ipv4Addr::LOCALHOST, port: Some(7000) };
        assert_eq!(Peer::parse(b"127.0.0.1:7000"), Some(one));
        for bad in [&b"localhost"[..], b"", b"::1", b"127.0.0.1:", b"127.0.0.1:70000", b"\xff"] {
            assert_eq!(Peer::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_port_makes_the_difference_where_all_have_one_address() {
        let _alone = ALONE.lock();
        let [one, other] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let place = |listener: &TcpListener| listener.local_addr().unwrap();
        let mut streams =
            [&one, &other].map(|listener| (TcpStream::connect(place(listener)).unwrap(), listener.accept().unwrap().0));
        drop_from(&[Peer::parse(place(&one).to_string().as_bytes()).unwrap()]).unwrap();
        streams.iter_mut().for_each(|(_, accepted)| accepted.write_all(b"x").unwrap());
        assert!(hears(&mut streams[1].0, LONG) && !hears(&mut streams[0].0, SHORT));
        drop_from(&[]).unwrap();
        assert!(hears(&mut streams[0].0, LONG));
    }
}
