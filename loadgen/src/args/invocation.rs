//! A command line that was read, and what it says as names and values: how a run file tells it.

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use super::{Arguments, Command, OutputArgs};
use crate::report::{Rows, Value};

/// A command with its options.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) output: OutputArgs,
    pub(crate) command: Command,
    /// Every option of the command, defaults too, with `_` for `-`.
    pub(crate) settings: Rows,
}

impl Invocation {
    /// Reads a command line, the program first.
    pub(crate) fn read(line: &[String]) -> Result<Self, clap::Error> {
        let matches = Arguments::command().try_get_matches_from(line)?;
        let arguments = Arguments::from_arg_matches(&matches)?;
        let settings = match matches.subcommand() {
            Some((name, matches)) => settings(name, matches),
            None => Rows::default(),
        };
        Ok(Self { output: arguments.output, command: arguments.command, settings })
    }
}

/// The commands, each with its options: name, and whether a value follows.
pub(crate) fn commands_and_options() -> Vec<(String, Vec<(String, bool)>)> {
    let options = |command: &clap::Command| {
        let named = command.get_arguments().filter_map(|argument| {
            let name = argument.get_long()?.to_owned();
            Some((name, argument.get_action().takes_values()))
        });
        named.collect()
    };
    let arguments = Arguments::command();
    arguments.get_subcommands().map(|command| (command.get_name().to_owned(), options(command))).collect()
}

fn settings(name: &str, matches: &ArgMatches) -> Rows {
    let arguments = Arguments::command();
    let Some(command) = arguments.find_subcommand(name) else { return Rows::default() };
    let setting = |argument: &clap::Arg| {
        let values = matches.get_raw(argument.get_id().as_str());
        let values: Vec<String> =
            values.into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
        let value = if values.is_empty() { Value::None } else { Value::of_text(&values.join(",")) };
        let shown = argument.get_long().unwrap_or(argument.get_id().as_str());
        (shown.replace('-', "_"), value)
    };
    Rows(command.get_arguments().map(setting).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Invocation {
        Invocation::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn settings_are_all_options_with_their_defaults() {
        let line =
            "loadgen produce --rate 500 --topic-config a=b --topic-config c=d --idempotent --seed 5 --json x";
        let invocation = read(line);
        let get = |name: &str| {
            invocation.settings.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
        };
        assert_eq!(get("rate"), Some(&Value::Count(500)));
        assert_eq!(get("topic_config"), Some(&Value::Text("a=b,c=d".to_owned())));
        assert_eq!(get("idempotent"), Some(&Value::Flag(true)));
        assert_eq!(get("linger_ms"), Some(&Value::Count(0)));
        assert_eq!(get("size"), Some(&Value::Text("fixed:1024".to_owned())));
        assert_eq!(get("partitions"), Some(&Value::None));
        assert_eq!(get("bootstrap"), Some(&Value::Text("127.0.0.1:9092".to_owned())));
        assert!(get("seed").is_none() && get("json").is_none() && get("help").is_none());
        assert_eq!(invocation.output.seed, Some(5));
    }

    #[test]
    fn options_are_known_by_command() {
        let commands = commands_and_options();
        let (_, consume) = commands.iter().find(|(name, _)| name == "consume").unwrap();
        assert!(
            consume.contains(&("from".to_owned(), true))
                && consume.contains(&("check-crcs".to_owned(), false))
        );
        assert!(!consume.iter().any(|(name, _)| name == "json" || name == "help"));
    }
}
