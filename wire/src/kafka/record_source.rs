//! Where the bytes of records are taken from: a slice in memory, or a stream that is decompressed as it is read. Both count
//! what is left of the current record, so that a record is never read past the size it states.
//!
//! Varints are zigzag-coded, at most 5 bytes for 32 bits and 10 for 64; a longer one, or bits that do not fit, is an error.

use super::record_batch::RecordFault;

/// Bytes of one record, read forward.
pub(crate) trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, RecordFault>;
    /// Passes over `count` bytes.
    fn skip(&mut self, count: usize) -> Result<(), RecordFault>;
    /// Bytes that may still be read.
    fn remaining(&self) -> usize;

    /// A signed 32-bit varint.
    #[inline]
    fn varint(&mut self) -> Result<i32, RecordFault> {
        let first = self.byte()?;
        let mut raw = u32::from(first & 0x7f);
        if first & 0x80 != 0 {
            let mut shift = 7;
            loop {
                let byte = self.byte()?;
                if shift == 28 && byte > 0x0f {
                    return Err(RecordFault::Varint);
                }
                raw |= u32::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
                shift += 7;
            }
        }
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// A signed 64-bit varint.
    #[inline]
    fn varlong(&mut self) -> Result<i64, RecordFault> {
        let first = self.byte()?;
        let mut raw = u64::from(first & 0x7f);
        if first & 0x80 != 0 {
            let mut shift = 7;
            loop {
                let byte = self.byte()?;
                if shift == 63 && byte > 0x01 {
                    return Err(RecordFault::Varint);
                }
                raw |= u64::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
                shift += 7;
            }
        }
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The size of a nullable field: -1 is null, anything below it an error.
    #[inline]
    fn nullable_size(&mut self) -> Result<Option<usize>, RecordFault> {
        match self.varint()? {
            -1 => Ok(None),
            size => usize::try_from(size).map(Some).map_err(|_| RecordFault::NegativeSize),
        }
    }
}

/// A slice in memory.
pub(crate) struct SliceSource<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> SliceSource<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The next `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], RecordFault> {
        let taken = self.bytes[self.at..].get(..count).ok_or(RecordFault::Cut)?;
        self.at += count;
        Ok(taken)
    }
}

impl Source for SliceSource<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordFault> {
        let byte = *self.bytes.get(self.at).ok_or(RecordFault::Cut)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Result<(), RecordFault> {
        if count > self.remaining() {
            return Err(RecordFault::Cut);
        }
        self.at += count;
        Ok(())
    }

    #[inline]
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }
}

/// Appends a signed 32-bit varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

/// Appends a signed 64-bit varint. For values of 32 bits the bytes are those of [`put_varint`].
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes of a signed 64-bit varint.
pub(crate) fn varint_len(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_as_they_went_in() {
        for value in
            [0, 1, -1, 63, -64, 64, 300, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN]
        {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, value);
            assert_eq!(bytes.len(), varint_len(value));
            assert_eq!(SliceSource::new(&bytes).varlong(), Ok(value));
            let narrow = SliceSource::new(&bytes).varint();
            match i32::try_from(value) {
                Ok(small) => assert_eq!(narrow, Ok(small)),
                Err(_) => assert_eq!(narrow, Err(RecordFault::Varint)),
            }
        }
    }

    #[test]
    fn an_endless_or_cut_varint_is_an_error() {
        assert_eq!(SliceSource::new(&[0xff; 20]).varint(), Err(RecordFault::Varint));
        assert_eq!(SliceSource::new(&[0xff; 20]).varlong(), Err(RecordFault::Varint));
        assert_eq!(SliceSource::new(&[0xff; 3]).varint(), Err(RecordFault::Cut));
        assert_eq!(SliceSource::new(&[]).varlong(), Err(RecordFault::Cut));
    }
}
