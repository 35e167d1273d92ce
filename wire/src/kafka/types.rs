//! The types that fields have: strings, ids and how each primitive is read and written.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

use super::message::{ELEMENT_BYTES, Field, Form, Nullable, Pace};
use super::reader::{DecodeError, Reader};
use super::writer::{Records, Writer};

type Result<T> = std::result::Result<T, DecodeError>;

/// A string that shares the memory it arrived in; cloning counts a reference.
///
/// It holds the whole frame alive: [`Str::detached`] before it is kept for long.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Str(ByteString);

impl Str {
    /// A string that lives as long as the program, without a copy.
    pub const fn from_static(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A copy in memory of its own, to be kept when the frame is gone.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self::from(self.as_str())
    }

    /// The UTF-8 bytes, shared.
    pub fn as_bytes(&self) -> &Bytes {
        self.0.as_bytes()
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl From<&str> for Str {
    /// By copy; see [`Str::from_static`].
    fn from(text: &str) -> Self {
        Self(ByteString::from(text))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(ByteString::from(text))
    }
}

impl TryFrom<Bytes> for Str {
    type Error = DecodeError;

    fn try_from(bytes: Bytes) -> Result<Self> {
        ByteString::try_from(bytes).map(Self).map_err(|_| DecodeError::Utf8)
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// A topic's or directory's id. Text is URL-safe base64 without padding, as Kafka's tools print it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// No id; also what a field holds in versions without ids.
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is no id.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        // 128 bits are 21 digits of six bits and one of two, which is padded with zeros at its low end.
        let bits = u128::from_be_bytes(self.0);
        for at in 0..22 {
            let shifted = if at < 21 { bits >> (122 - at * 6) } else { bits << 4 };
            write!(f, "{}", DIGITS[(shifted & 63) as usize] as char)?;
        }
        Ok(())
    }
}

/// A `float64`. Compared by its bits, so that whatever arrives equals itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Float64(pub f64);

impl PartialEq for Float64 {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Field for Float64 {
    #[inline]
    fn least_len(_: Form) -> usize {
        8
    }

    #[inline]
    fn read(r: &mut Reader, _: Form) -> Result<Self> {
        Ok(Self(f64::from_bits(r.i64()? as u64)))
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: Form) {
        w.put_i64(self.0.to_bits() as i64);
    }
}

macro_rules! integer_fields {
    ($($ty:ty, $len:literal, $read:ident, $put:ident;)*) => { $(
        impl Field for $ty {
            #[inline]
            fn least_len(_: Form) -> usize {
                $len
            }

            #[inline]
            fn read(r: &mut Reader, _: Form) -> Result<Self> {
                r.$read()
            }

            #[inline]
            fn write(&self, w: &mut Writer, _: Form) {
                w.$put(*self);
            }
        }
    )* };
}

integer_fields! {
    i8, 1, i8, put_i8;
    i16, 2, i16, put_i16;
    i32, 4, i32, put_i32;
    i64, 8, i64, put_i64;
}

impl Field for bool {
    #[inline]
    fn least_len(_: Form) -> usize {
        1
    }

    #[inline]
    fn read(r: &mut Reader, _: Form) -> Result<Self> {
        Ok(r.u8()? != 0)
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: Form) {
        w.put_u8(u8::from(*self));
    }
}

impl Field for Uuid {
    #[inline]
    fn least_len(_: Form) -> usize {
        16
    }

    #[inline]
    fn read(r: &mut Reader, _: Form) -> Result<Self> {
        Ok(Self(r.uuid()?))
    }

    #[inline]
    fn write(&self, w: &mut Writer, _: Form) {
        w.put_slice(&self.0);
    }
}

impl Field for Str {
    #[inline]
    fn least_len(form: Form) -> usize {
        if form.flexible { 1 } else { 2 }
    }

    #[inline]
    fn read(r: &mut Reader, form: Form) -> Result<Self> {
        Self::read_nullable(r, form)?.ok_or(DecodeError::Null)
    }

    #[inline]
    fn write(&self, w: &mut Writer, form: Form) {
        w.put_string_len(Some(self.len()), form.flexible);
        w.put_slice(self.as_str().as_bytes());
    }
}

impl Nullable for Str {
    #[inline]
    fn read_nullable(r: &mut Reader, form: Form) -> Result<Option<Self>> {
        let Some(len) = r.string_len(form.flexible)? else { return Ok(None) };
        r.slice(len)?.try_into().map(Some)
    }

    #[inline]
    fn write_nullable(this: Option<&Self>, w: &mut Writer, form: Form) {
        match this {
            Some(text) => text.write(w, form),
            None => w.put_string_len(None, form.flexible),
        }
    }
}

impl Field for Bytes {
    #[inline]
    fn least_len(form: Form) -> usize {
        if form.flexible { 1 } else { 4 }
    }

    #[inline]
    fn read(r: &mut Reader, form: Form) -> Result<Self> {
        Self::read_nullable(r, form)?.ok_or(DecodeError::Null)
    }

    #[inline]
    fn write(&self, w: &mut Writer, form: Form) {
        w.put_bytes_len(Some(self.len()), form.flexible);
        w.put_shared(self);
    }
}

impl Nullable for Bytes {
    #[inline]
    fn read_nullable(r: &mut Reader, form: Form) -> Result<Option<Self>> {
        let Some(len) = r.bytes_len(form.flexible)? else { return Ok(None) };
        r.slice(len).map(Some)
    }

    #[inline]
    fn write_nullable(this: Option<&Self>, w: &mut Writer, form: Form) {
        match this {
            Some(bytes) => bytes.write(w, form),
            None => w.put_bytes_len(None, form.flexible),
        }
    }
}

impl Field for Records {
    #[inline]
    fn least_len(form: Form) -> usize {
        Bytes::least_len(form)
    }

    #[inline]
    fn read(r: &mut Reader, form: Form) -> Result<Self> {
        Ok(match Bytes::read_nullable(r, form)? {
            None => Self::Null,
            Some(bytes) if bytes.is_empty() => Self::Bytes(Vec::new()),
            Some(bytes) => Self::Bytes(vec![bytes]),
        })
    }

    #[inline]
    fn write(&self, w: &mut Writer, form: Form) {
        w.put_records(self, form.flexible);
    }
}

/// Elements of an array that are written without a pause.
const ELEMENTS_STEP: usize = 64;

impl<T: Field> Field for Vec<T> {
    fn inner_error_codes(&self, found: &mut impl FnMut(i16)) {
        for each in self {
            each.inner_error_codes(found);
        }
    }

    #[inline]
    fn least_len(form: Form) -> usize {
        if form.flexible { 1 } else { 4 }
    }

    #[inline]
    fn read(r: &mut Reader, form: Form) -> Result<Self> {
        Self::read_nullable(r, form)?.ok_or(DecodeError::Null)
    }

    #[inline]
    fn write(&self, w: &mut Writer, form: Form) {
        w.put_bytes_len(Some(self.len()), form.flexible);
        for element in self {
            element.write(w, form);
        }
    }

    const HOLDS_ARRAYS: bool = true;

    async fn read_paced(r: &mut Reader, form: Form, pace: &mut impl Pace) -> Result<Self> {
        Self::read_nullable_paced(r, form, pace).await?.ok_or(DecodeError::Null)
    }

    async fn write_paced(&self, w: &mut Writer, form: Form, pace: &mut impl Pace) {
        w.put_bytes_len(Some(self.len()), form.flexible);
        for element in self {
            let inner = element.elements();
            if inner <= ELEMENTS_STEP {
                element.write(w, form);
            } else {
                element.write_paced(w, form, pace).await;
            }
            if pace.is_due(ELEMENT_BYTES * (1 + inner)) {
                pace.pause().await;
            }
        }
    }

    #[inline]
    fn elements(&self) -> usize {
        self.len()
    }
}

impl<T: Field> Nullable for Vec<T> {
    #[inline]
    fn read_nullable(r: &mut Reader, form: Form) -> Result<Option<Self>> {
        let Some(count) = r.count(form.flexible, T::least_len(form), size_of::<T>())? else {
            return Ok(None);
        };
        let mut elements = Self::with_capacity(count);
        for _ in 0..count {
            elements.push(T::read(r, form)?);
        }
        Ok(Some(elements))
    }

    async fn read_nullable_paced(r: &mut Reader, form: Form, pace: &mut impl Pace) -> Result<Option<Self>> {
        let Some(count) = r.count(form.flexible, T::least_len(form), size_of::<T>())? else {
            return Ok(None);
        };
        let mut elements = Self::with_capacity(count);
        for _ in 0..count {
            elements.push(if T::HOLDS_ARRAYS {
                T::read_paced(r, form, pace).await?
            } else {
                T::read(r, form)?
            });
            if pace.is_due(ELEMENT_BYTES) {
                pace.pause().await;
            }
        }
        Ok(Some(elements))
    }

    #[inline]
    fn write_nullable(this: Option<&Self>, w: &mut Writer, form: Form) {
        match this {
            Some(elements) => elements.write(w, form),
            None => w.put_bytes_len(None, form.flexible),
        }
    }
}

impl<T: Nullable> Field for Option<T> {
    #[inline]
    fn elements(&self) -> usize {
        self.as_ref().map_or(0, Field::elements)
    }

    fn inner_error_codes(&self, found: &mut impl FnMut(i16)) {
        if let Some(value) = self {
            value.inner_error_codes(found);
        }
    }

    #[inline]
    fn least_len(_: Form) -> usize {
        1
    }

    #[inline]
    fn read(r: &mut Reader, form: Form) -> Result<Self> {
        T::read_nullable(r, form)
    }

    const HOLDS_ARRAYS: bool = T::HOLDS_ARRAYS;

    async fn read_paced(r: &mut Reader, form: Form, pace: &mut impl Pace) -> Result<Self> {
        T::read_nullable_paced(r, form, pace).await
    }

    #[inline]
    fn write(&self, w: &mut Writer, form: Form) {
        T::write_nullable(self.as_ref(), w, form);
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_map_keyed_by_str_is_asked_with_a_plain_string() {
        let map = HashMap::from([(Str::from_static("orders"), 1)]);
        assert_eq!(map.get("orders"), Some(&1));
        assert_eq!(map.get("order"), None);
    }

    #[test]
    fn a_detached_string_is_equal_and_elsewhere() {
        let frame = Bytes::from_static(b"topic-name");
        let text = Str::try_from(frame.slice(..5)).unwrap();
        assert_eq!(text.as_ptr(), frame.as_ptr());
        assert_eq!(text.detached(), text);
        assert_ne!(text.detached().as_ptr(), frame.as_ptr());
        assert_eq!(format!("{text} {text:?}"), "topic \"topic\"");
        assert_eq!(Str::try_from(Bytes::from_static(&[0xff])), Err(DecodeError::Utf8));
    }

    #[test]
    fn an_id_prints_as_kafka_prints_it() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        let id: [u8; 16] = std::array::from_fn(|at| at as u8 + 1);
        assert_eq!(Uuid(id).to_string(), "AQIDBAUGBwgJCgsMDQ4PEA");
        let mut last = [0xff; 16];
        last[15] = 0xfe;
        assert_eq!(Uuid(last).to_string(), "_____________________g");
    }
}
