//! The full-screen view of services: what is shown, and what a key or a message changes.
//!
//! [`update`] and [`view()`] are pure: a model and a message give the next model, a model gives a picture. Whoever owns the terminal
//! feeds them: [`session`] for `monitor` and `get -w`, the demo for its own. **Invariant:** the view offers nothing that the command
//! line hasn't, and does nothing to a rollout without a yes.

pub(crate) mod screen;
pub(crate) mod session;
mod view;

use std::collections::BTreeMap;

use haldane_api::http::{CommandName, RolloutView, ServiceView};
use jiff::{Timestamp, tz::TimeZone};

pub(crate) use self::view::view;
use super::{paint::Paint, subject::Subject};

/// What is shown.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The first line.
    pub title: String,
    /// Further lines at the end, such as a load report.
    pub extra: Vec<String>,
    /// The time.
    pub now: Timestamp,
    /// In which zone times are shown.
    pub zone: TimeZone,
    /// Whether there are colors.
    pub paint: Paint,
    /// Whether keys may steer rollouts; otherwise the view is for watching alone.
    pub can_steer: bool,
    services: BTreeMap<Subject, ServiceView>,
    page: Page,
    overlay: Overlay,
    told: Option<String>,
    lost: Option<String>,
}

/// Something that changes the model.
#[derive(Clone, Debug)]
pub(crate) enum Msg {
    /// A service changed.
    Seen(Box<ServiceView>),
    /// Time passed.
    Tick(Timestamp),
    /// A key was pressed.
    Key(Key),
    /// A command was answered, or refused.
    Told(String),
    /// The daemon can't be heard.
    Lost(String),
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A character.
    Char(char),
    /// The cursor goes up.
    Up,
    /// The cursor goes down.
    Down,
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Control and C.
    Interrupt,
}

/// What the owner of the terminal is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// End the view.
    Quit,
    /// Send a command.
    Send(Request),
}

/// A command as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The service.
    pub service: Subject,
    /// The command.
    pub command: CommandName,
    /// Only if this step is still the current one.
    pub step: Option<u32>,
}

/// What fills the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    /// All services; the one with this index is selected.
    All(usize),
    /// One service, side by side.
    One {
        /// Which.
        service: Subject,
        /// Where Escape leads: the index in the list, if the list was there before.
        back: Option<usize>,
    },
}

/// What lies over the page.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Overlay {
    /// Nothing.
    None,
    /// The keys.
    Help,
    /// A question whose yes sends a command.
    Question(Request),
}

impl Model {
    /// Returns a model that shows one service, or all.
    pub(crate) fn new(
        title: String,
        service: Option<Subject>,
        now: Timestamp,
        zone: TimeZone,
        paint: Paint,
    ) -> Self {
        let page = service.map_or(Page::All(0), |service| Page::One {
            service,
            back: None,
        });
        Self {
            title,
            extra: Vec::new(),
            now,
            zone,
            paint,
            can_steer: true,
            services: BTreeMap::new(),
            page,
            overlay: Overlay::None,
            told: None,
            lost: None,
        }
    }

    /// Returns the service that is shown alone, if it was seen.
    pub(crate) fn shown(&self) -> Option<&ServiceView> {
        match &self.page {
            Page::One { service, .. } => self.services.get(service),
            Page::All(_) => None,
        }
    }

    /// Returns the service that keys act on: the one shown, or the one selected.
    fn selected(&self) -> Option<&ServiceView> {
        match self.page {
            Page::One { .. } => self.shown(),
            Page::All(index) => self.services.values().nth(index),
        }
    }
}

/// Takes a message into the model; returns what the owner of the terminal is to do.
pub(crate) fn update(model: &mut Model, msg: Msg) -> Option<Act> {
    match msg {
        Msg::Seen(service) => {
            model.lost = None;
            model.now = model.now.max(service.at);
            model.services.insert(Subject::of(&service), *service);
        }
        Msg::Tick(now) => model.now = model.now.max(now),
        Msg::Told(text) => model.told = Some(text),
        Msg::Lost(text) => model.lost = Some(text),
        Msg::Key(Key::Interrupt) => return Some(Act::Quit),
        Msg::Key(key) => return press(model, key),
    }
    None
}

fn press(model: &mut Model, key: Key) -> Option<Act> {
    match std::mem::replace(&mut model.overlay, Overlay::None) {
        Overlay::Help => None,
        Overlay::Question(request) => match key {
            Key::Char('y' | 'Y') => Some(Act::Send(request)),
            Key::Char('n' | 'N' | 'q') | Key::Escape => None,
            Key::Char(_) | Key::Up | Key::Down | Key::Enter | Key::Interrupt => {
                model.overlay = Overlay::Question(request);
                None
            }
        },
        Overlay::None => press_on_page(model, key),
    }
}

fn press_on_page(model: &mut Model, key: Key) -> Option<Act> {
    model.told = None;
    match key {
        Key::Char('q') => return Some(Act::Quit),
        Key::Char('?') => model.overlay = Overlay::Help,
        Key::Char('p') => ask(model, |_| CommandName::Promote),
        Key::Char('a') => ask(model, |_| CommandName::Abort),
        Key::Char(' ') => ask(model, |rollout| {
            if rollout.phase == "Paused" {
                CommandName::Resume
            } else {
                CommandName::Pause
            }
        }),
        Key::Up | Key::Char('k') => select(model, |index| index.saturating_sub(1)),
        Key::Down | Key::Char('j') => select(model, |index| index.saturating_add(1)),
        Key::Enter => open(model),
        Key::Escape => close(model),
        Key::Char(_) | Key::Interrupt => {}
    }
    None
}

/// Asks whether to send a command to the rollout at hand.
fn ask(model: &mut Model, command: impl FnOnce(&RolloutView) -> CommandName) {
    if !model.can_steer {
        return;
    }
    let live = model.selected().and_then(|service| {
        let rollout = service
            .rollout
            .as_ref()
            .filter(|rollout| !rollout.is_over)?;
        let command = command(rollout);
        // Somebody looked at this step when they said yes; if it has moved on by then, they did not mean the next one.
        let step = if command == CommandName::Promote {
            rollout.step
        } else {
            None
        };
        Some(Request {
            service: Subject::of(service),
            command,
            step,
        })
    });
    match live {
        Some(request) => model.overlay = Overlay::Question(request),
        None => model.told = Some("no rollout goes on here".to_owned()),
    }
}

fn select(model: &mut Model, to: impl FnOnce(usize) -> usize) {
    if let Page::All(index) = &mut model.page {
        *index = to(*index).min(model.services.len().saturating_sub(1));
    }
}

fn open(model: &mut Model) {
    if let (Page::All(index), Some(service)) = (&model.page, model.selected()) {
        model.page = Page::One {
            service: Subject::of(service),
            back: Some(*index),
        };
    }
}

fn close(model: &mut Model) {
    if let Page::One {
        back: Some(index), ..
    } = model.page
    {
        model.page = Page::All(index);
    }
}

/// Returns the word for a command in questions and help.
fn verb(command: CommandName) -> &'static str {
    match command {
        CommandName::Promote => "promote",
        CommandName::Pause => "pause",
        CommandName::Resume => "resume",
        CommandName::Abort => "abort",
        CommandName::Retry => "retry",
        CommandName::Undo => "undo",
        CommandName::Restart => "restart",
        CommandName::SetWeight => "set the weight of",
    }
}

#[cfg(test)]
mod tests;
