//! What one setting is: its name, type, default, range, scope and text.
//!
//! A setting is written down once, as a line of a `settings!` table. From that line come the typed field, the
//! check of a value at start and in an alter request, the entry in a `DescribeConfigs` answer and the row of
//! docs/configuration.md. Texts of refusals are Kafka's (`ConfigDef`, `ConfigException`), since tools show them.

use std::fmt;

/// The type of a setting as a client is told it (`DescribeConfigs` v3, KIP-569).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// 32 bits, signed.
    Int,
    /// 16 bits, signed.
    Short,
    /// 64 bits, signed.
    Long,
    /// A decimal number.
    Double,
    /// Texts with commas between them.
    List,
}

impl Kind {
    /// The number of this type in a `DescribeConfigs` answer.
    pub fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
        }
    }

    /// Kafka's name of the type, as in its texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
        }
    }
}

/// Which values of the right type are allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Check {
    /// All.
    Any,
    /// A number not below this.
    AtLeast(i64),
    /// A number from the first to the second, both included.
    Between(i64, i64),
    /// A decimal number from the first to the second, both included.
    Fraction(f64, f64),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list of these texts.
    EachOf(&'static [&'static str]),
    /// A text that is not empty.
    NotEmpty,
}

/// Who may change a setting, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Read at start.
    ReadOnly,
    /// Changed while running, for the whole cluster or one broker.
    ClusterWide,
    /// Of a topic.
    Topic,
}

impl Scope {
    /// The word in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "at start",
            Self::ClusterWide => "while running",
            Self::Topic => "per topic",
        }
    }
}

/// A broker setting that gives the default of a topic setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    /// The broker's setting.
    pub name: &'static str,
    /// What one of its units is in units of the topic's setting: hours are 3,600,000 milliseconds.
    pub scale: i64,
}

impl Synonym {
    /// The same setting in the same unit.
    pub const fn same(name: &'static str) -> Self {
        Self { name, scale: 1 }
    }
}

/// A value that Kafka has and Corelane does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotBuilt {
    /// The value, or the element of a list.
    pub value: &'static str,
    /// One clause that says what is missing.
    pub reason: &'static str,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Kafka's property name, or ours.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The value when nobody set one; `None` is null.
    pub default: Option<&'static str>,
    /// The range.
    pub check: Check,
    /// Who may change it.
    pub scope: Scope,
    /// Broker settings that give a topic setting its default, the strongest first.
    pub synonyms: &'static [Synonym],
    /// Values refused by name for now.
    pub not_built: &'static [NotBuilt],
    /// What it does, for `DescribeConfigs` and the documentation.
    pub doc: &'static str,
}

impl Definition {
    /// What a table line starts from.
    pub const BASE: Self = Self {
        name: "",
        kind: Kind::String,
        default: None,
        check: Check::Any,
        scope: Scope::ReadOnly,
        synonyms: &[],
        not_built: &[],
        doc: "",
    };

    /// Checks type, range and that the value is built. The text that is kept is the trimmed one.
    pub fn check(&self, text: &str) -> Result<(), Invalid> {
        let text = text.trim();
        self.check_kind(text)
            .and_then(|()| self.check_range(text))
            .and_then(|()| self.check_built(text))
            .map_err(|reason| Invalid {
                name: self.name,
                value: text.to_owned(),
                reason,
                allowed: self.allowed(),
            })
    }

    fn check_kind(&self, text: &str) -> Result<(), String> {
        let number = |ok: bool| {
            if ok { Ok(()) } else { Err(format!("Not a number of type {}", self.kind.name())) }
        };
        match self.kind {
            Kind::Boolean => bool_of(text).map(|_| ()),
            Kind::Int => number(text.parse::<i32>().is_ok()),
            Kind::Short => number(text.parse::<i16>().is_ok()),
            Kind::Long => number(text.parse::<i64>().is_ok()),
            Kind::Double => number(text.parse::<f64>().is_ok_and(f64::is_finite)),
            Kind::String | Kind::List => Ok(()),
        }
    }

