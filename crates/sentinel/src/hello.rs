//! The message with which Sentinels find each other and hand configurations on:
//! `ip,port,runid,current_epoch,primary_name,primary_ip,primary_port,primary_config_epoch`.
//!
//! Each Sentinel publishes one to `__sentinel__:hello` on every server that it monitors, and to every Sentinel that it
//! knows, every two seconds and whenever its configuration has changed.

use quorate_stdx::ReplId;

use crate::address::Addr;

/// The channel of the messages.
pub const CHANNEL: &str = "__sentinel__:hello";

/// The longest message that is read; the longest honest one has two hosts and a name.
const LENGTH_MAX: usize = 2048;

/// Epochs beyond this are refused: they would leave no room to count on, and nobody gets there by counting.
pub const EPOCH_MAX: u64 = 1 << 62;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Where the sender listens.
    pub from: Addr,
    /// The sender's id.
    pub id: ReplId,
    /// Its current epoch.
    pub epoch: u64,
    /// The primary that it speaks of.
    pub name: String,
    /// Where that is, by its configuration.
    pub primary: Addr,
    /// The epoch of that configuration.
    pub config_epoch: u64,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// It is longer than any honest one.
    #[error("it is too long")]
    TooLong,
    /// It has not eight fields.
    #[error("it has not eight fields")]
    Fields,
    /// A host or port can't be one.
    #[error("an address in it is none")]
    Address,
    /// The run id is no 40 hexadecimal digits.
    #[error("its run id is none")]
    Id,
    /// An epoch is no number, or an absurd one.
    #[error("an epoch in it is no number that anybody counts to")]
    Epoch,
    /// The name holds what no name does.
    #[error("the name in it is none")]
    Name,
}

/// Reads a message.
///
/// # Errors
/// Anything that an honest Sentinel would not write.
pub fn parse(text: &[u8]) -> Result<Hello, HelloError> {
    if text.len() > LENGTH_MAX {
        return Err(HelloError::TooLong);
    }
    let fields: Vec<&[u8]> = text.split(|&byte| byte == b',').collect();
    let [ip, port, id, epoch, name, primary_ip, primary_port, config_epoch] = fields[..] else {
        return Err(HelloError::Fields);
    };
    Ok(Hello {
        from: Addr::parse(ip, port).ok_or(HelloError::Address)?,
        id: ReplId::parse(id).ok_or(HelloError::Id)?,
        epoch: parse_epoch(epoch).ok_or(HelloError::Epoch)?,
        name: parse_name(name).ok_or(HelloError::Name)?,
        primary: Addr::parse(primary_ip, primary_port).ok_or(HelloError::Address)?,
        config_epoch: parse_epoch(config_epoch).ok_or(HelloError::Epoch)?,
    })
}

/// An epoch as peers write it; `None` if it is no number below [`EPOCH_MAX`].
pub fn parse_epoch(text: &[u8]) -> Option<u64> {
    let epoch = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    epoch.parse().ok().filter(|&epoch| epoch < EPOCH_MAX)
}

/// The name of a primary: letters, digits and `.-_`, as Redis allows.
pub fn parse_name(text: &[u8]) -> Option<String> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_name = !text.is_empty() && text.len() <= 512 && text.iter().all(is_plain);
    is_name.then(|| String::from_utf8_lossy(text).into_owned())
}

impl std::fmt::Display for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Hello { from, id, epoch, name, primary, config_epoch } = self;
        write!(f, "{},{},{id},{epoch},{name},{},{},{config_epoch}", from.host, from.port, primary.host, primary.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789012345678901234567890123456789";

    fn honest() -> String {
        format!("127.0.0.1,26379,{ID},7,mymaster,10.0.0.9,6379,5")
    }

    #[test]
    fn a_message_reads_as_it_was_written() {
        let hello = parse(honest().as_bytes()).unwrap();
        assert_eq!((hello.from.port, hello.epoch, hello.config_epoch), (26379, 7, 5));
        assert_eq!((hello.name.as_str(), hello.primary.host.as_str()), ("mymaster", "10.0.0.9"));
        assert_eq!(hello.to_string(), honest());
    }

    #[test]
    fn hostile_messages_are_refused() {
        let with = |from: &str, to: &str| parse(honest().replacen(from, to, 1).as_bytes()).unwrap_err();
        assert_eq!(with(",7,", ",18446744073709551615,"), HelloError::Epoch);
        assert_eq!(with(",7,", ",-7,"), HelloError::Epoch);
        assert_eq!(with(",5", ",4611686018427387904"), HelloError::Epoch);
        assert_eq!(with("mymaster", "my\nsentinel monitor x"), HelloError::Name);
        assert_eq!(with("mymaster", ""), HelloError::Name);
        assert_eq!(with("10.0.0.9", "10.0.0.9 1\r\n"), HelloError::Address);
        assert_eq!(with(",6379", ",0"), HelloError::Address);
        assert_eq!(with(ID, "xyz"), HelloError::Id);
        assert_eq!(with(",mymaster", ""), HelloError::Fields);
        assert_eq!(parse(&vec![b','; LENGTH_MAX + 1]), Err(HelloError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_read_is_written_the_same(
            text in prop::collection::vec(prop_oneof![prop::sample::select(b",0123456789abc.".to_vec()), any::<u8>()], 0..200)
        ) {
            if let Ok(hello) = parse(&text) {
                prop_assert_eq!(parse(hello.to_string().as_bytes()), Ok(hello));
            }
        }
    }
}
