//! Robots: what is refused, what is forgotten, and random steps against a naive model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::metadata::Command;
use crate::metadata::world::World;

fn new(id: u8, name: &str, expires_ms: Option<u64>) -> NewRobot {
    NewRobot {
        id: [id; 8],
        name: name.into(),
        hash: [id; 32],
        scopes: vec!["team/*:pull".into()],
        expires_ms,
    }
}

fn add_to(world: &mut World, robot: NewRobot) -> Outcome {
    world.run(&Command::Robot(RobotCommand::Add(robot)))
}

fn revoke_in(world: &mut World, id: u8) -> Outcome {
    world.run(&Command::Robot(RobotCommand::Revoke { id: [id; 8] }))
}

const KNOWN: Outcome = Outcome::Refused(Refusal::RobotKnown);

#[test]
fn a_name_is_free_again_once_its_robot_has_ended() {
    let mut world = World::default();
    assert_eq!(add_to(&mut world, new(1, "ci", None)), Outcome::Applied);
    assert_eq!(add_to(&mut world, new(2, "ci", None)), KNOWN);
    assert_eq!(add_to(&mut world, new(1, "other", None)), KNOWN);
    assert_eq!(revoke_in(&mut world, 1), Outcome::Applied);
    assert_eq!(add_to(&mut world, new(2, "ci", Some(50))), Outcome::Applied);
    assert_eq!(add_to(&mut world, new(3, "ci", None)), KNOWN);
    world.time_ms = 50;
    assert_eq!(add_to(&mut world, new(3, "ci", None)), Outcome::Applied);
    let states: Vec<_> = robots(&world.view)
        .unwrap()
        .into_iter()
        .map(|(id, record)| (id[0], record.holds(50), record.revoked_ms))
        .collect();
    assert_eq!(
        states,
        [(1, false, Some(0)), (2, false, None), (3, true, None)]
    );
}

#[test]
fn nobody_is_revoked_twice_and_nobody_unknown() {
    let mut world = World::default();
    let unknown = Outcome::NotFound(What::Robot);
    assert_eq!(revoke_in(&mut world, 1), unknown);
    add_to(&mut world, new(1, "ci", None));
    world.time_ms = 7;
    assert_eq!(revoke_in(&mut world, 1), Outcome::Applied);
    world.time_ms = 9;
    assert_eq!(revoke_in(&mut world, 1), Outcome::Applied);
    let record = robot(&world.view, [1; 8]).unwrap().unwrap();
    assert_eq!(record.revoked_ms, Some(7));
}

#[test]
fn when_all_places_are_taken_the_oldest_that_ended_goes() {
    let mut world = World::default();
    let numbered = |number: usize| {
        let number = u64::try_from(number).unwrap();
        NewRobot {
            id: number.to_be_bytes(),
            name: format!("robot-{number}").into(),
            ..new(1, "", None)
        }
    };
    for number in 0..ROBOTS_MAX {
        world.time_ms += 1;
        let command = Command::Robot(RobotCommand::Add(numbered(number)));
        let (outcome, delta) = world.decide(&command);
        assert_eq!(outcome, Outcome::Applied);
        world.view.absorb(&delta);
    }
    let full = Outcome::Refused(Refusal::RobotsExhausted);
    assert_eq!(add_to(&mut world, numbered(ROBOTS_MAX)), full);
    for number in [9_u64, 5] {
        let id = number.to_be_bytes();
        world.run(&Command::Robot(RobotCommand::Revoke { id }));
    }
    assert_eq!(add_to(&mut world, numbered(ROBOTS_MAX)), Outcome::Applied);
    assert!(robot(&world.view, 5_u64.to_be_bytes()).unwrap().is_none());
    assert!(robot(&world.view, 9_u64.to_be_bytes()).unwrap().is_some());
    assert_eq!(robots(&world.view).unwrap().len(), ROBOTS_MAX);
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Add {
        id: u8,
        name: usize,
        life: Option<u64>,
    },
    Revoke(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..5_u64).prop_map(Step::Wait),
        (0..5_u8, 0..3_usize, prop::option::of(1..8_u64)).prop_map(|(id, name, life)| Step::Add {
            id,
            name,
            life
        }),
        (0..5_u8).prop_map(Step::Revoke),
    ]
}

/// Name, end and revocation of each robot.
type Model = BTreeMap<u8, (usize, Option<u64>, Option<u64>)>;

const NAMES: [&str; 3] = ["a", "b", "c"];

fn holds(robot: (usize, Option<u64>, Option<u64>), now_ms: u64) -> bool {
    robot.2.is_none() && robot.1.is_none_or(|end_ms| now_ms < end_ms)
}

proptest! {
    #[test]
    fn random_steps_do_what_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let (mut world, mut model) = (World::default(), Model::new());
        for step in steps {
            let now_ms = world.time_ms;
            match step {
                Step::Wait(time_ms) => world.time_ms += time_ms,
                Step::Add { id, name, life } => {
                    let end_ms = life.map(|life| now_ms + life);
                    let is_taken = model
                        .values()
                        .any(|robot| robot.0 == name && holds(*robot, now_ms));
                    let expected = match model.get(&id) {
                        Some(known) if known.0 == name => Outcome::Applied,
                        Some(_) => KNOWN,
                        None if is_taken => KNOWN,
                        None => {
                            model.insert(id, (name, end_ms, None));
                            Outcome::Applied
                        }
                    };
                    prop_assert_eq!(add_to(&mut world, new(id, NAMES[name], end_ms)), expected);
                }
                Step::Revoke(id) => {
                    let expected = match model.get_mut(&id) {
                        None => Outcome::NotFound(What::Robot),
                        Some(robot) => {
                            robot.2 = robot.2.or(Some(now_ms));
                            Outcome::Applied
                        }
                    };
                    prop_assert_eq!(revoke_in(&mut world, id), expected);
                }
            }
            let known = robots(&world.view).unwrap();
            prop_assert_eq!(known.len(), model.len());
            for (id, record) in known {
                let (name, end_ms, revoked_ms) = model[&id[0]];
                prop_assert_eq!(&*record.name, NAMES[name]);
                prop_assert_eq!((record.expires_ms, record.revoked_ms), (end_ms, revoked_ms));
                let now_ms = world.time_ms;
                prop_assert_eq!(record.holds(now_ms), holds(model[&id[0]], now_ms));
            }
        }
    }
}
