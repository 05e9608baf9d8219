//! The demo as the live view.

use haldane_api::http::ServiceView;
use jiff::{Timestamp, tz::TimeZone};

use super::{load::report::LoadReport, run::Stage};
use crate::cli::{
    live::{self, Act, Model, Msg, screen::Screen},
    paint::Paint,
    words::count,
};

/// Draws the rollout and the load on the whole terminal.
#[derive(Debug)]
pub(crate) struct ScreenStage {
    screen: Screen,
    model: Model,
}

impl ScreenStage {
    /// Takes the terminal.
    pub(crate) fn open(title: String, zone: TimeZone, paint: Paint) -> anyhow::Result<Self> {
        let mut model = Model::new(title, Some("shop".parse()?), Timestamp::now(), zone, paint);
        // The demo runs by itself; what a person may do there is to watch or to leave.
        model.can_steer = false;
        Ok(Self {
            screen: Screen::open()?,
            model,
        })
    }
}

impl Stage for ScreenStage {
    fn show(&mut self, view: &ServiceView, load: &LoadReport) -> anyhow::Result<bool> {
        let mut messages = vec![
            Msg::Tick(Timestamp::now()),
            Msg::Seen(Box::new(view.clone())),
        ];
        self.model.extra = vec![load_line(load)];
        while let Ok(key) = self.screen.keys.try_recv() {
            messages.extend(key.map(Msg::Key));
        }
        for message in messages {
            match live::update(&mut self.model, message) {
                Some(Act::Quit) => return Ok(false),
                Some(Act::Send(_)) | None => {}
            }
        }
        self.screen.draw(&self.model)?;
        Ok(true)
    }
}

fn load_line(load: &LoadReport) -> String {
    format!(
        "load: {} in {:.0} s, {} dropped, {} of the shop",
        count(load.sent, "request", "requests"),
        load.elapsed.as_secs_f64(),
        load.dropped,
        count(load.upstream_errors, "error", "errors")
    )
}
