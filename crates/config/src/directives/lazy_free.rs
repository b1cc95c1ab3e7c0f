//! What is freed in the background rather than by the command that removes it.

use crate::spec::{Spec, switch};

/// What is freed in the background.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LazyFree {
    /// `lazyfree-lazy-eviction`: what eviction removes.
    pub eviction: bool,
    /// `lazyfree-lazy-expire`: what has expired.
    pub expire: bool,
    /// `lazyfree-lazy-server-del`: what RENAME and the like overwrite.
    pub server_del: bool,
    /// `lazyfree-lazy-user-del`: what DEL removes.
    pub user_del: bool,
    /// `lazyfree-lazy-user-flush`: what FLUSHALL and FLUSHDB remove, if they don't say.
    pub user_flush: bool,
    /// `replica-lazy-flush`: the dataset that a full sync replaces.
    pub replica_flush: bool,
}

pub(super) static TABLE: &[Spec] = &[
    switch("lazyfree-lazy-eviction", |c| c.lazy_free.eviction, |c, on| c.lazy_free.eviction = on),
    switch("lazyfree-lazy-expire", |c| c.lazy_free.expire, |c, on| c.lazy_free.expire = on),
    switch("lazyfree-lazy-server-del", |c| c.lazy_free.server_del, |c, on| c.lazy_free.server_del = on),
    switch("lazyfree-lazy-user-del", |c| c.lazy_free.user_del, |c, on| c.lazy_free.user_del = on),
    switch("lazyfree-lazy-user-flush", |c| c.lazy_free.user_flush, |c, on| c.lazy_free.user_flush = on),
    switch("replica-lazy-flush", |c| c.lazy_free.replica_flush, |c, on| c.lazy_free.replica_flush = on)
        .also(&["slave-lazy-flush"]),
];
