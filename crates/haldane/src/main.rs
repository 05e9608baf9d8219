//! Haldane: progressive delivery in one binary.

mod bench;
mod cli;
mod controller;
mod daemon;
mod demo;
mod extras;
mod log;
mod up;
mod wire;

use std::{io, process::ExitCode};

use anyhow::Context as _;
use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};

use crate::cli::{Cli, Command, Globals};

/// The control threads of a daemon: API, health checks, gates and notifications. Traffic has threads of its own.
const CONTROL_THREADS: usize = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(&cli.command);
    cli::finish(runtime(&cli.command).and_then(|runtime| {
        runtime.block_on(async {
            let globals = Globals::try_new(&cli.globals)?;
            cli::run(cli.command, &globals, &mut io::stdout()).await
        })
    }))
}

fn runtime(command: &Command) -> anyhow::Result<Runtime> {
    if matches!(
        command,
        Command::Up(_) | Command::Controller(_) | Command::Demo(_) | Command::Bench(_)
    ) {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(CONTROL_THREADS)
            .thread_name("control");
        return builder
            .enable_all()
            .build()
            .context("starting the control threads");
    }
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}
