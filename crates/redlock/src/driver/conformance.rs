//! The model that the simulation runs on, held against a real server: both are given the same commands, drawn from a seed,
//! and must give the same answers.

use std::time::Duration;

use quorate_stdx::Rng;

use super::stand::Servers;
use super::wire::{self, Keys};
use crate::command::{Command, Place};
use crate::sim::node::{Node, Resource};
use crate::{Answer, Token};

const COMMANDS: usize = 3_000;
/// Nothing expires while this runs.
const TTL: Duration = Duration::from_secs(1000);
/// Where all counters begin; both sides are brought there, because a server's begin at its clock.
const START: u64 = 2_000_000_000_000_000;

fn any_command(dice: &mut Rng) -> Command {
    let token = Token::of(1 + u128::from(dice.below(3)), 1);
    let place = |dice: &mut Rng| {
        let number = dice.below(3);
        let waiter = Token::of(100 + u128::from(number), 0);
        (dice.below(3) == 0).then(|| Place { waiter, since: 1000 - number as i64, patience: TTL })
    };
    match dice.below(8) {
        0..4 => Command::Acquire { token, ttl: TTL, is_fenced: dice.below(2) == 0, place: place(dice) },
        4 => Command::Raise { token, fence: START + dice.below(3000) },
        5 => Command::Extend { token, ttl: TTL },
        _ => Command::Release { token, is_told: dice.below(2) == 0, leave: place(dice) },
    }
}

#[test]
fn the_model_answers_as_a_server_does() {
    let Some(servers) = Servers::start(1) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = redis::Client::open(format!("redis://{}", servers.addresses()[0])).unwrap();
        let mut server = client.get_multiplexed_async_connection().await.unwrap();
        let mut model = Node::new(None);
        let mut dice = Rng::new(7);
        let (mut done, mut not_ours) = (0, 0);
        for step in 0..COMMANDS {
            let sets: [&[Resource]; 3] = [&[0], &[1], &[0, 1]];
            let mut resources = sets[dice.below(3) as usize];
            let mut command = any_command(&mut dice);
            // The first steps bring the counters to where they are known.
            let token = Token::of(9, 1);
            match step {
                0 => command = Command::Acquire { token, ttl: TTL, is_fenced: true, place: None },
                1 => command = Command::Raise { token, fence: START },
                2 => command = Command::Release { token, is_told: true, leave: None },
                _ => {}
            }
            if step < 3 {
                resources = &[0, 1];
            }
            let keys = Keys::of(resources.iter().map(|resource| format!("conformance:{resource}")).collect());
            let request = wire::request(&command, &keys);
            let cmd = wire::with_source(&request).unwrap_or(request.cmd);
            let said = wire::answer(server.send_packed_command(&cmd).await);
            let (expected, _) = model.perform(1, START - 1, resources, &command);
            if step > 0 {
                assert_eq!(said, expected, "step {step}: {command:?} on {resources:?}");
            }
            done += usize::from(matches!(said, Answer::Done { .. }));
            not_ours += usize::from(said == Answer::NotOurs);
        }
        assert!(done > COMMANDS / 10 && not_ours > COMMANDS / 10, "{done} done, {not_ours} refused");
    });
}
