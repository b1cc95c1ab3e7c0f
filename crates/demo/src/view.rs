//! What one server says of itself in INFO.

use anyhow::{Context, Result, bail};
use quorate_client::Reply;

use crate::node::Node;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) role: Role,
    /// Where its data stands in the history, in bytes.
    pub(crate) offset: u64,
    /// How often it let a replica go on where it had stopped.
    pub(crate) partial_syncs: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Role {
    Primary,
    Replica { of: u16, is_up: bool },
}

impl View {
    pub(crate) fn of(node: &mut Node) -> Result<View> {
        let mut text = String::new();
        for section in ["replication", "stats"] {
            match node.call(&["INFO", section])? {
                Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => text += &String::from_utf8_lossy(&bytes),
                other => bail!("INFO {section} answers {other:?}"),
            }
            text += "\r\n";
        }
        View::parse(&text)
    }

    fn parse(info: &str) -> Result<View> {
        let field = |name: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value).with_context(|| format!("INFO has no {name}"))
        };
        let number = |name: &str| -> Result<u64> {
            let value = field(name)?;
            // A replica that was never connected has the offset -1 or 0.
            Ok(value.parse::<i64>().with_context(|| format!("INFO says {name}:{value}"))?.max(0).unsigned_abs())
        };
        let (role, offset) = match field("role")? {
            "master" => (Role::Primary, number("master_repl_offset")?),
            "slave" => {
                let of = u16::try_from(number("master_port")?).context("a port has 16 bits")?;
                (Role::Replica { of, is_up: field("master_link_status")? == "up" }, number("slave_repl_offset")?)
            }
            other => bail!("INFO says role:{other}"),
        };
        Ok(View { role, offset, partial_syncs: number("sync_partial_ok").unwrap_or(0) })
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.role, Role::Replica { is_up: true, .. })
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_both_roles_are_read() {
        let primary =
            "# Replication\r\nrole:master\r\nconnected_slaves:1\r\nmaster_repl_offset:42\r\nsync_partial_ok:2\r\n";
        assert_eq!(View::parse(primary).unwrap(), View { role: Role::Primary, offset: 42, partial_syncs: 2 });
        let replica =
            "role:slave\r\nmaster_host:h\r\nmaster_port:7\r\nmaster_link_status:down\r\nslave_repl_offset:-1\r\n";
        let role = Role::Replica { of: 7, is_up: false };
        assert_eq!(View::parse(replica).unwrap(), View { role, offset: 0, partial_syncs: 0 });
        assert!(View::parse(&replica.replace("down", "up")).unwrap().is_up());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(View::parse("role:master\r\n").unwrap_err().to_string(), "INFO has no master_repl_offset");
        assert!(View::parse("role:sentinel\r\n").is_err());
    }
}
