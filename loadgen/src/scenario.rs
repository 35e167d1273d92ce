//! Scenario files: parts that run side by side or one after the other, each a command with its options.
//!
//! The options of a part are those of the command line with `_` for `-`, read by the same code, so a file can say
//! exactly what the command line can, and nothing is read that is not understood.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::args::{Invocation, ScenarioArgs, commands_and_options};
use crate::client::ClientError;
use crate::distributions::number;
use crate::limits::PARTS_MAX;
use crate::part::Part;
use crate::run_file::ScenarioRecord;

/// Keys of a part that are not options of its command.
const PART_KEYS: [&str; 5] = ["name", "command", "after", "delay_s", "count"];

/// What a file asks for.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) parts: Vec<Part>,
    pub(crate) record: ScenarioRecord,
}

/// An option of a part: its key, its values, and where it stands, if it stands in the file.
#[derive(Clone, Debug)]
struct Setting {
    key: String,
    values: Vec<String>,
    span: Option<Range<usize>>,
}

/// A part as the file has it.
struct Draft {
    name: String,
    command: String,
    after: Option<(String, Range<usize>)>,
    delay: Duration,
    count: usize,
    settings: Vec<Setting>,
    span: Range<usize>,
}

impl Scenario {
    /// Reads the file, with what the command line says for all of its parts.
    pub(crate) fn read(args: &ScenarioArgs) -> Result<Self, ClientError> {
        let text = std::fs::read_to_string(&args.file)
            .map_err(|why| ClientError::Usage(format!("cannot read {}: {why}", args.file.display())))?;
        Reading { path: &args.file, text: &text, args, commands: commands_and_options() }.read()
    }
}

struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    args: &'a ScenarioArgs,
    /// Options by command: name, and whether a value follows.
    commands: Vec<(String, Vec<(String, bool)>)>,
}

