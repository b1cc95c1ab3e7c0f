//! The texts that nodes tell of each other: what may stand in a packet, in nodes.conf and in a reply.
//!
//! They end up in lines of words, so that nothing of what separates words, fields or lines may be in them.

/// The longest name of a host.
const HOST_NAME: usize = 255;

/// An address as it is announced: mostly of IPv4 or IPv6, but some announce a name.
pub(crate) fn address(text: &[u8]) -> Option<String> {
    words(text, |byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b'@' | b'=' | b'"' | b'\'' | b'#' | b'['))
}

/// A host's name.
pub(crate) fn host_name(text: &[u8]) -> Option<String> {
    let is_short = text.len() <= HOST_NAME;
    words(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')).filter(|_| is_short)
}

/// The name that an operator has given a node.
pub(crate) fn node_name(text: &[u8]) -> Option<String> {
    words(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

fn words(text: &[u8], may_have: impl Fn(u8) -> bool) -> Option<String> {
    let is_good = text.iter().all(|&byte| may_have(byte));
    is_good.then(|| String::from_utf8(text.to_vec()).expect("these bytes are ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_leave_its_word() {
        for bad in ["a b", "a\nb", "a,b", "a@b", "\u{e9}", "a\0"] {
            assert_eq!(address(bad.as_bytes()), None, "{bad:?}");
            assert_eq!(host_name(bad.as_bytes()), None, "{bad:?}");
            assert_eq!(node_name(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(address(b"fe80::1%eth0").as_deref(), Some("fe80::1%eth0"));
        assert_eq!(host_name(&[b'a'; 256]), None);
        assert_eq!(node_name(b"shard-1_a.x").as_deref(), Some("shard-1_a.x"));
    }
}
