//! The one macro in which every message is declared, and the traits it implements.
//!
//! A declaration reads like Kafka's schema of the message:
//!
//! ```text
//! messages! {
//!     api Metadata: MetadataRequest -> MetadataResponse, versions 0-13;
//!     flexible 9+;
//!
//!     /// Which topics to describe.
//!     struct MetadataRequest {
//!         topics: Option<Vec<MetadataRequestTopic>> [0+ null 1+],
//!         allow_auto_topic_creation: bool [4+] = true,
//!         include_cluster_authorized_operations: bool [8-10],
//!         ...
//!     }
//! }
//! ```
//!
//! In brackets: the versions that have the field (`4+`, `8-10`); `null 1+`, the versions in which an [`Option`] may be
//! null, when those are not all of them; `tag 0`, when the field is a tagged one (KIP-482); `ignorable`, when a value other
//! than the default may be left out of versions that lack the field. After `=` comes a default other than the type's own.
//! `flexible never` declares messages without a compact form.
//!
//! A nullable field without a default is null by default: the schemas say "empty", but that is never what a sender means.
//!
//! Decoding is total: any bytes give a message or a [`DecodeError`]; an array is never allocated for more elements than the
//! bytes left can hold; unknown tagged fields are skipped. Bytes after the last field are the caller's to judge
//! ([`Reader::left`]); Kafka does not look at them.

use std::ops::RangeInclusive;

use super::api_key::ApiKey;
use super::reader::{DecodeError, Reader};
use super::writer::Writer;

/// Lets others run in the middle of long work: who reads or writes a long message shares a core with them.
pub trait Pace {
    /// A step of about so much work was made, in bytes: true when it is time for others.
    fn is_due(&mut self, work: usize) -> bool;

    /// Lets others run.
    fn pause(&mut self) -> impl Future<Output = ()>;
}

/// The work of reading or writing one element of an array ([`Pace`]).
pub(crate) const ELEMENT_BYTES: usize = 64;

/// A message or a structure in one.
pub trait Message: Sized + Default {
    /// How `version` is written.
    fn form(version: i16) -> Form;

    /// Reads the fields that `version` has; the others get their defaults.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// [`decode`](Self::decode) with pauses.
    fn decode_paced(
        r: &mut Reader,
        version: i16,
        pace: &mut impl Pace,
    ) -> impl Future<Output = Result<Self, DecodeError>>;

    /// Writes the fields that `version` has. A value that the version cannot carry is left out; it is a bug, unless the
    /// field is ignorable or has its default, and debug builds assert so.
    fn encode(&self, w: &mut Writer, version: i16);

    /// [`encode`](Self::encode) with pauses.
    fn encode_paced(&self, w: &mut Writer, version: i16, pace: &mut impl Pace) -> impl Future<Output = ()>;

    /// Gives every `error_code` in the message, those of success too, in the order of its fields.
    fn error_codes(&self, found: &mut impl FnMut(i16));
}

/// A request and the response it gets.
pub trait Request: Message {
    /// The API.
    const API_KEY: ApiKey;
    /// Versions valid in Kafka 4.3.1.
    const VERSIONS: RangeInclusive<i16>;
    /// The API's response.
    type Response: Message;

    /// Whether `version` has the compact form with tagged fields (KIP-482), in the header too.
    fn flexible(version: i16) -> bool;
}

/// How a message's fields are written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The message's version.
    pub version: i16,
    /// Compact lengths and tagged fields.
    pub flexible: bool,
}

/// A type that a field may have.
pub trait Field: Sized {
    /// The fewest bytes a value takes.
    fn least_len(form: Form) -> usize;
    /// Reads a value.
    fn read(r: &mut Reader, form: Form) -> Result<Self, DecodeError>;
    /// Writes the value.
    fn write(&self, w: &mut Writer, form: Form);

    /// Whether a value may hold an array, and so be long.
    const HOLDS_ARRAYS: bool = false;

    /// Reads a value with pauses between the elements of long arrays.
    fn read_paced(
        r: &mut Reader,
        form: Form,
        _pace: &mut impl Pace,
    ) -> impl Future<Output = Result<Self, DecodeError>> {
        async move { Self::read(r, form) }
    }

    /// Writes the value with pauses between the elements of long arrays.
    fn write_paced(&self, w: &mut Writer, form: Form, _pace: &mut impl Pace) -> impl Future<Output = ()> {
        async move { self.write(w, form) }
    }

    /// Elements of the arrays in the value.
    #[inline]
    fn elements(&self) -> usize {
        0
    }

