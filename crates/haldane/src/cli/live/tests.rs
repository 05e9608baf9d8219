//! What keys do, and pictures of every page.

use haldane_api::http::{StepState, StepView};
use haldane_core::Weight;
use ratatui::{Terminal, backend::TestBackend, style::Color};

use super::*;
use crate::cli::{subject::Subject, testing::service};

fn model(paint: Paint) -> Model {
    let auth = service("Progressing");
    let mut model = Model::new(
        "haldane monitor auth".to_owned(),
        Some(Subject::of(&auth)),
        auth.at,
        TimeZone::UTC,
        paint,
    );
    update(&mut model, Msg::Seen(Box::new(auth)));
    model
}

fn list() -> Model {
    let auth = service("Progressing");
    let mut cart = service("Completed");
    cart.name = "cart".parse().unwrap();
    let mut idle = service("Completed");
    (idle.name, idle.rollout, idle.canary) = ("search".parse().unwrap(), None, None);
    let mut model = Model::new(
        "haldane get -w".to_owned(),
        None,
        auth.at,
        TimeZone::UTC,
        Paint::Mono,
    );
    for service in [auth, cart, idle] {
        update(&mut model, Msg::Seen(Box::new(service)));
    }
    model
}

fn terminal(model: &Model, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(model, frame)).unwrap();
    terminal
}

fn picture(model: &Model, width: u16, height: u16) -> String {
    let text = terminal(model, width, height).backend().to_string();
    text.lines()
        .map(|line| line.trim_matches('"').trim_end().to_owned() + "\n")
        .collect()
}

fn press_all(model: &mut Model, keys: &str) -> Vec<Act> {
    keys.chars()
        .filter_map(|c| update(model, Msg::Key(Key::Char(c))))
        .collect()
}

#[test]
fn a_monitor_at_80_by_24() {
    let mut model = model(Paint::Mono);
    model.extra = vec!["load: 100 requests/s, 0 dropped".to_owned()];
    insta::assert_snapshot!(picture(&model, 80, 24));
}

#[test]
fn a_monitor_at_120_by_40() {
    insta::assert_snapshot!(picture(&model(Paint::Color), 120, 40));
}

#[test]
fn a_list_at_80_by_24() {
    let mut model = list();
    update(&mut model, Msg::Key(Key::Down));
    insta::assert_snapshot!(picture(&model, 80, 24));
}

#[test]
fn help_over_a_monitor() {
    let mut model = model(Paint::Mono);
    press_all(&mut model, "?");
    insta::assert_snapshot!(picture(&model, 80, 24));
    press_all(&mut model, "x");
    assert!(
        !picture(&model, 80, 24).contains("keys"),
        "any key closes help"
    );
}

#[test]
fn steps_that_are_over_give_way_to_those_to_come() {
    let mut auth = service("Progressing");
    let rollout = auth.rollout.as_mut().unwrap();
    let pattern = rollout.steps[0].clone();
    rollout.steps = (1..=20)
        .map(|percent| StepView {
            weight_bps: Weight::from_percent(percent * 5),
            state: match percent {
                0..15 => StepState::Done,
                15 => StepState::Current,
                _ => StepState::Next,
            },
            ..pattern.clone()
        })
        .collect();
    let mut model = model(Paint::Mono);
    update(&mut model, Msg::Seen(Box::new(auth)));
    let shown = picture(&model, 60, 24);
    assert!(
        shown.contains("\nsteps   … ✔ 70%  ● 75%  ○ 80%  ○ 85%  ○ 90%  ○ 95%  ○ 100%"),
        "{shown}"
    );
}

#[test]
fn words_have_colors_and_without_color_the_words_stay() {
    let colors = |paint| {
        let terminal = terminal(&model(paint), 80, 24);
        let buffer = terminal.backend().buffer();
        let colors: std::collections::BTreeSet<String> = buffer
            .content
            .iter()
            .map(|cell| cell.fg)
            .filter(|color| *color != Color::Reset)
            .map(|color| color.to_string())
            .collect();
        colors
    };
    assert!(
        colors(Paint::Color).contains("Red"),
        "the canary's error rate is critical"
    );
    assert!(colors(Paint::Color).contains("Green"));
    assert_eq!(colors(Paint::Mono).len(), 0);
    assert_eq!(
        picture(&model(Paint::Mono), 80, 24),
        picture(&model(Paint::Color), 80, 24)
    );
}

