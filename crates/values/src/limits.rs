//! The sizes up to which a value keeps its compact encoding.
//!
//! They are configuration, not state: every mutating call is handed the limits in force, so that
//! `CONFIG SET` takes effect on a value's next change and never converts anything by itself. Names and
//! defaults are those of Redis 7.2.

/// The limits of the compact encodings, named after the configuration's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Fields up to which a hash stays one listpack.
    pub hash_max_listpack_entries: usize,
    /// Bytes up to which a field or a value may live in a hash's listpack.
    pub hash_max_listpack_value: usize,
    /// Members up to which a set of integers stays an intset.
    pub set_max_intset_entries: usize,
    /// Members up to which a set stays one listpack.
    pub set_max_listpack_entries: usize,
    /// Bytes up to which a member may live in a set's listpack.
    pub set_max_listpack_value: usize,
    /// Members up to which a sorted set stays one listpack.
    pub zset_max_listpack_entries: usize,
    /// Bytes up to which a member may live in a sorted set's listpack.
    pub zset_max_listpack_value: usize,
    /// Above 0: elements a node of a list. Below 0: -1 to -5 stand for 4, 8, 16, 32 and 64 KiB a node.
    pub list_max_listpack_size: i32,
    /// Nodes at each end of a list that stay uncompressed; 0 compresses none.
    pub list_compress_depth: i32,
    /// Bytes from which on an element of a list gets a node of its own, whatever the node's size may be; 0 leaves it
    /// to that size. Only tests set it.
    pub list_packed_threshold: usize,
    /// Bytes up to which a HyperLogLog is sparse.
    pub hll_sparse_max_bytes: usize,
    /// Bytes up to which a node of a stream grows; 0 is no limit.
    pub stream_node_max_bytes: usize,
    /// Entries up to which a node of a stream grows; 0 is no limit.
    pub stream_node_max_entries: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash_max_listpack_entries: 128,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_compress_depth: 0,
            list_packed_threshold: 0,
            hll_sparse_max_bytes: 3000,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
        }
    }
}
