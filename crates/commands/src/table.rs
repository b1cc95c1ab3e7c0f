//! The list of data commands, sorted by name: the one place where a command is registered.

use crate::spec::Spec;
use crate::{generic, hash, set, string};

/// Every data command.
pub static TABLE: &[&Spec] = &[
    &string::part::APPEND,
    &generic::place::COPY,
    &generic::scan::DBSIZE,
    &string::number::DECR,
    &string::number::DECRBY,
    &generic::remove::DEL,
    &generic::look::EXISTS,
    &generic::expire::EXPIRE,
    &generic::expire::EXPIREAT,
    &generic::ttl::EXPIRETIME,
    &string::get::GET,
    &string::get::GETDEL,
    &string::get::GETEX,
    &string::part::GETRANGE,
    &string::get::GETSET,
    &hash::write::HDEL,
    &hash::read::HEXISTS,
    &hash::read::HGET,
    &hash::read::HGETALL,
    &hash::number::HINCRBY,
    &hash::number::HINCRBYFLOAT,
    &hash::read::HKEYS,
    &hash::read::HLEN,
    &hash::read::HMGET,
    &hash::write::HMSET,
    &hash::random::HRANDFIELD,
    &hash::read::HSCAN,
    &hash::write::HSET,
    &hash::write::HSETNX,
    &hash::read::HSTRLEN,
    &hash::read::HVALS,
    &string::number::INCR,
    &string::number::INCRBY,
    &string::number::INCRBYFLOAT,
    &generic::scan::KEYS,
    &string::lcs::LCS,
    &string::many::MGET,
    &generic::place::MOVE,
    &string::many::MSET,
    &string::many::MSETNX,
    &generic::object::OBJECT,
    &generic::expire::PERSIST,
    &generic::expire::PEXPIRE,
    &generic::expire::PEXPIREAT,
    &generic::ttl::PEXPIRETIME,
    &string::set::PSETEX,
    &generic::ttl::PTTL,
    &generic::scan::RANDOMKEY,
    &generic::place::RENAME,
    &generic::place::RENAMENX,
    &set::write::SADD,
    &generic::scan::SCAN,
    &set::read::SCARD,
    &set::algebra::SDIFF,
    &set::algebra::SDIFFSTORE,
    &string::set::SET,
    &string::set::SETEX,
    &string::set::SETNX,
    &string::part::SETRANGE,
    &set::algebra::SINTER,
    &set::algebra::SINTERCARD,
    &set::algebra::SINTERSTORE,
    &set::read::SISMEMBER,
    &set::read::SMEMBERS,
    &set::read::SMISMEMBER,
    &set::write::SMOVE,
    &set::random::SPOP,
    &set::random::SRANDMEMBER,
    &set::write::SREM,
    &set::read::SSCAN,
    &string::part::STRLEN,
    &string::part::SUBSTR,
    &set::algebra::SUNION,
    &set::algebra::SUNIONSTORE,
    &generic::look::TOUCH,
    &generic::ttl::TTL,
    &generic::look::TYPE,
    &generic::remove::UNLINK,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_names_are_in_lower_case() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} stands behind {}", pair[1].name, pair[0].name);
        }
        for spec in TABLE {
            assert_eq!(spec.name, spec.name.to_lowercase());
            assert!(!spec.summary.is_empty() && !spec.since.is_empty(), "{} is not documented", spec.name);
        }
    }
}
