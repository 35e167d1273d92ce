//! docs/configuration.md, written from the tables so that it cannot be wrong.

use std::fmt::Write as _;

use super::definition::Definition;
use super::load::variable_of;
use super::sections;
use crate::metadata::topic_config::TOPIC;

const HEAD: &str = "\
# Configuration

This page is written by `corelane config-docs` from the tables that the broker reads; a test fails when it is old.

Settings have Kafka's property names. They come from, the later ones stronger:

1. the defaults below,
2. a properties file: `corelane --config server.properties`,
3. the environment, for containers: `CORELANE_` and the name in capitals with `_` for `.`, so `log.dirs` is
   `CORELANE_LOG_DIRS`,
4. the command line: `corelane --set num.partitions=3`, which may be given many times,
5. flags of their own: `--data` is `log.dirs`, `--listen` is `listeners`, `--cores` is `cores`.

A value that is not allowed ends the start with a sentence that names the key, the value, where it came from and what
is allowed. Unknown keys are warnings. Settings of Kafka that mean nothing here, such as `num.io.threads`, are
accepted and named in one warning. What is not built yet is refused by its name: encrypted listeners, access control,
`cleanup.policy=compact`, `durability=replicated` and `memory`, tiered storage.

Changes marked *while running* are made with `IncrementalAlterConfigs`, for example by
`kafka-configs.sh --alter --entity-type brokers --entity-default`; *per topic* with `--entity-type topics` or at
creation. They are durable and stronger than what the broker was started with.

## Two ways to listen

Partitions live on shards, one shard a core. `listen` says how clients find them:

| | `listen=shared` | `listen=direct` |
|---|---|---|
| ports | the listener's, for all shards | that as well, and for shard 0, 1, … those that follow it: 9093, 9094, … after 9092 |
| brokers that clients see | one, with the number `node.id` | one a shard, with the number `node.id` × 1000 + shard: 1000 and 1001 are node 1 with two cores |
| rack | `broker.rack` | `broker.rack`, or `node-1` for all shards of node 1 |
| a request for a partition of another shard | is passed to that shard and answered | is refused with the right broker (`NOT_LEADER_OR_FOLLOWER`, `NOT_COORDINATOR`), as by Kafka |
| connections of a client | one or two | one or two a core |

With `direct` clients do by themselves what the shards do for them otherwise, and no request goes from core to core.
`bootstrap.servers` stays the listener's port. Ports after it must be free and open to clients; behind a NAT or in a
container they are mapped in the same order after the port of `advertised.listeners`. Which way is faster for whom, and
what to look at when changing: [operations.md](operations.md#two-ways-to-listen).
";

/// The page.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for (title, table) in sections() {
        section(&mut page, title, table);
    }
    section(&mut page, "Topics", TOPIC);
    page
}

fn section(page: &mut String, title: &str, table: &[Definition]) {
    // Writing to a String does not fail.
    let _ = write!(
        page,
        "\n## {title}\n\n| setting | type | default | allowed | changed |\n|---|---|---|---|---|\n"
    );
    for each in table {
        let _ = writeln!(
            page,
            "| `{}`<br>{} | {} | {} | {} | {} |",
            each.name,
            each.doc.trim(),
            each.kind.name().to_ascii_lowercase(),
            each.default.map_or_else(|| "not set".to_owned(), default),
            each.allowed(),
            changed(each),
        );
    }
}

fn default(text: &str) -> String {
    match text {
        "" => "empty".to_owned(),
        "9223372036854775807" | "2147483647" => "no limit".to_owned(),
        text => format!("`{text}`"),
    }
}

fn changed(definition: &Definition) -> String {
    let mut text = definition.scope.name().to_owned();
    if let Some(synonym) = definition.synonyms.first() {
        // For a topic the broker's name says where its default comes from.
        let _ = write!(text, "; default from `{}`", synonym.name);
    } else if definition.scope != super::definition::Scope::Topic {
        let _ = write!(text, "<br>`{}`", variable_of(definition.name));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_configuration_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == super::markdown(), "run: cargo run -- config-docs > docs/configuration.md");
    }
}
