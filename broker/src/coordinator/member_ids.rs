//! New member ids: a prefix that people recognise and a random UUID (RFC 9562, version 4).

use wire::kafka::Str;

/// A seeded source of member ids. Two sources with different seeds do not meet.
#[derive(Debug)]
pub(super) struct MemberIds {
    state: [u64; 2],
}

impl MemberIds {
    /// Seeds should come from the system's randomness; tests give fixed ones.
    pub(super) fn new(seed: [u64; 2]) -> Self {
        Self { state: seed }
    }

    /// `prefix-uuid`, where the prefix is the client's id, or the instance id of a static member.
    pub(super) fn next(&mut self, prefix: &str) -> Str {
        let high = (split_mix(&mut self.state[0]) & !0xf000) | 0x4000;
        let low = (split_mix(&mut self.state[1]) & !(0b11 << 62)) | 0b10 << 62;
        let (first, second, third) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
        let (fourth, fifth) = (low >> 48, low & 0xffff_ffff_ffff);
        Str::from(format!("{prefix}-{first:08x}-{second:04x}-{third:04x}-{fourth:04x}-{fifth:012x}"))
    }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_a_random_uuid_and_do_not_repeat() {
        let mut ids = MemberIds::new([1, 2]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let id = ids.next("client");
            let uuid = id.strip_prefix("client-").unwrap().to_owned();
            assert_eq!(uuid.len(), 36);
            assert_eq!(uuid.as_bytes()[14], b'4');
            assert!(matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
            assert!(seen.insert(uuid));
        }
    }
}
