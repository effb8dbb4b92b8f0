//! Codes of 4 bits in bytes, and masks of one bit a weight.

/// Two codes a byte, the first in the low half; the last high half is 0 where their number is odd.
pub(crate) fn join_nibbles(codes: &[i8]) -> Vec<u8> {
    let low = |code: i8| code.cast_unsigned() & 0xf;
    codes.chunks(2).map(|pair| low(pair[0]) | pair.get(1).map_or(0, |code| low(*code) << 4)).collect()
}

/// The first `count` codes.
pub(crate) fn split_nibbles(bytes: &[u8], count: usize) -> Vec<i8> {
    let signed = |nibble: u8| (nibble << 4).cast_signed() >> 4;
    bytes.iter().flat_map(|byte| [signed(byte & 0xf), signed(byte >> 4)]).take(count).collect()
}

/// One bit for each, the first in the lowest of the first byte.
pub(crate) fn mask(bits: impl ExactSizeIterator<Item = bool>) -> Vec<u8> {
    let mut mask = vec![0; bits.len().div_ceil(8)];
    for (index, _) in bits.enumerate().filter(|(_, bit)| *bit) {
        mask[index / 8] |= 1 << (index % 8);
    }
    mask
}

/// Where a mask's bits are set.
pub(crate) fn positions(mask: &[u8]) -> impl Iterator<Item = usize> {
    let of_byte = |(index, byte): (usize, &u8)| {
        let byte = *byte;
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| index * 8 + bit)
    };
    mask.iter().enumerate().flat_map(of_byte)
}

/// Whether no bit is set beyond `elems`.
pub(crate) fn clear_positions(mask: &[u8], elems: usize) -> bool {
    elems.is_multiple_of(8) || mask.last().is_none_or(|last| last >> (elems % 8) == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_pairs_of_codes_come_back() {
        for low in -8..8 {
            for high in -8..8 {
                let bytes = join_nibbles(&[low, high]);
                assert_eq!(split_nibbles(&bytes, 2), [low, high]);
            }
        }
        assert_eq!(join_nibbles(&[-8, 7, -1]), [0x78, 0x0f]);
    }

    proptest! {
        #[test]
        fn codes_and_masks_of_any_length_come_back(codes in prop::collection::vec(-8i8..8, 0..70)) {
            let bytes = join_nibbles(&codes);
            prop_assert_eq!(bytes.len(), codes.len().div_ceil(2));
            prop_assert_eq!(split_nibbles(&bytes, codes.len()), codes.clone());
            let bits = mask(codes.iter().map(|code| *code != 0));
            prop_assert!(bits.len() == codes.len().div_ceil(8) && clear_positions(&bits, codes.len()));
            let set: Vec<usize> = (0..codes.len()).filter(|index| codes[*index] != 0).collect();
            prop_assert_eq!(positions(&bits).collect::<Vec<_>>(), set);
        }
    }

    #[test]
    fn bits_beyond_the_end_are_found() {
        assert!(clear_positions(&[0xff], 8) && clear_positions(&[], 0));
        assert!(!clear_positions(&[0x08], 3));
    }
}
