//! What the options' declarations leave out: a variable for each of them, quantities that begin with a minus, and usage lines that
//! name nothing but what the command takes.
//!
//! The variables' names follow one rule, `HALDANE_<COMMAND>_<OPTION>`, so that none means two things. **Invariant:** none of them is
//! a variable that the daemon sets for the processes it starts: a command that runs inside a replica is not steered by accident.

use std::{env, ffi::OsString};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser,
    builder::{BoolishValueParser, StyledStr},
    error::{ContextKind, ContextValue},
};

use super::Cli;

/// The rule for those who set variables.
pub(super) const VARIABLES: &str = "\
Each option can be given by a variable, too: `HALDANE_<COMMAND>_<OPTION>`, such as
`HALDANE_DEPLOY_REASON`; one that is on or off takes `1` or `0`. What stands on the line wins.
Those of every command are `HALDANE_SOCKET`, `HALDANE_DATA_DIR`, `HALDANE_KUBE`,
`HALDANE_CONTEXT`, `HALDANE_NAMESPACE`, `HALDANE_KUBECONFIG`, `HALDANE_OUTPUT` and
`HALDANE_ACTOR`. `HALDANE_LOG` says what is logged to stderr, such as `info` or `debug`,
`HALDANE_LOG_FORMAT=json` in which form, and `NO_COLOR=1` switches colors off.";

/// What every variable begins with.
const PREFIX: &str = "HALDANE_";

/// The names of whole numbers among the values.
const NUMBERS: [&str; 1] = ["N"];

/// The names of values that are a number with a unit.
const QUANTITIES: [&str; 6] = ["LIMIT", "SHARE", "SHARES", "SIGMA", "TIME", "WEIGHT"];

impl CommandFactory for Cli {
    fn command() -> Command {
        completed(Self::augment_args(Command::new("haldane")), PREFIX)
    }

    fn command_for_update() -> Command {
        completed(
            Self::augment_args_for_update(Command::new("haldane")),
            PREFIX,
        )
    }
}

impl Parser for Cli {
    fn parse() -> Self {
        Self::try_parse().unwrap_or_else(|error| error.exit())
    }

    fn try_parse() -> Result<Self, clap::Error> {
        Self::try_parse_from(env::args_os())
    }

    fn try_parse_from<I, T>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let mut command = Self::command();
        command
            .try_get_matches_from_mut(&words)
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|error| explained(error, Self::command(), &words))
    }
}

/// Adds to a command and those in it what its declaration leaves out; hidden commands are the program's own affair.
fn completed(command: Command, prefix: &str) -> Command {
    let command = command.mut_args(|arg| with_variable(with_minus(arg), prefix));
    let inner = command.get_subcommands().filter(|one| !one.is_hide_set());
    let names: Vec<String> = inner.map(|one| one.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let prefix = format!("{prefix}{}_", upper(&name));
        command.mut_subcommand(name, |inner| completed(inner, &prefix))
    })
}

fn with_variable(arg: Arg, prefix: &str) -> Arg {
    let variable = match arg.get_long() {
        Some(long) if arg.get_env().is_none() => format!("{prefix}{}", upper(long)),
        Some(_) | None => return arg,
    };
    let arg = arg.env(variable);
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        // So that `1` and `yes` switch on what `0` and `no` don't.
        return arg.value_parser(BoolishValueParser::new());
    }
    arg
}

/// Takes what begins with a minus as a value where a quantity is expected, so that its mistake is told and not that of an unknown
/// option.
fn with_minus(arg: Arg) -> Arg {
    let names = arg.get_value_names().unwrap_or_default();
    let is_one_of = |known: &[&str]| names.iter().any(|name| known.contains(&name.as_str()));
    if is_one_of(&NUMBERS) {
        arg.allow_negative_numbers(true)
    } else if is_one_of(&QUANTITIES) {
        arg.allow_hyphen_values(true)
    } else {
        arg
    }
}

