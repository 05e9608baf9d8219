//! `haldane completions`: what a shell needs to complete our command lines.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, exit::Exit};

/// Writes completions for a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<Exit> {
    // The generator panics where it can't write, so it writes to memory first.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "haldane", &mut text);
    out.write_all(&text)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use crate::cli::testing::Daemon;

    #[tokio::test]
    async fn each_shell_has_completions() {
        for shell in ["bash", "zsh", "fish"] {
            let (_, out) = Daemon::start([]).run(&format!("completions {shell}")).await;
            assert!(out.contains("set-weight"), "{shell}");
        }
    }
}
