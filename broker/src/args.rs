//! The command line of `corelane`. Without a command it serves.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::config::Sources;

const EXAMPLES: &str = "\
Examples:
  corelane                                     start a broker on 127.0.0.1:9092, data in ./data
  corelane --data /var/lib/corelane --config server.properties
  corelane topic create orders --partitions 6
  echo hello | corelane produce orders
  corelane consume orders
  corelane status

Every Kafka client works too. All settings: docs/configuration.md, or `corelane config-docs`.";

/// A message broker for Kafka clients: every acknowledged record is on disk.
#[derive(Debug, Parser)]
#[command(name = "corelane", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to do; serving when nothing is given.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the broker (what happens without a command)
    Serve(ServeArgs),
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Send the lines of standard input to a topic, one record each
    Produce(ProduceArgs),
    /// Print the records of a topic, one line each
    Consume(ConsumeArgs),
    /// Show the cluster: its brokers, topics and how much they hold
    Status(ServerArgs),
    /// Print docs/configuration.md
    #[command(hide = true)]
    ConfigDocs,
}

/// How to serve.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct ServeArgs {
    /// A file of settings in Kafka's server.properties format
    #[arg(long, value_name = "FILE", env = "CORELANE_CONFIG")]
    pub config: Option<PathBuf>,
    /// One setting, stronger than the file and the environment; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How many cores to use [default: all, or as many as the data folder was made for]
    #[arg(long, value_name = "N")]
    pub cores: Option<u32>,
    /// The data folder [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The address to listen on [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
}

impl ServeArgs {
    /// Where the settings come from: the file, this process's environment, `--set`, and the flags.
    pub fn sources(&self) -> Sources {
        let text = |variable: std::ffi::OsString| variable.to_string_lossy().into_owned();
        let mut flags = Vec::new();
        if let Some(cores) = self.cores {
            flags.push(("--cores", "cores", cores.to_string()));
        }
        if let Some(data) = &self.data {
            flags.push(("--data", "log.dirs", data.display().to_string()));
        }
        if let Some(listen) = &self.listen {
            let with_name =
                if listen.contains("://") { listen.clone() } else { format!("PLAINTEXT://{listen}") };
            flags.push(("--listen", "listeners", with_name));
        }
        Sources {
            file: self.config.clone(),
            environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            set: self.set.clone(),
            flags,
        }
    }
}

/// Which cluster to talk to.
#[derive(Debug, Clone, ClapArgs)]
pub struct ServerArgs {
    /// A broker of the cluster, of Corelane or of Kafka
    #[arg(
        long,
        short = 's',
        value_name = "HOST:PORT",
        env = "CORELANE_BOOTSTRAP",
        default_value = "127.0.0.1:9092"
    )]
    #[arg(visible_alias = "bootstrap-server")]
    pub server: String,
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic
    #[command(
        after_help = "Example:\n  corelane topic create orders --partitions 6 --config retention.ms=86400000"
    )]
    Create {
        /// The topic's name
        name: String,
        /// How many partitions [default: the broker's num.partitions]
        #[arg(long, short, default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
        partitions: i32,
        /// How many replicas [default: the broker's default.replication.factor]
        #[arg(long, short, default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
        replicas: i16,
        /// A setting of the topic, such as retention.ms=86400000; may be given many times
        #[arg(long = "config", short, value_name = "KEY=VALUE")]
        configs: Vec<String>,
        /// The cluster.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List the topics
    List {
        /// Also list the broker's own topics
        #[arg(long)]
        internal: bool,
        /// The cluster.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show a topic's partitions, offsets and the settings that differ from the defaults
    Describe {
        /// The topic's name
        name: String,
        /// The cluster.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Delete topics with all their records
    Delete {
        /// The topics' names
        #[arg(required = true)]
        names: Vec<String>,
        /// The cluster.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// When a produced record counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// When all replicas in sync have it
    All,
    /// When the leader has it
    #[value(name = "1")]
    Leader,
    /// At once, without an answer
    #[value(name = "0")]
    None,
}

/// How to produce.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "Examples:
  echo hello | corelane produce orders
  corelane produce orders --key-separator : < pairs.txt      lines such as customer-7:{\"total\":12}")]
pub struct ProduceArgs {
    /// The topic; it is created when the broker allows that
    pub topic: String,
    /// What stands between key and value in a line; without it lines have no key
    #[arg(long, short, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// The partition for all records [default: by key, or any]
    #[arg(long, short)]
    pub partition: Option<i32>,
    /// When a record counts as stored
    #[arg(long, value_enum, default_value = "all")]
    pub acks: Acks,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd
    #[arg(long, short = 'z', default_value = "none", value_name = "CODEC")]
    pub compression: String,
    /// The cluster.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// How to consume.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "\
Format: %v value, %k key, %t topic, %p partition, %o offset, %T time in ms, %h headers, \\n \\t \\\\ %%

Examples:
  corelane consume orders                          everything there is, then what comes
  corelane consume orders --from end               only what comes
  corelane consume orders --exit                   everything there is, then leave
  corelane consume orders --group billing          share the work with the group, go on where it was
  corelane consume orders --count 10 --format '%p/%o %k = %v\\n'")]
pub struct ConsumeArgs {
    /// The topic
    pub topic: String,
    /// Where to begin: beginning, end, an offset, or -N for the last N of each partition
    #[arg(long, short, default_value = "beginning", allow_hyphen_values = true)]
    pub from: String,
    /// The same as --from beginning, for hands used to Kafka's tool
    #[arg(long, hide = true, conflicts_with = "from")]
    pub from_beginning: bool,
    /// Only this partition
    #[arg(long, short, conflicts_with = "group")]
    pub partition: Option<i32>,
    /// Leave after so many records
    #[arg(long, short = 'n', value_name = "N")]
    pub count: Option<u64>,
    /// Leave when everything that was there is printed
    #[arg(long, short)]
    pub exit: bool,
    /// Consume as a member of this group; --from counts where the group has no offset yet
    #[arg(long, short)]
    pub group: Option<String>,
    /// What is printed for each record
    #[arg(long, default_value = "%v\\n", hide_default_value = true)]
    pub format: String,
    /// The cluster.
    #[command(flatten)]
    pub server: ServerArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves_and_flags_are_settings() {
        let args =
            Args::try_parse_from(["corelane", "--cores", "2", "--data", "/d", "--listen", "1.2.3.4:5"])
                .unwrap();
        assert!(args.command.is_none());
        let flags = args.serve.sources().flags;
        assert_eq!(flags[0], ("--cores", "cores", "2".to_owned()));
        assert_eq!(flags[1], ("--data", "log.dirs", "/d".to_owned()));
        assert_eq!(flags[2], ("--listen", "listeners", "PLAINTEXT://1.2.3.4:5".to_owned()));
        let args = Args::try_parse_from(["corelane", "serve", "--set", "a=b", "--set", "c=d"]).unwrap();
        assert!(matches!(args.command, Some(Command::Serve(serve)) if serve.set == ["a=b", "c=d"]));
    }

    #[test]
    fn numbers_before_the_end_are_a_place_to_begin() {
        let args = Args::try_parse_from(["corelane", "consume", "t", "--from", "-5", "-n", "2"]).unwrap();
        assert!(matches!(args.command, Some(Command::Consume(consume)) if consume.from == "-5"));
        let args = Args::try_parse_from(["corelane", "consume", "t", "--from-beginning"]).unwrap();
        assert!(matches!(args.command, Some(Command::Consume(consume)) if consume.from == "beginning"));
    }
}
