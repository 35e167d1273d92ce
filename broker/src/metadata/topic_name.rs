//! What a topic may be called, in Kafka's words (`org.apache.kafka.common.internals.Topic`).

/// The longest name of a topic, in bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The topic in which group coordinators keep committed offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic in which transaction coordinators keep their state.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// The topic in which share coordinators keep their state.
pub const SHARE_TOPIC: &str = "__share_group_state";

/// Whether a topic belongs to the broker.
pub fn is_internal(name: &str) -> bool {
    matches!(name, OFFSETS_TOPIC | TRANSACTIONS_TOPIC | SHARE_TOPIC)
}

/// Checks a name.
///
/// # Errors
/// Kafka's sentence about the name.
pub fn check(name: &str) -> Result<(), String> {
    let reason = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > TOPIC_NAME_BYTES_MAX {
        format!("the length of '{name}' is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}")
    } else if !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c)) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {reason}"))
}

/// The form of a name in which names that collide are equal: metric names turn '.' into '_'.
pub fn unified(name: &str) -> String {
    name.replace('.', "_")
}

/// Whether a name can collide at all.
pub fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule_of_kafka() {
        for good in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            check(good).unwrap();
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(250)] {
            assert!(check(bad).unwrap_err().starts_with("Topic name is invalid: "), "{bad}");
        }
    }

    #[test]
    fn only_dots_and_underscores_collide() {
        assert_eq!(unified("a.b_c"), unified("a_b.c"));
        assert_ne!(unified("a-b"), unified("a_b"));
        assert!(may_collide("a.b") && !may_collide("a-b"));
    }
}