    fn check_range(&self, text: &str) -> Result<(), String> {
        let number = text.parse::<i64>().unwrap_or_default();
        let fraction = text.parse::<f64>().unwrap_or_default();
        match self.check {
            Check::AtLeast(min) | Check::Between(min, _) if number < min => {
                Err(format!("Value must be at least {min}"))
            }
            Check::Between(_, max) if number > max => Err(format!("Value must be no more than {max}")),
            Check::Fraction(min, _) if fraction < min => Err(format!("Value must be at least {min}")),
            Check::Fraction(_, max) if fraction > max => Err(format!("Value must be no more than {max}")),
            Check::OneOf(words) if !words.contains(&text) => {
                Err(format!("String must be one of: {}", words.join(", ")))
            }
            Check::EachOf(words) if !elements(text).all(|each| words.contains(&each)) => {
                Err(format!("String must be one of: {}", words.join(", ")))
            }
            Check::NotEmpty if text.is_empty() => Err("String must be non-empty".to_owned()),
            _ => Ok(()),
        }
    }

    fn check_built(&self, text: &str) -> Result<(), String> {
        let hit = self
            .not_built
            .iter()
            .find(|each| elements(text).any(|element| element.eq_ignore_ascii_case(each.value)));
        hit.map_or(Ok(()), |hit| Err(format!("{} is not supported yet: {}", hit.value, hit.reason)))
    }

    /// In words, which values are allowed.
    pub fn allowed(&self) -> String {
        let plain = match (self.kind, self.check) {
            (_, Check::OneOf(words)) => format!("one of {}", self.built(words)),
            (_, Check::EachOf(words)) => format!("a list of {}", self.built(words)),
            (Kind::Boolean, _) => "true or false".to_owned(),
            (Kind::Int, Check::AtLeast(min)) => format!("a whole number from {min} to {}", i32::MAX),
            (_, Check::AtLeast(min)) => format!("a whole number from {min}"),
            (_, Check::Between(min, max)) => format!("a whole number from {min} to {max}"),
            (_, Check::Fraction(min, max)) => format!("a number from {min} to {max}"),
            (Kind::Int | Kind::Short | Kind::Long, _) => "a whole number".to_owned(),
            (Kind::Double, _) => "a number".to_owned(),
            (Kind::List, _) => "a list with commas".to_owned(),
            (Kind::String, Check::NotEmpty) => "a text that is not empty".to_owned(),
            (Kind::String, _) => "a text".to_owned(),
        };
        if self.kind == Kind::Boolean && !self.not_built.is_empty() { "false".to_owned() } else { plain }
    }

    fn built(&self, words: &[&str]) -> String {
        let missing = |word: &&&str| !self.not_built.iter().any(|each| each.value == **word);
        words.iter().filter(missing).copied().collect::<Vec<_>>().join(", ")
    }
}

/// The elements of a list with commas, trimmed; an empty text has none.
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|each| !each.is_empty())
}

fn bool_of(text: &str) -> Result<bool, String> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err("Expected value to be either true or false".to_owned())
    }
}

/// A value that is not allowed. Shown as Kafka's `ConfigException` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The setting.
    pub name: &'static str,
    /// The value that was given.
    pub value: String,
    /// Kafka's reason.
    pub reason: String,
    /// What would be allowed, in words.
    pub allowed: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invalid value {} for configuration {}: {}", self.value, self.name, self.reason)
    }
}

impl std::error::Error for Invalid {}

/// A Rust type that a setting is read into.
pub trait Setting: Sized {
    /// The type as a client is told it.
    const KIND: Kind;

    /// Reads a value that [`Definition::check`] has passed; `None` is null.
    ///
    /// # Errors
    /// A clause that says why this text is not a value of the type.
    fn read(text: Option<&str>) -> Result<Self, String>;
}

macro_rules! setting_numbers {
    ($($ty:ty => $kind:ident),*) => {$(
        impl Setting for $ty {
            const KIND: Kind = Kind::$kind;
            fn read(text: Option<&str>) -> Result<Self, String> {
                let text = text.ok_or("a value is needed")?;
                text.trim().parse().map_err(|_| format!("Not a number of type {}", Kind::$kind.name()))
            }
        }
    )*};
}

setting_numbers!(i16 => Short, i32 => Int, u32 => Int, i64 => Long, u64 => Long, f64 => Double);

impl Setting for bool {
    const KIND: Kind = Kind::Boolean;
    fn read(text: Option<&str>) -> Result<Self, String> {
        bool_of(text.ok_or("a value is needed")?.trim())
    }
}

impl Setting for String {
    const KIND: Kind = Kind::String;
    fn read(text: Option<&str>) -> Result<Self, String> {
        Ok(text.ok_or("a value is needed")?.trim().to_owned())
    }
}