fn upper(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

/// Makes an error tell the command's own usage, and which variables took part: to the parser an option that a variable sets stands on
/// the line, where nobody wrote it.
fn explained(mut error: clap::Error, mut command: Command, words: &[OsString]) -> clap::Error {
    if error.get(ContextKind::Usage).is_none() {
        return error;
    }
    command.build();
    let matches = command.clone().ignore_errors(true);
    let matches = matches
        .try_get_matches_from(words)
        .unwrap_or_else(|_| ArgMatches::default());
    let mut meant = &mut command;
    let mut at = &matches;
    while let Some((name, inner)) = at.subcommand() {
        at = inner;
        // What was matched is among the commands; if it were not, the parser's own usage is better than another command's.
        let Some(next) = meant
            .get_subcommands_mut()
            .find(|one| one.get_name() == name)
        else {
            return error;
        };
        meant = next;
    }
    let tips = tips(meant);
    error.insert(
        ContextKind::Usage,
        ContextValue::StyledStr(meant.render_usage()),
    );
    if !tips.is_empty() && error.get(ContextKind::Suggested).is_none() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// Returns a line for each option of a command alone that a variable sets.
fn tips(command: &Command) -> Vec<StyledStr> {
    let own = command.get_arguments().filter(|arg| !arg.is_global_set());
    own.filter_map(|arg| {
        let variable = arg.get_env().filter(|name| env::var_os(name).is_some())?;
        let long = arg.get_long()?;
        let text = format!("{} is set and counts as --{long}", variable.display());
        Some(StyledStr::from(text))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What the daemon sets for the processes of a version.
    const OF_CHILDREN: [&str; 4] = [
        "HALDANE_SERVICE",
        "HALDANE_VERSION",
        "HALDANE_REPLICA",
        "HALDANE_TOKEN",
    ];

    /// What the program reads beside its options.
    const OF_LOGS: [&str; 2] = ["HALDANE_LOG", "HALDANE_LOG_FORMAT"];

    fn variables(command: &Command, path: &str, all: &mut BTreeMap<String, Vec<String>>) {
        for arg in command.get_arguments() {
            if let Some(name) = arg.get_env() {
                let name = name.to_str().unwrap().to_owned();
                let option = format!("{path} --{}", arg.get_long().unwrap());
                all.entry(name).or_default().push(option);
            }
        }
        for inner in command.get_subcommands() {
            variables(inner, &format!("{path} {}", inner.get_name()), all);
        }
    }

    #[test]
    fn each_variable_means_one_option_and_none_is_set_for_children() {
        let mut all = BTreeMap::new();
        variables(&Cli::command(), "haldane", &mut all);
        assert!(
            all.contains_key("HALDANE_DEPLOY_VERSION")
                && all.contains_key("HALDANE_PLAN_SHOW_FILE"),
            "{all:?}"
        );
        for (name, options) in &all {
            assert_eq!(options.len(), 1, "{name}: {options:?}");
            assert!(name.starts_with(PREFIX), "{name}");
            for taken in OF_CHILDREN.iter().chain(&OF_LOGS) {
                assert_ne!(name, taken, "{options:?}");
            }
        }
    }

    fn mistake(line: &str) -> String {
        let words = ["haldane"].into_iter().chain(line.split(' '));
        Cli::try_parse_from(words).unwrap_err().to_string()
    }

    #[test]
    fn a_minus_is_a_mistake_of_the_value_and_not_an_unknown_option() {
        for (line, expected) in [
            ("set-weight auth -5%", "cannot read \"-5%\""),
            (
                "deploy auth --version v2 --run a --steps -5",
                "'-5' for '--traffic-steps",
            ),
            ("deploy auth --version v2 --run a --hold -5m", "\"-5m\""),
            (
                "deploy auth --version v2 --run a --replicas -1",
                "-1 is not in 1..=256",
            ),
            ("monitor auth --interval -5", "\"-5\""),
            ("history auth --limit -1", "-1 is not in 1..=100"),
            ("logs auth --lines -5", "-5 is not in 0..=10000"),
            ("promote auth --step -1", "-1 is not in 1..="),
            ("up --threads -1", "expected a number from 1 to"),
            ("demo --rps -5", "expected a number from 0.01 to"),
        ] {
            let told = mistake(line);
            assert!(told.contains("invalid value"), "{line}: {told}");
            assert!(told.contains(expected), "{line}: {told}");
        }
    }

    /// A command one of whose options has a variable that is set wherever tests run.
    fn with_path() -> Command {
        let deploy = Command::new("deploy")
            .arg(Arg::new("name").required(true))
            .arg(Arg::new("dir").long("dir").env("PATH"))
            .arg(Arg::new("run").long("run").required(true));
        Command::new("haldane")
            .arg(Arg::new("home").long("home").global(true).env("PATH"))
            .subcommand(deploy)
    }

    #[test]
    fn a_variable_that_is_set_is_not_in_the_usage_but_told() {
        let words: Vec<OsString> = ["haldane", "deploy", "auth"].map(OsString::from).to_vec();
        let error = with_path().try_get_matches_from(&words).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("--dir <dir> --home <home> <name>"),
            "the parser's own usage is right by now: {error}"
        );
        let told = explained(error, with_path(), &words).to_string();
        let expected = "\
error: the following required arguments were not provided:
  --run <run>

  tip: PATH is set and counts as --dir

Usage: haldane deploy [OPTIONS] --run <run> <name>

For more information, try '--help'.
";
        assert_eq!(told, expected);
    }
}