#[test]
fn no_size_is_too_small() {
    for model in [model(Paint::Mono), list()] {
        for (width, height) in [(1, 1), (1, 50), (200, 1), (10, 5), (79, 23), (300, 100)] {
            picture(&model, width, height);
        }
    }
}

#[test]
fn nothing_is_sent_without_a_yes() {
    let request = |command, step| {
        vec![Act::Send(Request {
            service: "auth".parse().unwrap(),
            command,
            step,
        })]
    };
    for (keys, expected) in [
        ("py", request(CommandName::Promote, Some(4))),
        ("ay", request(CommandName::Abort, None)),
        (" y", request(CommandName::Pause, None)),
        ("pn", vec![]),
        ("axy", request(CommandName::Abort, None)),
        ("y", vec![]),
        ("p", vec![]),
        ("?ay", vec![]),
    ] {
        assert_eq!(
            press_all(&mut model(Paint::Mono), keys),
            expected,
            "{keys:?}"
        );
    }
}

#[test]
fn space_resumes_what_is_paused() {
    let mut model = model(Paint::Mono);
    update(&mut model, Msg::Seen(Box::new(service("Paused"))));
    press_all(&mut model, " ");
    assert!(picture(&model, 80, 24).ends_with("resume auth? y/n\n"));
}

#[test]
fn a_rollout_that_is_over_takes_no_commands() {
    let mut model = model(Paint::Mono);
    update(&mut model, Msg::Seen(Box::new(service("Completed"))));
    assert_eq!(press_all(&mut model, "ay"), []);
    update(&mut model, Msg::Key(Key::Char('a')));
    assert!(picture(&model, 80, 24).ends_with("no rollout goes on here\n"));
}

#[test]
fn a_view_for_watching_alone_sends_nothing() {
    let mut model = model(Paint::Mono);
    model.can_steer = false;
    assert_eq!(press_all(&mut model, "aypy y"), []);
    assert!(picture(&model, 80, 24).ends_with("\nq quit\n"));
}

#[test]
fn q_and_interrupt_quit_and_a_question_takes_q_for_no() {
    assert_eq!(press_all(&mut model(Paint::Mono), "q"), [Act::Quit]);
    assert_eq!(press_all(&mut model(Paint::Mono), "aq"), []);
    let mut asked = model(Paint::Mono);
    press_all(&mut asked, "a");
    assert_eq!(
        update(&mut asked, Msg::Key(Key::Interrupt)),
        Some(Act::Quit)
    );
}

#[test]
fn a_service_of_the_list_is_opened_and_left() {
    let mut model = list();
    update(&mut model, Msg::Key(Key::Down));
    update(&mut model, Msg::Key(Key::Enter));
    assert_eq!(model.shown().unwrap().name.as_str(), "cart");
    update(&mut model, Msg::Key(Key::Escape));
    assert!(model.shown().is_none());
    for _ in 0..9 {
        update(&mut model, Msg::Key(Key::Down));
    }
    update(&mut model, Msg::Key(Key::Enter));
    assert_eq!(
        model.shown().unwrap().name.as_str(),
        "search",
        "the cursor stops at the end"
    );
}

#[test]
fn a_lost_daemon_is_told_until_it_is_heard_again() {
    let mut model = model(Paint::Mono);
    update(&mut model, Msg::Lost("no daemon".to_owned()));
    assert!(picture(&model, 80, 24).ends_with("LOST: no daemon\n"));
    update(&mut model, Msg::Seen(Box::new(service("Progressing"))));
    assert!(picture(&model, 80, 24).ends_with("? help\n"));
}

#[test]
fn time_counts_down_and_never_goes_back() {
    let mut model = model(Paint::Mono);
    update(
        &mut model,
        Msg::Tick("2026-11-21T12:01:00Z".parse().unwrap()),
    );
    assert!(picture(&model, 80, 24).contains("in 3m: send 100%"));
    update(
        &mut model,
        Msg::Tick("2026-11-21T11:00:00Z".parse().unwrap()),
    );
    assert!(picture(&model, 80, 24).contains("in 3m: send 100%"));
}