    /// Whether this is a null.
    fn is_null(&self) -> bool {
        false
    }

    /// Gives the error codes of the structures in the value; see [`Message::error_codes`].
    fn inner_error_codes(&self, _found: &mut impl FnMut(i16)) {}
}

/// A type that has a null on the wire.
pub trait Nullable: Field {
    /// Reads a value or a null.
    fn read_nullable(r: &mut Reader, form: Form) -> Result<Option<Self>, DecodeError>;
    /// [`read_nullable`](Self::read_nullable) with pauses between the elements of long arrays.
    fn read_nullable_paced(
        r: &mut Reader,
        form: Form,
        _pace: &mut impl Pace,
    ) -> impl Future<Output = Result<Option<Self>, DecodeError>> {
        async move { Self::read_nullable(r, form) }
    }
    /// Writes a value or a null.
    fn write_nullable(this: Option<&Self>, w: &mut Writer, form: Form);
}

/// Whether a version has the field: `4+` or `8-10`.
macro_rules! field_in {
    ($version:expr, $from:literal + $($rest:tt)*) => {
        $version >= $from
    };
    ($version:expr, $from:literal - $to:literal $($rest:tt)*) => {
        ($from..=$to).contains(&$version)
    };
}

/// The field's tag, if it has one.
macro_rules! field_tag {
    () => { None::<u32> };
    (tag $tag:literal $($rest:tt)*) => { Some::<u32>($tag) };
    ($skipped:tt $($rest:tt)*) => { field_tag!($($rest)*) };
}

/// The first version in which the field may be null.
macro_rules! field_null_from {
    () => { 0_i16 };
    (null $from:literal + $($rest:tt)*) => { $from };
    ($skipped:tt $($rest:tt)*) => { field_null_from!($($rest)*) };
}

/// Whether the field is ignorable.
macro_rules! field_ignorable {
    () => { false };
    (ignorable $($rest:tt)*) => { true };
    ($skipped:tt $($rest:tt)*) => { field_ignorable!($($rest)*) };
}

/// The field's default.
macro_rules! field_default {
    ($ty:ty) => {
        <$ty as Default>::default()
    };
    ($ty:ty = $default:expr) => {{
        let default: $ty = $default;
        default
    }};
}

/// Gives the field's value if it is an error code, or those in it.
macro_rules! field_error_codes {
    ($this:ident, error_code, $found:ident) => {
        $found($this.error_code)
    };
    ($this:ident, $field:ident, $found:ident) => {
        $crate::kafka::message::Field::inner_error_codes(&$this.$field, $found)
    };
}

/// Whether a version is flexible.
macro_rules! flexible_in {
    ($version:expr, never) => {
        false
    };
    ($version:expr, $from:literal +) => {
        $version >= $from
    };
}

/// Declares the messages of one API, or structures that belong to none; see the module.
macro_rules! messages {
    (
        api $key:ident: $request:ident -> $response:ident, versions $least:literal - $most:literal;
        $($structs:tt)+
    ) => {
        impl $crate::kafka::message::Request for $request {
            const API_KEY: $crate::kafka::api_key::ApiKey = $crate::kafka::api_key::ApiKey::$key;
            const VERSIONS: std::ops::RangeInclusive<i16> = $least..=$most;
            type Response = $response;

            fn flexible(version: i16) -> bool {
                Self::API_KEY.is_flexible(version)
            }
        }
        messages! { $($structs)+ }
    };
    (flexible never; $($structs:tt)+) => { message_structs! { [never] $($structs)+ } };
    (flexible $from:literal +; $($structs:tt)+) => { message_structs! { [$from +] $($structs)+ } };
}