impl Reading<'_> {
    fn read(&self) -> Result<Scenario, ClientError> {
        let table = DeTable::parse(self.text)
            .map_err(|error| self.wrong(&error.span().unwrap_or_default(), error.message()))?;
        let table = table.into_inner();
        let (mut name, mut defaults, mut parts) = (None, Vec::new(), None);
        for (key, value) in &table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("name", DeValue::String(text)) => name = Some(text.to_string()),
                ("description", DeValue::String(_)) => {}
                ("defaults", DeValue::Table(table)) => defaults = self.settings(table, &[])?,
                ("part", DeValue::Array(array)) => parts = Some(array),
                (known @ ("name" | "description"), _) => {
                    return Err(self.wrong(&value.span(), format!("{known} must be a text")));
                }
                ("defaults", _) => return Err(self.wrong(&value.span(), "write [defaults]")),
                ("part", _) => return Err(self.wrong(&value.span(), "write [[part]]")),
                (unknown, _) => {
                    let known = "a scenario has name, description, [defaults] and [[part]]";
                    return Err(self.wrong(&key.span(), format!("unknown key {unknown:?}: {known}")));
                }
            }
        }
        self.check_defaults(&defaults)?;
        let mut drafts = Vec::new();
        for part in parts.into_iter().flatten() {
            let DeValue::Table(table) = part.get_ref() else {
                return Err(self.wrong(&part.span(), "write [[part]]"));
            };
            drafts.push(self.draft(table, part.span(), &defaults)?);
        }
        self.check_overrides(&drafts)?;
        let stem = || self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let record = ScenarioRecord {
            name: name.unwrap_or_else(stem),
            file: self.path.display().to_string(),
            text: self.text.to_owned(),
        };
        Ok(Scenario { parts: self.parts(&drafts)?, record })
    }

    fn draft(
        &self,
        table: &DeTable<'_>,
        span: Range<usize>,
        defaults: &[Setting],
    ) -> Result<Draft, ClientError> {
        let text = |key: &str| {
            let Some((_, value)) = table.iter().find(|(known, _)| known.get_ref() == key) else {
                return Ok(None);
            };
            match value.get_ref() {
                DeValue::String(text) => Ok(Some((text.to_string(), value.span()))),
                _ => Err(self.wrong(&value.span(), format!("{key} must be a text"))),
            }
        };
        let (command, at) = text("command")?.ok_or_else(|| self.wrong(&span, "this part has no command"))?;
        let options = self.options(&command).ok_or_else(|| {
            let known: Vec<&str> = self.part_commands().collect();
            self.wrong(&at, format!("unknown command {command:?}; a part may be {}", known.join(", ")))
        })?;
        let name = text("name")?.map_or_else(|| command.clone(), |(name, _)| name);
        let plain = |key: &str, least: f64, most: f64, default: f64| {
            let Some((_, value)) = table.iter().find(|(known, _)| known.get_ref() == key) else {
                return Ok(default);
            };
            let wrong = |why| self.wrong(&value.span(), format!("{key}: {why}"));
            let text = scalar(value.get_ref()).ok_or_else(|| wrong("expected a number".to_owned()))?;
            number(&text, least, most).map_err(wrong)
        };
        let delay = Duration::from_secs_f64(plain("delay_s", 0.0, 1e6, 0.0)?);
        let count = plain("count", 1.0, PARTS_MAX as f64, 1.0)? as usize;
        let mut settings = self.settings(table, &PART_KEYS)?;
        for setting in &settings {
            if !options.iter().any(|(known, _)| is_key_of(&setting.key, known)) {
                let known: Vec<String> = options.iter().map(|(known, _)| known.replace('-', "_")).collect();
                let what = format!(
                    "unknown key {:?} of part {name:?}; {command} knows {}",
                    setting.key,
                    known.join(", ")
                );
                return Err(self.wrong(&setting.span.clone().unwrap_or_default(), what));
            }
        }
        let given = self.args.cluster.given();
        let given = given.map(|(key, values)| Setting { key: key.to_owned(), values, span: None });
        let given: Vec<Setting> = given.collect();
        // What stands nearer to the part counts.
        for setting in defaults.iter().chain(&given) {
            let is_known = options.iter().any(|(known, _)| is_key_of(&setting.key, known));
            if is_known && !settings.iter().any(|own| own.key == setting.key) {
                settings.push(setting.clone());
            }
        }
        Ok(Draft { name, command, after: text("after")?, delay, count, settings, span })
    }

    /// The settings of a table, without those keys.
    fn settings(&self, table: &DeTable<'_>, without: &[&str]) -> Result<Vec<Setting>, ClientError> {
        let mut settings = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if without.contains(&name) {
                continue;
            }
            let values: Option<Vec<String>> = match value.get_ref() {
                DeValue::Array(values) => values.iter().map(|value| scalar(value.get_ref())).collect(),
                single => scalar(single).map(|value| vec![value]),
            };
            let what =
                || self.wrong(&value.span(), format!("{name} must be a text, a number, true or false"));
            settings.push(Setting {
                key: name.to_owned(),
                values: values.ok_or_else(what)?,
                span: Some(key.span()),
            });
        }
        Ok(settings)
    }

    /// A default must be an option of some command: a typing error is none.
    fn check_defaults(&self, defaults: &[Setting]) -> Result<(), ClientError> {
        for setting in defaults {
            let mut options = self.commands.iter().flat_map(|(_, options)| options);
            if !options.any(|(known, _)| is_key_of(&setting.key, known)) {
                let span = setting.span.clone().unwrap_or_default();
                return Err(self.wrong(&span, format!("unknown key {:?}: no command has it", setting.key)));
            }
        }
        Ok(())
    }

    /// An override must meet a part.
    fn check_overrides(&self, drafts: &[Draft]) -> Result<(), ClientError> {
        for (target, _) in &self.args.set {
            let (part, key) = split_target(target);
            let meets =
                drafts.iter().filter(|draft| part.is_none_or(|part| part == draft.name)).any(|draft| {
                    let options = self.options(&draft.command).unwrap_or_default();
                    options.iter().any(|(known, _)| is_key_of(key, known))
                });
            if !meets {
                return Err(ClientError::Usage(format!(
                    "--set {target}: no part of {} has it",
                    self.path.display()
                )));
            }
        }
        Ok(())
    }

    fn parts(&self, drafts: &[Draft]) -> Result<Vec<Part>, ClientError> {
        if drafts.is_empty() {
            return Err(ClientError::Usage(format!("{} has no [[part]]", self.path.display())));
        }
        let mut parts: Vec<Part> = Vec::new();
        // Draft of each part.
        let mut origins: Vec<usize> = Vec::new();
        let mut names = BTreeSet::new();
        for (index, draft) in drafts.iter().enumerate() {
            if !names.insert(draft.name.as_str()) {
                return Err(self.wrong(&draft.span, format!("two parts are called {:?}", draft.name)));
            }
            let after = match &draft.after {
                None => Vec::new(),
                Some((before, span)) => {
                    let earlier = drafts[..index].iter().position(|earlier| earlier.name == *before);
                    let earlier = earlier.ok_or_else(|| {
                        self.wrong(span, format!("no part {before:?} stands before this one"))
                    })?;
                    (0..parts.len()).filter(|part| origins[*part] == earlier).collect()
                }
            };
            for copy in 1..=draft.count {
                let name =
                    if draft.count > 1 { format!("{}-{copy}", draft.name) } else { draft.name.clone() };
                let Invocation { command, settings, .. } = self.invocation(draft, copy)?;
                parts.push(Part { name, command, settings, after: after.clone(), delay: draft.delay });
                origins.push(index);
            }
        }
        if parts.len() > PARTS_MAX {
            return Err(ClientError::Usage(format!(
                "{} has more than {PARTS_MAX} parts",
                self.path.display()
            )));
        }
        Ok(parts)
    }

    /// The command of a part's copy, read as if it had been typed.
    fn invocation(&self, draft: &Draft, copy: usize) -> Result<Invocation, ClientError> {
        let mut settings = draft.settings.clone();
        for (target, value) in &self.args.set {
            let (part, key) = split_target(target);
            let options = self.options(&draft.command).unwrap_or_default();
            if part.is_none_or(|part| part == draft.name)
                && options.iter().any(|(known, _)| is_key_of(key, known))
            {
                settings.retain(|setting| setting.key != key);
                settings.push(Setting { key: key.to_owned(), values: vec![value.clone()], span: None });
            }
        }
        let mut line = vec!["loadgen".to_owned(), draft.command.clone()];
        for setting in &settings {
            let option = setting.key.replace('_', "-");
            let takes_value = self.options(&draft.command).unwrap_or_default();
            let takes_value = takes_value.iter().any(|(known, takes)| *known == option && *takes);
            for value in &setting.values {
                match (takes_value, value.as_str()) {
                    (true, value) => {
                        line.push(format!("--{option}={}", value.replace("{copy}", &copy.to_string())));
                    }
                    (false, "true") => line.push(format!("--{option}")),
                    (false, "false") => {}
                    (false, _) => {
                        let span = setting.span.clone().unwrap_or_else(|| draft.span.clone());
                        return Err(self.wrong(&span, format!("{} is true or false", setting.key)));
                    }
                }
            }
        }
        Invocation::read(&line).map_err(|error| {
            let error = error.to_string();
            let sentence = error.lines().next().unwrap_or_default().trim_start_matches("error: ");
            let named = settings.iter().find(|setting| {
                let option = format!("--{}", setting.key.replace('_', "-"));
                sentence.contains(&format!("{option} ")) || sentence.contains(&format!("{option}="))
            });
            let span = named.and_then(|setting| setting.span.clone()).unwrap_or_else(|| draft.span.clone());
            self.wrong(&span, format!("part {:?}: {sentence}", draft.name))
        })
    }

    fn part_commands(&self) -> impl Iterator<Item = &str> {
        self.commands.iter().map(|(name, _)| name.as_str()).filter(|name| is_part(name))
    }

    fn options(&self, command: &str) -> Option<&[(String, bool)]> {
        let found = self.commands.iter().find(|(name, _)| name == command && is_part(name));
        found.map(|(_, options)| options.as_slice())
    }

    /// Something at this place of the file is wrong.
    fn wrong(&self, span: &Range<usize>, what: impl Display) -> ClientError {
        let before = self.text.as_bytes().iter().take(span.start);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        ClientError::Usage(format!("{}:{line}: {what}", self.path.display()))
    }
}

