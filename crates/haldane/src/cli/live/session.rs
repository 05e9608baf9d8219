//! Running the full-screen view against a daemon.

use std::{sync::Arc, time::Duration};

use haldane_api::http::{CommandRequest, ServiceView};
use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};

use super::{Act, Model, Msg, Request, screen::Screen, update};
use crate::cli::{
    exit::Exit,
    globals::Globals,
    home::{Followed, Home, Seen},
    monitor::csv::Csv,
    steer,
};

/// How often time moves on the screen.
const TICK: Duration = Duration::from_secs(1);

/// How often the export is written where there is none: the branch is there, and does nothing.
const NO_EXPORT: Duration = Duration::from_hours(1);

/// What to show, and for how long.
#[derive(Debug)]
pub(crate) struct Config {
    /// The first line.
    pub title: String,
    /// What is followed.
    pub followed: Followed,
    /// What is known already.
    pub first: Vec<ServiceView>,
    /// Where figures are written meanwhile.
    pub csv: Option<Export>,
    /// When to end.
    pub until: Option<Instant>,
}

/// Figures written to a file at intervals.
#[derive(Debug)]
pub(crate) struct Export {
    /// The file.
    pub csv: Csv,
    /// The interval.
    pub interval: Duration,
}

/// Something happened outside.
enum Happened {
    Message(Msg),
    Redraw,
    Export,
    End,
}

/// Everything that is listened to.
struct Ears {
    seen: mpsc::Receiver<Seen>,
    answers: mpsc::Receiver<String>,
    ticks: Interval,
    exports: Interval,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    until: Option<Instant>,
}

/// Shows services until the person quits, the time is over, or the process is told to end.
pub(crate) async fn run(config: Config, globals: &Globals) -> anyhow::Result<Exit> {
    let Config {
        title,
        followed,
        first,
        csv,
        until,
    } = config;
    let home = globals.home().await?;
    let service = match &followed {
        Followed::One(subject) => Some(subject.clone()),
        Followed::All(_) => None,
    };
    // Messages to the daemon end with the view: whoever said yes saw the answer, or left before it.
    let mut tasks = JoinSet::new();
    let (told, answers) = mpsc::channel(1);
    let every = csv.as_ref().map_or(NO_EXPORT, |export| export.interval);
    let mut ears = Ears {
        seen: home.follow(followed, &mut tasks),
        answers,
        ticks: ticker(TICK),
        exports: ticker(every),
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        until,
    };
    let mut csv = csv.map(|export| export.csv);
    let mut model = Model::new(
        title,
        service,
        Timestamp::now(),
        globals.zone.clone(),
        globals.paint,
    );
    for service in first {
        update(&mut model, Msg::Seen(Box::new(service)));
    }
    let mut screen = Screen::open()?;
    loop {
        screen.draw(&model)?;
        let msg = match ears.next(&mut screen).await {
            Happened::End => return Ok(Exit::Done),
            Happened::Redraw => continue,
            Happened::Export => {
                if let (Some(csv), Some(service)) = (&mut csv, model.shown()) {
                    csv.add(service, Timestamp::now())?;
                }
                continue;
            }
            Happened::Message(msg) => msg,
        };
        match update(&mut model, msg) {
            None => {}
            Some(Act::Quit) => return Ok(Exit::Done),
            Some(Act::Send(request)) => {
                let (home, told, by) = (Arc::clone(&home), told.clone(), globals.actor.clone());
                tasks.spawn(async move {
                    told.send(send(&*home, &request, &by).await).await.ok();
                });
            }
        }
    }
}

impl Ears {
    async fn next(&mut self, screen: &mut Screen) -> Happened {
        let until = self.until;
        let end = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = end => Happened::End,
            _ = self.terminate.recv() => Happened::End,
            _ = self.interrupt.recv() => Happened::End,
            key = screen.keys.recv() => match key {
                Some(Some(key)) => Happened::Message(Msg::Key(key)),
                Some(None) => Happened::Redraw,
                // The keyboard is gone, and with it the person.
                None => Happened::End,
            },
            seen = self.seen.recv() => match seen {
                Some(Seen::Service(view)) => Happened::Message(Msg::Seen(view)),
                Some(Seen::Lost(error)) => Happened::Message(Msg::Lost(error.to_string())),
                None => Happened::End,
            },
            Some(text) = self.answers.recv() => Happened::Message(Msg::Told(text)),
            _ = self.ticks.tick() => Happened::Message(Msg::Tick(Timestamp::now())),
            _ = self.exports.tick() => Happened::Export,
        }
    }
}

/// Sends a command, and returns what became of it in words.
async fn send(home: &dyn Home, request: &Request, by: &str) -> String {
    let body = CommandRequest {
        step: request.step,
        ..steer::request(request.command, by)
    };
    match home.command(&request.service, &body).await {
        Ok(answer) => answer.messages.join("; "),
        Err(error) => error.to_string(),
    }
}

fn ticker(every: Duration) -> Interval {
    let mut ticker = interval(every);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

#[cfg(test)]
mod tests {
    use haldane_api::http::CommandName;
    use serde_json::json;

    use super::*;
    use crate::cli::testing::{Daemon, Reply};

    #[tokio::test]
    async fn a_yes_is_the_request_that_the_command_line_sends() {
        let answer =
            json!({ "messages": ["promoted", "by hand"], "rollout": "auth-7", "isDurable": true });
        let daemon =
            Daemon::start([("POST /v1/services/auth/commands", Reply::json(200, &answer))]);
        let request = Request {
            service: "auth".parse().unwrap(),
            command: CommandName::Promote,
            step: Some(4),
        };
        assert_eq!(
            send(&daemon.client(), &request, "ann").await,
            "promoted; by hand"
        );
        let body = &daemon.asked()[0].1;
        assert_eq!(
            (&body["command"], &body["step"], &body["by"]),
            (&json!("Promote"), &json!(4), &json!("ann"))
        );
    }
}
