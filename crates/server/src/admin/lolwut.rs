//! LOLWUT: a small majority.

use quorate_commands::{Args, Arity, Flags, Group, Outcome, Run, Spec};

use crate::data::call::Cx;

/// LOLWUT [VERSION version] [voters]
pub static LOLWUT: Spec = Spec {
    name: "lolwut",
    group: Group::Server,
    arity: Arity::AtLeast(1),
    flags: Flags::READONLY.and(Flags::FAST),
    since: "5.0.0",
    summary: "Holds a vote.",
    run: Run::Server,
    ..Spec::BLANK
};

pub(super) static RUNS: [super::Entry; 1] = [(&LOLWUT, &[("", lolwut)])];

/// The most voters there is room for in a line.
const MOST_VOTERS: i64 = 31;

fn lolwut(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let first = if args.is(1, "VERSION") { 3 } else { 1 };
    let voters = if args.len() > first { args.int(first)?.clamp(1, MOST_VOTERS) } else { 5 } as u32;
    let votes = rand::random::<u32>() & ((1 << voters) - 1);
    let text = minutes(voters, votes);
    cx.reply().verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// The minutes of the meeting: one bit of `votes` for each voter.
fn minutes(voters: u32, votes: u32) -> String {
    let raised: String = (0..voters).map(|voter| if votes >> voter & 1 == 1 { " \\o/" } else { " _o_" }).collect();
    let ayes = votes.count_ones();
    let verdict = if ayes > voters / 2 { "quorate: it is so" } else { "not quorate: see you at the next epoch" };
    format!("{raised}\n\n{ayes} of {voters}, {verdict}.\n\nRedis ver. {}\n", crate::REDIS_VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_voters_are_no_majority() {
        assert!(minutes(4, 0b0011).contains("2 of 4, not quorate"));
        assert!(minutes(4, 0b0111).contains("3 of 4, quorate"));
        assert!(minutes(5, 0b0111).contains("3 of 5, quorate"));
        assert_eq!(minutes(3, 0b001).lines().next(), Some(" \\o/ _o_ _o_"));
    }
}
