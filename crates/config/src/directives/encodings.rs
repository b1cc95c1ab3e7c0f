//! Up to which sizes values keep their compact encodings.

use quorate_values::Limits;

use crate::quantity::{INT, LONG, decimal, memory};
use crate::spec::{Form, Spec, kept, number};

/// Up to which sizes values keep their compact encodings.
#[derive(Debug, Clone, PartialEq)]
pub struct Encodings {
    /// What the data types obey.
    pub limits: Limits,
}

impl Default for Encodings {
    fn default() -> Encodings {
        Encodings { limits: Limits { hash_max_listpack_entries: 512, ..Limits::default() } }
    }
}

const COUNT: crate::quantity::Bounds = decimal(0, LONG);
const SIZE: crate::quantity::Bounds = memory(0, LONG);

pub(super) static TABLE: &[Spec] = &[
    number(
        "hash-max-listpack-entries",
        COUNT,
        |c| c.encodings.limits.hash_max_listpack_entries as i128,
        |c, n| c.encodings.limits.hash_max_listpack_entries = n as usize,
    )
    .also(&["hash-max-ziplist-entries"]),
    number(
        "hash-max-listpack-value",
        SIZE,
        |c| c.encodings.limits.hash_max_listpack_value as i128,
        |c, n| c.encodings.limits.hash_max_listpack_value = n as usize,
    )
    .also(&["hash-max-ziplist-value"]),
    number(
        "list-max-listpack-size",
        decimal(i32::MIN as i128, INT),
        |c| c.encodings.limits.list_max_listpack_size.into(),
        |c, n| c.encodings.limits.list_max_listpack_size = n as i32,
    )
    .also(&["list-max-ziplist-size"]),
    number(
        "list-compress-depth",
        decimal(0, INT),
        |c| c.encodings.limits.list_compress_depth.into(),
        |c, n| c.encodings.limits.list_compress_depth = n as i32,
    )
    .without_effect("inner nodes of long lists are never compressed in memory"),
    number(
        "set-max-intset-entries",
        COUNT,
        |c| c.encodings.limits.set_max_intset_entries as i128,
        |c, n| c.encodings.limits.set_max_intset_entries = n as usize,
    ),
    number(
        "set-max-listpack-entries",
        COUNT,
        |c| c.encodings.limits.set_max_listpack_entries as i128,
        |c, n| c.encodings.limits.set_max_listpack_entries = n as usize,
    ),
    number(
        "set-max-listpack-value",
        SIZE,
        |c| c.encodings.limits.set_max_listpack_value as i128,
        |c, n| c.encodings.limits.set_max_listpack_value = n as usize,
    ),
    number(
        "zset-max-listpack-entries",
        COUNT,
        |c| c.encodings.limits.zset_max_listpack_entries as i128,
        |c, n| c.encodings.limits.zset_max_listpack_entries = n as usize,
    )
    .also(&["zset-max-ziplist-entries"]),
    number(
        "zset-max-listpack-value",
        SIZE,
        |c| c.encodings.limits.zset_max_listpack_value as i128,
        |c, n| c.encodings.limits.zset_max_listpack_value = n as usize,
    )
    .also(&["zset-max-ziplist-value"]),
    number(
        "hll-sparse-max-bytes",
        SIZE,
        |c| c.encodings.limits.hll_sparse_max_bytes as i128,
        |c, n| c.encodings.limits.hll_sparse_max_bytes = n as usize,
    ),
    number(
        "stream-node-max-bytes",
        SIZE,
        |c| c.encodings.limits.stream_node_max_bytes as i128,
        |c, n| c.encodings.limits.stream_node_max_bytes = n as usize,
    ),
    number(
        "stream-node-max-entries",
        COUNT,
        |c| c.encodings.limits.stream_node_max_entries as i128,
        |c, n| c.encodings.limits.stream_node_max_entries = n as usize,
    ),
    kept("activerehashing", Form::Switch, "yes", "tables are small, a slot each, and grow a step with each change"),
];
