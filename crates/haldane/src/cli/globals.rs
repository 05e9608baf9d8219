//! What every command needs to know: where the daemon is, who asks, and how to answer.

use std::{
    env, fs,
    io::{IsTerminal, stdout},
    sync::Arc,
};

use haldane_controller::client::Access;
use jiff::tz::TimeZone;

use super::{
    client::Client,
    home::{self, Home, HomeError, Kubernetes},
    kube::KubeArgs,
    paint::Paint,
    place::{Place, PlaceArgs, Surroundings},
};

/// The width of lines on a terminal that does not tell its own.
const WIDTH: u16 = 80;

/// The options that every command has.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArgs {
    /// Where the daemon lives.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Which cluster is meant instead.
    #[command(flatten)]
    pub kube: KubeArgs,
    /// The form of the result
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        env = "HALDANE_OUTPUT",
        global = true
    )]
    pub output: Format,
    /// Who asks, as recorded with each command; by default your user name and this machine's name
    #[arg(long = "as", value_name = "NAME", env = "HALDANE_ACTOR", global = true)]
    pub actor: Option<String>,
}

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs, as the daemon's API has it.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What every command knows.
#[derive(Clone, Debug)]
pub(crate) struct Globals {
    /// Where the daemon is.
    pub place: Place,
    /// Which cluster is meant instead of this machine.
    pub access: Option<Access>,
    /// The form of the result.
    pub format: Format,
    /// Who asks.
    pub actor: String,
    /// How many characters fit a line; all of them where no terminal shows it.
    pub width: usize,
    /// Whether a person looks at stdout, on something that can be drawn on.
    pub is_terminal: bool,
    /// Whether words have colors.
    pub paint: Paint,
    /// In which zone times are told.
    pub zone: TimeZone,
}

impl Globals {
    /// Returns what the options mean in this process.
    ///
    /// # Errors
    /// When there is no directory for the daemon to live in.
    pub(crate) fn try_new(args: &GlobalArgs) -> anyhow::Result<Self> {
        let is_seen = stdout().is_terminal();
        let is_terminal = is_seen && env::var_os("TERM").is_none_or(|term| term != "dumb");
        // Only a terminal is asked for its size: elsewhere the question would start a program.
        let size = is_terminal
            .then(ratatui::crossterm::terminal::size)
            .and_then(Result::ok)
            .map(|(width, _)| width);
        let has_color = is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Self {
            place: Place::try_new(&args.place, &Surroundings::of_process())?,
            access: args.kube.access(env::args_os().next().as_deref()),
            format: args.output,
            actor: args.actor.clone().unwrap_or_else(user_at_host),
            width: width(is_seen, size),
            is_terminal,
            paint: if has_color { Paint::Color } else { Paint::Mono },
            zone: TimeZone::system(),
        })
    }

    /// Returns a client of the daemon, for what only a daemon can do.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.place.socket)
    }

    /// Returns where services live: in the cluster that is meant, else on this machine.
    ///
    /// # Errors
    /// When it is not known which cluster is meant, or how to get into it.
    pub(crate) async fn home(&self) -> Result<Arc<dyn Home>, HomeError> {
        match &self.access {
            Some(access) => Ok(Arc::new(Kubernetes::connect(access).await?)),
            None => Ok(home::daemon(self.client())),
        }
    }
}

/// Returns how wide lines are: a program that reads them, or a person who reads a file later, gets them whole.
fn width(is_terminal: bool, told: Option<u16>) -> usize {
    if !is_terminal {
        return usize::MAX;
    }
    usize::from(told.filter(|width| *width > 0).unwrap_or(WIDTH))
}

fn user_at_host() -> String {
    let filled = |name| {
        env::var(name)
            .ok()
            .filter(|value: &String| !value.is_empty())
    };
    let user = filled("USER").or_else(|| filled("LOGNAME"));
    let user = user.unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| filled("HOSTNAME"));
    let host = host
        .map(|host| host.trim().to_owned())
        .filter(|host| !host.is_empty());
    format!("{user}@{}", host.as_deref().unwrap_or("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_cuts_lines() {
        for (is_terminal, told, expected) in [
            (false, None, usize::MAX),
            (true, Some(132), 132),
            (true, Some(0), 80),
            (true, None, 80),
        ] {
            assert_eq!(width(is_terminal, told), expected, "{told:?}");
        }
    }
}
