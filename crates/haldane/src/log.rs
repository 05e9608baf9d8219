//! Where the daemon's own words go: structured lines on stderr.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{EnvFilter, fmt};

use crate::cli::Command;

/// The variable that says what is logged, as in `info` or `haldane_engine=debug`.
const FILTER: &str = "HALDANE_LOG";

/// The variable that says how: `text` or `json`.
const FORM: &str = "HALDANE_LOG_FORMAT";

/// Begins to log; daemons tell their lifecycle, other commands only what goes wrong.
pub(crate) fn start(command: &Command) {
    let level = if matches!(command, Command::Up(_)) {
        "info"
    } else if matches!(command, Command::Controller(_)) {
        // Whoever asks the API server tells what became of it.
        "info,kube_client::client::builder=off"
    } else {
        // Whoever asks the API server tells what became of it.
        "error,kube_client::client::builder=off"
    };
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(level));
    let has_color = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(has_color)
        // Told with `eprintln!`, which panics where stderr is a file on a full disk: a log line is not worth the daemon.
        .log_internal_errors(false);
    if std::env::var(FORM).is_ok_and(|form| form == "json") {
        lines.json().init();
    } else {
        lines.init();
    }
}
