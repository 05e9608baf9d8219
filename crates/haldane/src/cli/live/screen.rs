//! The terminal: taken, drawn on, listened to, and given back whatever happens.

use std::{io, time::Duration};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Key, Model, view};

/// How long the listener sleeps between looks at whether it is still wanted.
const POLL: Duration = Duration::from_millis(100);

/// Keys that wait for their reader; nobody types faster than a screen is drawn.
const QUEUE_LEN: usize = 64;

/// The terminal in full-screen mode, until dropped.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: DefaultTerminal,
    /// What is typed; `None` stands for anything else that asks for a new drawing, such as another size.
    pub keys: mpsc::Receiver<Option<Key>>,
    stop: CancellationToken,
    /// Listens to the keyboard, which can only be done by blocking.
    _listener: JoinSet<()>,
}

impl Screen {
    /// Takes the terminal. A panic gives it back, too.
    pub(crate) fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        let (tx, keys) = mpsc::channel(QUEUE_LEN);
        let stop = CancellationToken::new();
        let mut listener = JoinSet::new();
        let stopped = stop.clone();
        listener.spawn_blocking(move || listen(&tx, &stopped));
        Ok(Self {
            terminal,
            keys,
            stop,
            _listener: listener,
        })
    }

    /// Draws the model.
    pub(crate) fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.terminal.draw(|frame| view(model, frame)).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stop.cancel();
        // There is nobody left to tell, and nothing left to do.
        ratatui::try_restore().ok();
    }
}

fn listen(keys: &mpsc::Sender<Option<Key>>, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        match event::poll(POLL) {
            Ok(false) => {}
            Ok(true) => {
                let Ok(event) = event::read() else { return };
                if let Some(wish) = wish(&event)
                    && keys.blocking_send(wish).is_err()
                {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Returns what an event means: a key, a new drawing, or nothing.
fn wish(event: &Event) -> Option<Option<Key>> {
    match event {
        Event::Key(KeyEvent {
            kind: KeyEventKind::Release,
            ..
        }) => None,
        Event::Key(KeyEvent {
            code, modifiers, ..
        }) => key(*code, *modifiers).map(Some),
        Event::Resize(..) | Event::FocusGained => Some(None),
        Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => None,
    }
}

fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    let is_control = modifiers.contains(KeyModifiers::CONTROL);
    if is_control {
        return matches!(code, KeyCode::Char('c')).then_some(Key::Interrupt);
    }
    if let KeyCode::Char(c) = code {
        return Some(Key::Char(c));
    }
    let named = [
        (KeyCode::Up, Key::Up),
        (KeyCode::Down, Key::Down),
        (KeyCode::Enter, Key::Enter),
        (KeyCode::Esc, Key::Escape),
    ];
    named
        .into_iter()
        .find(|(known, _)| *known == code)
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_c_interrupts_and_other_control_keys_do_nothing() {
        assert_eq!(
            key(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Key::Interrupt)
        );
        assert_eq!(key(KeyCode::Char('a'), KeyModifiers::CONTROL), None);
        assert_eq!(
            key(KeyCode::Char('a'), KeyModifiers::NONE),
            Some(Key::Char('a'))
        );
        assert_eq!(key(KeyCode::Esc, KeyModifiers::NONE), Some(Key::Escape));
        assert_eq!(key(KeyCode::F(1), KeyModifiers::NONE), None);
    }

    #[test]
    fn a_key_counts_when_it_goes_down_only() {
        let event = |kind| {
            let key = KeyEvent::new_with_kind(KeyCode::Char('y'), KeyModifiers::NONE, kind);
            wish(&Event::Key(key))
        };
        assert_eq!(event(KeyEventKind::Press), Some(Some(Key::Char('y'))));
        assert_eq!(event(KeyEventKind::Release), None);
        assert_eq!(wish(&Event::Resize(80, 24)), Some(None));
    }
}