/// Gives each structure the flexible versions of its messages.
macro_rules! message_structs {
    ($flexible:tt $( $(#[$meta:meta])* struct $name:ident { $($fields:tt)* } )+) => {
        $( message_struct! { $flexible $(#[$meta])* struct $name { $($fields)* } } )+
    };
}

/// One structure: its type, default, and how it is read and written.
macro_rules! message_struct {
    (
        [$($flexible:tt)+]
        $(#[$meta:meta])*
        struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident: $ty:ty [$($spec:tt)+] $(= $default:expr)?, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, clippy::struct_excessive_bools)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: field_default!($ty $(= $default)?), )* }
            }
        }

        impl $crate::kafka::message::Message for $name {
            fn form(version: i16) -> $crate::kafka::message::Form {
                $crate::kafka::message::Form { version, flexible: flexible_in!(version, $($flexible)+) }
            }

            fn decode(
                r: &mut $crate::kafka::reader::Reader,
                version: i16,
            ) -> Result<Self, $crate::kafka::reader::DecodeError> {
                $crate::kafka::message::Field::read(r, Self::form(version))
            }

            async fn decode_paced(
                r: &mut $crate::kafka::reader::Reader,
                version: i16,
                pace: &mut impl $crate::kafka::message::Pace,
            ) -> Result<Self, $crate::kafka::reader::DecodeError> {
                <Self as $crate::kafka::message::Field>::read_paced(r, Self::form(version), pace).await
            }

            fn encode(&self, w: &mut $crate::kafka::writer::Writer, version: i16) {
                $crate::kafka::message::Field::write(self, w, Self::form(version));
            }

            async fn encode_paced(
                &self,
                w: &mut $crate::kafka::writer::Writer,
                version: i16,
                pace: &mut impl $crate::kafka::message::Pace,
            ) {
                $crate::kafka::message::Field::write_paced(self, w, Self::form(version), pace).await;
            }

            fn error_codes(&self, found: &mut impl FnMut(i16)) {
                $crate::kafka::message::Field::inner_error_codes(self, found);
            }
        }

        #[allow(unused_mut, clippy::too_many_lines, clippy::cognitive_complexity)]
        impl $crate::kafka::message::Field for $name {
            fn inner_error_codes(&self, found: &mut impl FnMut(i16)) {
                $( field_error_codes!(self, $field, found); )*
                let _ = found;
            }

            fn least_len(form: $crate::kafka::message::Form) -> usize {
                let mut len = usize::from(form.flexible);
                $(
                    if field_tag!($($spec)+).is_none() && field_in!(form.version, $($spec)+) {
                        len += <$ty as $crate::kafka::message::Field>::least_len(form);
                    }
                )*
                len
            }

            fn read(
                r: &mut $crate::kafka::reader::Reader,
                form: $crate::kafka::message::Form,
            ) -> Result<Self, $crate::kafka::reader::DecodeError> {
                $(
                    let mut $field: $ty = if field_tag!($($spec)+).is_none() && field_in!(form.version, $($spec)+) {
                        let value: $ty = $crate::kafka::message::Field::read(r, form)?;
                        if form.version < field_null_from!($($spec)+) && $crate::kafka::message::Field::is_null(&value) {
                            return Err($crate::kafka::reader::DecodeError::Null);
                        }
                        value
                    } else {
                        field_default!($ty $(= $default)?)
                    };
                )*
                if form.flexible {
                    for _ in 0..r.uvarint()? {
                        let (tag, outer) = r.enter_tag()?;
                        $(
                            if field_tag!($($spec)+) == Some(tag) && field_in!(form.version, $($spec)+) {
                                $field = $crate::kafka::message::Field::read(r, form)?;
                            } else
                        )* {
                            r.skip_rest();
                        }
                        r.leave_tag(outer)?;
                    }
                }
                Ok(Self { $( $field, )* })
            }

            const HOLDS_ARRAYS: bool = false $( || <$ty as $crate::kafka::message::Field>::HOLDS_ARRAYS )*;

            async fn read_paced(
                r: &mut $crate::kafka::reader::Reader,
                form: $crate::kafka::message::Form,
                pace: &mut impl $crate::kafka::message::Pace,
            ) -> Result<Self, $crate::kafka::reader::DecodeError> {
                $(
                    let mut $field: $ty = if field_tag!($($spec)+).is_none() && field_in!(form.version, $($spec)+) {
                        let value = <$ty as $crate::kafka::message::Field>::read_paced(r, form, pace).await?;
                        if form.version < field_null_from!($($spec)+) && $crate::kafka::message::Field::is_null(&value) {
                            return Err($crate::kafka::reader::DecodeError::Null);
                        }
                        value
                    } else {
                        field_default!($ty $(= $default)?)
                    };
                )*
                if form.flexible {
                    for _ in 0..r.uvarint()? {
                        if pace.is_due($crate::kafka::message::ELEMENT_BYTES) {
                            pace.pause().await;
                        }
                        let (tag, outer) = r.enter_tag()?;
                        $(
                            if field_tag!($($spec)+) == Some(tag) && field_in!(form.version, $($spec)+) {
                                $field = <$ty as $crate::kafka::message::Field>::read_paced(r, form, pace).await?;
                            } else
                        )* {
                            r.skip_rest();
                        }
                        r.leave_tag(outer)?;
                    }
                }
                Ok(Self { $( $field, )* })
            }

            fn write(&self, w: &mut $crate::kafka::writer::Writer, form: $crate::kafka::message::Form) {
                let mut tagged = 0_u32;
                $(
                    if !(field_in!(form.version, $($spec)+)) {
                        debug_assert!(
                            field_ignorable!($($spec)+) || self.$field == field_default!($ty $(= $default)?),
                            concat!(stringify!($name), ".", stringify!($field), " is not in version {}"),
                            form.version
                        );
                    } else if field_tag!($($spec)+).is_some() {
                        tagged += u32::from(self.$field != field_default!($ty $(= $default)?));
                    } else {
                        debug_assert!(
                            form.version >= field_null_from!($($spec)+)
                                || !$crate::kafka::message::Field::is_null(&self.$field),
                            concat!(stringify!($name), ".", stringify!($field), " has no null in version {}"),
                            form.version
                        );
                        $crate::kafka::message::Field::write(&self.$field, w, form);
                    }
                )*
                if !form.flexible {
                    return;
                }
                w.put_uvarint(tagged);
                if tagged > 0 {
                    $(
                        if let Some(tag) = field_tag!($($spec)+)
                            && field_in!(form.version, $($spec)+)
                            && self.$field != field_default!($ty $(= $default)?)
                        {
                            w.put_tagged(tag, |w| $crate::kafka::message::Field::write(&self.$field, w, form));
                        }
                    )*
                }
            }

            async fn write_paced(
                &self,
                w: &mut $crate::kafka::writer::Writer,
                form: $crate::kafka::message::Form,
                pace: &mut impl $crate::kafka::message::Pace,
            ) {
                let _ = &pace;
                let mut tagged = 0_u32;
                $(
                    if !(field_in!(form.version, $($spec)+)) {
                        debug_assert!(
                            field_ignorable!($($spec)+) || self.$field == field_default!($ty $(= $default)?),
                            concat!(stringify!($name), ".", stringify!($field), " is not in version {}"),
                            form.version
                        );
                    } else if field_tag!($($spec)+).is_some() {
                        tagged += u32::from(self.$field != field_default!($ty $(= $default)?));
                    } else {
                        debug_assert!(
                            form.version >= field_null_from!($($spec)+)
                                || !$crate::kafka::message::Field::is_null(&self.$field),
                            concat!(stringify!($name), ".", stringify!($field), " has no null in version {}"),
                            form.version
                        );
                        $crate::kafka::message::Field::write_paced(&self.$field, w, form, pace).await;
                    }
                )*
                if !form.flexible {
                    return;
                }
                w.put_uvarint(tagged);
                if tagged > 0 {
                    $(
                        if let Some(tag) = field_tag!($($spec)+)
                            && field_in!(form.version, $($spec)+)
                            && self.$field != field_default!($ty $(= $default)?)
                        {
                            w.put_tagged(tag, |w| $crate::kafka::message::Field::write(&self.$field, w, form));
                        }
                    )*
                }
            }

            #[inline]
            fn elements(&self) -> usize {
                0 $( + $crate::kafka::message::Field::elements(&self.$field) )*
            }

        }

        #[cfg(feature = "sample")]
        impl $crate::kafka::sample::Sample for $name {
            fn sample(dice: &mut $crate::kafka::sample::Dice, form: $crate::kafka::message::Form) -> Self {
                Self {
                    $(
                        $field: if field_in!(form.version, $($spec)+) {
                            dice.nulls = form.version >= field_null_from!($($spec)+);
                            $crate::kafka::sample::Sample::sample(dice, form)
                        } else {
                            field_default!($ty $(= $default)?)
                        },
                    )*
                }
            }
        }

        impl $crate::kafka::message::Nullable for $name {
            fn read_nullable(
                r: &mut $crate::kafka::reader::Reader,
                form: $crate::kafka::message::Form,
            ) -> Result<Option<Self>, $crate::kafka::reader::DecodeError> {
                if r.i8()? < 0 { Ok(None) } else { $crate::kafka::message::Field::read(r, form).map(Some) }
            }

            fn write_nullable(
                this: Option<&Self>,
                w: &mut $crate::kafka::writer::Writer,
                form: $crate::kafka::message::Form,
            ) {
                w.put_i8(if this.is_some() { 1 } else { -1 });
                if let Some(this) = this {
                    $crate::kafka::message::Field::write(this, w, form);
                }
            }
        }
    };
}