/// Whether a command can be a part of a scenario.
fn is_part(command: &str) -> bool {
    !matches!(command, "scenario" | "profile")
}

/// Whether `key` is how a file writes the option `option`.
fn is_key_of(key: &str, option: &str) -> bool {
    key.len() == option.len()
        && key.bytes().zip(option.bytes()).all(|(a, b)| (a == b && b != b'-') || (a, b) == (b'_', b'-'))
}

/// Part, if it is named, and key of an override.
fn split_target(target: &str) -> (Option<&str>, &str) {
    target.split_once('.').map_or((None, target), |(part, key)| (Some(part), key))
}

/// A value as the command line would have it.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Integer(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::args::Command;
    use crate::report::Value;

    fn read(text: &str, line: &str) -> Result<Scenario, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.toml");
        std::fs::write(&file, text).unwrap();
        read_file(&file, line).map_err(|error| error.replace(&format!("{}/", folder.path().display()), ""))
    }

    fn read_file(file: &Path, line: &str) -> Result<Scenario, String> {
        let words = ["loadgen", "scenario"].into_iter().map(str::to_owned);
        let words =
            words.chain([file.display().to_string()]).chain(line.split_whitespace().map(str::to_owned));
        let invocation = Invocation::read(&words.collect::<Vec<_>>()).unwrap();
        let Command::Scenario(args) = invocation.command else { panic!("another command") };
        Scenario::read(&args).map_err(|error| error.to_string())
    }

    const GOOD: &str = r#"
