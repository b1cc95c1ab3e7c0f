//! Interaction traces (stub).
use crate::{Input, Output};
pub(crate) fn input_line(input: &Input) -> String {
    format!("< {input:?}")
}
pub(crate) fn output_line(output: &Output) -> String {
    format!("> {output:?}")
}
