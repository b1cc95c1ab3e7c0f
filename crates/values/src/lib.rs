//! The data types of the keyspace, and nothing around them: no locks, no clock, no I/O.

mod glob;
mod limits;
pub mod listpack;
mod number;
mod size_class;

pub use glob::{Case, glob_is_literal, glob_matches};
pub use limits::Limits;
pub use listpack::Listpack;
pub use number::{
    LongDouble, double_as_integer, parse_double, parse_double_bound, parse_i64, parse_u64, write_double, write_double_17g,
    write_double_fixed, write_i64, write_u64,
};