impl Setting for Vec<String> {
    const KIND: Kind = Kind::List;
    fn read(text: Option<&str>) -> Result<Self, String> {
        Ok(elements(text.unwrap_or_default()).map(str::to_owned).collect())
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: Kind = T::KIND;
    fn read(text: Option<&str>) -> Result<Self, String> {
        text.map(|text| T::read(Some(text))).transpose()
    }
}

/// Declares a table of settings and the struct that holds their typed values.
macro_rules! settings {
    ($(#[$outer:meta])* pub struct $name:ident in $table:ident {
        $($(#[doc = $doc:literal])+ $key:literal => $field:ident: $ty:ty = $default:expr $(, $option:ident: $value:expr)*;)*
    }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::doc_markdown)] // The texts are shown to people as they are.
        pub struct $name { $($(#[doc = $doc])+ pub $field: $ty,)* }

        #[doc = concat!("The table behind [`", stringify!($name), "`].")]
        #[allow(clippy::needless_update)] // A line may fill every field.
        pub static $table: &[$crate::config::definition::Definition] = &[
            $($crate::config::definition::Definition {
                name: $key,
                kind: <$ty as $crate::config::definition::Setting>::KIND,
                default: $default,
                doc: concat!($($doc),+),
                $($option: $value,)*
                ..$crate::config::definition::Definition::BASE
            },)*
        ];

        impl $name {
            /// Reads every field; `lookup` gives the text of a setting by name, defaults included.
            ///
            /// # Errors
            /// The first value that is not of its type, which the table's check would have found.
            pub fn read<'a>(
                lookup: impl Fn(&'static str) -> Option<std::borrow::Cow<'a, str>>,
            ) -> Result<Self, $crate::config::definition::Invalid> {
                Ok(Self { $($field: $crate::config::definition::read_field($key, lookup($key).as_deref())?,)* })
            }
        }
    };
}
pub(crate) use settings;

/// Reads one field of a `settings!` struct.
pub(crate) fn read_field<T: Setting>(name: &'static str, text: Option<&str>) -> Result<T, Invalid> {
    T::read(text).map_err(|reason| Invalid {
        name,
        value: text.unwrap_or("null").to_owned(),
        reason,
        allowed: String::new(),
    })
}

/// Declares an enum whose values are words of a setting.
macro_rules! choice {
    ($(#[$outer:meta])* pub enum $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$inner])* $variant,)* }

        impl $name {
            /// The words, in order.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word of this value.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl $crate::config::definition::Setting for $name {
            const KIND: $crate::config::definition::Kind = $crate::config::definition::Kind::String;
            fn read(text: Option<&str>) -> Result<Self, String> {
                match text.map(str::trim) {
                    $(Some($word) => Ok(Self::$variant),)*
                    _ => Err(format!("String must be one of: {}", Self::WORDS.join(", "))),
                }
            }
        }
    };
}
pub(crate) use choice;

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: Definition =
        Definition { name: "n", kind: Kind::Int, check: Check::Between(1, 9), ..Definition::BASE };

    #[test]
    fn refusals_use_the_words_of_kafka() {
        let text = |value: &str| COUNT.check(value).unwrap_err().to_string();
        assert_eq!(text("x"), "Invalid value x for configuration n: Not a number of type INT");
        assert_eq!(text("0"), "Invalid value 0 for configuration n: Value must be at least 1");
        assert_eq!(text("10"), "Invalid value 10 for configuration n: Value must be no more than 9");
        assert_eq!(COUNT.check("10").unwrap_err().allowed, "a whole number from 1 to 9");
        COUNT.check(" 9 ").unwrap();
    }

    #[test]
    fn a_value_that_is_not_built_is_refused_by_its_name() {
        let policy = Definition {
            name: "cleanup.policy",
            kind: Kind::List,
            check: Check::EachOf(&["compact", "delete"]),
            not_built: &[NotBuilt { value: "compact", reason: "compaction is missing" }],
            ..Definition::BASE
        };
        policy.check("delete").unwrap();
        let refusal = policy.check("delete, compact").unwrap_err();
        assert!(refusal.to_string().ends_with("compact is not supported yet: compaction is missing"));
        assert_eq!(refusal.allowed, "a list of delete");
        assert!(policy.check("other").unwrap_err().reason.starts_with("String must be one of"));
    }
}