name = "good"
[defaults]
topic = "t-{copy}"
partitions = 4
[[part]]
name = "fill"
command = "produce"
records = 1_000
topic_config = ["a=b", "c=d"]
idempotent = true
[[part]]
name = "readers"
command = "consume"
after = "fill"
delay_s = 1.5
count = 3
threads = 2
check_crcs = false
"#;

    fn setting<'a>(part: &'a Part, name: &str) -> &'a Value {
        &part.settings.0.iter().find(|(known, _)| known == name).unwrap().1
    }

    #[test]
    fn a_scenario_is_its_parts_as_if_they_had_been_typed() {
        let scenario = read(GOOD, "--bootstrap b:1 --set readers.seconds=5 --set topic=x-{copy}").unwrap();
        let names: Vec<&str> = scenario.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["fill", "readers-1", "readers-2", "readers-3"]);
        let (fill, reader) = (&scenario.parts[0], &scenario.parts[2]);
        assert_eq!((reader.after.as_slice(), reader.delay), (&[0][..], Duration::from_millis(1500)));
        assert_eq!(setting(fill, "records"), &Value::Count(1000));
        assert_eq!(setting(fill, "topic_config"), &Value::Text("a=b,c=d".to_owned()));
        assert_eq!(setting(fill, "idempotent"), &Value::Flag(true));
        assert_eq!(setting(reader, "topic"), &Value::Text("x-2".to_owned()));
        assert_eq!(setting(reader, "seconds"), &Value::Count(5));
        assert_eq!(
            (setting(fill, "threads"), setting(reader, "threads")),
            (&Value::Count(1), &Value::Count(2))
        );
        assert_eq!(setting(reader, "bootstrap"), &Value::Text("b:1".to_owned()));
        assert_eq!(scenario.record.name, "good");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let part = "[[part]]\ncommand = \"produce\"\n";
        let cases = [
            ("nmae = \"x\"\n".to_owned(), "some.toml:1: unknown key \"nmae\""),
            ("\n[defaults]\nraet = 5\n".to_owned(), "some.toml:3: unknown key \"raet\""),
            (format!("{part}raet = 5\n"), "some.toml:3: unknown key \"raet\" of part \"produce\""),
            (format!("{part}from = \"latest\"\n"), "some.toml:3: unknown key \"from\""),
            (format!("{part}rate = \"fast\"\n"), "some.toml:3: part \"produce\": invalid value 'fast'"),
            (format!("{part}idempotent = 3\n"), "some.toml:3: idempotent is true or false"),
            (format!("{part}rate = {{ a = 1 }}\n"), "some.toml:3: rate must be a text"),
            (format!("{part}after = \"x\"\n"), "some.toml:3: no part \"x\" stands before"),
            (format!("{part}count = 0\n"), "some.toml:3: count"),
            (format!("{part}{part}"), "some.toml:3: two parts are called \"produce\""),
            ("[[part]]\ncommand = \"destroy\"\n".to_owned(), "some.toml:2: unknown command \"destroy\""),
            ("[[part]]\ncommand = \"scenario\"\n".to_owned(), "some.toml:2: unknown command \"scenario\""),
            ("[[part]]\nrate = 1\n".to_owned(), "some.toml:1: this part has no command"),
            ("part = 1\n".to_owned(), "some.toml:1: write [[part]]"),
            ("name = \"x\"\n".to_owned(), "some.toml has no [[part]]"),
            ("name = \n".to_owned(), "some.toml:1: "),
        ];
        for (text, why) in cases {
            let refused = read(&text, "").unwrap_err();
            assert!(refused.contains(why), "{text}\n{refused}\n{why}");
            assert_eq!(refused.lines().count(), 1, "{refused}");
        }
        assert!(read(GOOD, "--set readers.acks=1").unwrap_err().contains("no part of"));
    }

    #[test]
    fn the_scenarios_that_come_along_are_read() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let scenario = read_file(&path, "").unwrap();
            assert_eq!(scenario.record.name, path.file_stem().unwrap().to_string_lossy());
            found.push(scenario.record.name);
        }
        found.sort_unstable();
        let expected = [
            "backlog-drain",
            "fan-out",
            "large-records",
            "many-topics",
            "openmessaging-like",
            "slow-consumer",
            "spike",
            "steady",
            "tail-with-backfill",
            "tiny-records",
        ];
        assert_eq!(found, expected);
    }
}
