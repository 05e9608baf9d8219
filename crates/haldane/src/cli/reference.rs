//! `haldane help-markdown`: the reference of all commands, as committed in `docs/cli.md`.
//!
//! It is made of clap's own tree, in the order in which commands are declared, and of nothing that differs between machines.

use std::io::Write;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::{
    Cli,
    exit::{Exit, MEANINGS},
    line::VARIABLES,
};

/// Runs the command.
pub(crate) fn run(out: &mut impl Write) -> anyhow::Result<Exit> {
    let mut text = String::from(
        "# Command line\n\nWritten by `haldane help-markdown`; `cargo xtask codegen` brings it up to date.\n",
    );
    let mut root = Cli::command();
    root.build();
    text.push_str(&format!("\n{VARIABLES}\n"));
    write_options(&root, true, "Options of every command", &mut text);
    for command in shown(&root) {
        write_command(command, "haldane", &mut text);
    }
    text.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (exit, meaning) in MEANINGS {
        text.push_str(&format!("| {} | {meaning} |\n", exit.code()));
    }
    out.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

fn write_command(command: &Command, parent: &str, text: &mut String) {
    let name = format!("{parent} {}", command.get_name());
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    text.push_str(&format!("\n## `{name}`\n\n{about}.\n"));
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    text.push_str(&format!("\n```\n{usage}\n```\n"));
    write_options(command, false, "", text);
    if let Some(examples) = command.get_after_help() {
        text.push_str(&format!("\n```\n{examples}\n```\n"));
    }
    for inner in shown(command) {
        write_command(inner, &name, text);
    }
}

fn write_options(command: &Command, is_global: bool, title: &str, text: &mut String) {
    let wanted = |arg: &&Arg| {
        let is_builtin = matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        !is_builtin && !arg.is_hide_set() && arg.is_global_set() == is_global
    };
    let args: Vec<&Arg> = command.get_arguments().filter(wanted).collect();
    if args.is_empty() {
        return;
    }
    if !title.is_empty() {
        text.push_str(&format!("\n## {title}\n"));
    }
    text.push_str("\n| option | environment | meaning |\n|---|---|---|\n");
    for arg in args {
        let env = arg
            .get_env()
            .map(|env| format!("`{}`", env.to_string_lossy()))
            .unwrap_or_default();
        text.push_str(&format!("| {} | {env} | {} |\n", option(arg), meaning(arg)));
    }
}

/// Returns how an option is written: `` `-o`, `--output FORMAT` ``.
fn option(arg: &Arg) -> String {
    let value = arg
        .get_value_names()
        .and_then(|names| names.first())
        .filter(|_| arg.get_action().takes_values());
    let Some(long) = arg.get_long() else {
        return value.map_or_else(String::new, |value| format!("`{value}`"));
    };
    let short = arg
        .get_short()
        .map(|short| format!("`-{short}`, "))
        .unwrap_or_default();
    let value = value.map(|value| format!(" {value}")).unwrap_or_default();
    let aliases = arg.get_visible_aliases().unwrap_or_default();
    let aliases: String = aliases
        .iter()
        .map(|alias| format!(", `--{alias}`"))
        .collect();
    format!("{short}`--{long}{value}`{aliases}")
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let is_flag = !arg.get_action().takes_values();
    let values: Vec<String> = if is_flag {
        Vec::new()
    } else {
        arg.get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect()
    };
    if !values.is_empty() {
        text.push_str(&format!(": {}", values.join(", ")));
    }
    let defaults: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if !defaults.is_empty() && !is_flag {
        text.push_str(&format!(" [default: {}]", defaults.join(", ")));
    }
    text.replace('|', "\\|")
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::Daemon;

    fn is_own(arg: &Arg) -> bool {
        !arg.is_global_set() && !arg.is_positional() && !arg.is_hide_set() && arg.get_id() != "help"
    }

    #[tokio::test]
    async fn every_command_and_option_is_in_the_reference() {
        let (_, text) = Daemon::start([]).run("help-markdown").await;
        let mut root = Cli::command();
        root.build();
        let mut wrong = Vec::new();
        for command in shown(&root) {
            let name = command.get_name();
            if !text.contains(&format!("## `haldane {name}`")) {
                wrong.push(format!("{name} is missing"));
            }
            for arg in command.get_arguments().filter(|arg| is_own(arg)) {
                let option = option(arg);
                if !text.contains(&option) {
                    wrong.push(format!("{name} {option} is missing"));
                }
                let env = arg.get_env().unwrap_or_default().to_string_lossy();
                let prefix = format!("HALDANE_{}_", name.replace('-', "_").to_uppercase());
                if !env.starts_with(&prefix) {
                    wrong.push(format!("{name} {option} has no variable {prefix}…"));
                }
            }
            let examples = command.get_after_help().map(ToString::to_string);
            let has_inner = shown(command).next().is_some();
            if !has_inner && !examples.is_some_and(|text| text.contains("haldane ")) {
                wrong.push(format!("{name} has no example"));
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(
            Daemon::start([]).run("help-markdown").await.1,
            text,
            "it differs per run"
        );
        assert!(
            !text.contains("help-markdown\n"),
            "hidden commands stay hidden"
        );
    }
}
