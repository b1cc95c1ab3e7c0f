//! The data types of the keyspace, and nothing around them: no locks, no clock, no I/O.

mod counted_tree;
pub mod dict;
mod glob;
mod hash;
pub mod hll;
mod intset;
mod limits;
pub mod list;
pub mod listpack;
mod number;
mod set;
mod size_class;
pub mod stream;
pub mod thin;
mod value;
mod zset;

pub use glob::{Case, glob_is_literal, glob_matches};
pub use hash::{Hash, HashView};
pub use intset::Intset;
pub use limits::Limits;
pub use list::{List, Node, NodeRef};
pub use listpack::Listpack;
pub use number::{
    LongDouble, double_as_integer, parse_double, parse_double_bound, parse_i64, parse_u64, write_double,
    write_double_17g, write_double_fixed, write_i64, write_u64,
};
pub use set::{Set, SetView};
pub use size_class::size_class;
pub use stream::{Stream, StreamId};
pub use value::{StrRef, Value, ValueRef};
pub use zset::{LexBound, LexRange, Members, Ranking, ScoreBound, ScoreRange, ZSet, ZSetView};
