//! The host dies before each of its writes: the end is the same as without, or a safe abort.

use serde_json::json;

use super::stateful;
use super::{
    alone::{begun, command, deployment, end},
    world::World,
};
use crate::kinds::{DEPLOYMENT, STATEFUL_SET};

fn promoted(world: &mut World) {
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(150);
}

fn aborted(world: &mut World) {
    world.apply(&DEPLOYMENT, "shop", deployment("shop:v2"));
    world.pass(8);
    command(world, "1", &json!({"name": "abort"}));
    world.pass(120);
}

fn undone(world: &mut World) {
    promoted(world);
    command(world, "1", &json!({"name": "undo"}));
    world.pass(200);
}

#[test]
fn a_death_before_any_write_changes_nothing_in_the_end() {
    for (name, story) in [
        ("promoted", promoted as fn(&mut World)),
        ("aborted", aborted),
        ("undone", undone),
    ] {
        let mut whole = begun();
        let writes_before = whole.log.len();
        story(&mut whole);
        let expected = end(&whole);
        let writes = whole.log.len() - writes_before;
        assert!(writes > 6, "{name}: {writes}");
        for left in 0..u32::try_from(writes).unwrap() {
            let mut world = begun();
            world.writes_left = Some(left);
            story(&mut world);
            assert_eq!(world.deaths, 1, "{name} {left}");
            assert_eq!(
                end(&world),
                expected,
                "{name}, death before write {left}: {:#?}",
                world.log
            );
        }
    }
}

fn promoted_set(world: &mut World) {
    world.apply(&STATEFUL_SET, "db", stateful::set("db:v2"));
    world.pass(150);
}

fn aborted_set(world: &mut World) {
    world.apply(&STATEFUL_SET, "db", stateful::set("db:v2"));
    world.pass(28);
    command(world, "1", &json!({"name": "abort"}));
    world.pass(120);
}

fn undone_set(world: &mut World) {
    promoted_set(world);
    command(world, "1", &json!({"name": "undo"}));
    world.pass(200);
}

#[test]
fn a_death_before_any_write_of_a_stateful_sets_rollout_changes_nothing_in_the_end() {
    for (name, story) in [
        ("promoted", promoted_set as fn(&mut World)),
        ("aborted", aborted_set),
        ("undone", undone_set),
    ] {
        let mut whole = stateful::begun();
        let writes_before = whole.log.len();
        story(&mut whole);
        let expected = stateful::end(&whole);
        let writes = whole.log.len() - writes_before;
        assert!(writes > 6, "{name}: {writes}");
        for left in 0..u32::try_from(writes).unwrap() {
            let mut world = stateful::begun();
            world.writes_left = Some(left);
            story(&mut world);
            assert_eq!(world.deaths, 1, "{name} {left}");
            assert_eq!(
                stateful::end(&world),
                expected,
                "{name}, death before write {left}: {:#?}",
                world.log
            );
        }
    }
}
