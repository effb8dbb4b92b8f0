//! Whether an image of machine code is whole: the driver takes no length and trusts what the image says of itself.

/// Why an image is not given to the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("it is no ELF file of 64 bits")]
    NotElf,
    #[error("its table of {table} is not inside its {len} bytes")]
    Table { table: &'static str, len: usize },
    #[error("its section {section} is not inside its {len} bytes")]
    Section { section: usize, len: usize },
}

/// # Errors
/// If the tables or the content of a section reach beyond the image.
pub(super) fn check(image: &[u8]) -> Result<(), Damage> {
    let header = image.first_chunk::<HEADER_BYTES>().filter(|header| header.starts_with(MAGIC));
    let header = header.ok_or(Damage::NotElf)?;
    let len = image.len();
    let table = |name, offset_at, entry_at, entry_bytes: usize| {
        let (offset, count) = (long(header, offset_at), u64::from(short(header, entry_at + 2)));
        // An empty table lies nowhere.
        let is_fit = count == 0 || usize::from(short(header, entry_at)) == entry_bytes;
        let entries =
            if count == 0 { Some(&[][..]) } else { range(image, offset, count * entry_bytes as u64) };
        entries.filter(|_| is_fit).ok_or(Damage::Table { table: name, len })
    };
    table("segments", 32, 54, SEGMENT_BYTES)?;
    let sections = table("sections", 40, 58, SECTION_BYTES)?;
    if sections.is_empty() {
        return Err(Damage::Table { table: "sections", len });
    }
    for (index, section) in sections.as_chunks::<SECTION_BYTES>().0.iter().enumerate() {
        let is_in_file = section[4..8] != WITHOUT_BYTES.to_le_bytes();
        if is_in_file && range(image, long(section, 24), long(section, 32)).is_none() {
            return Err(Damage::Section { section: index, len });
        }
    }
    Ok(())
}

fn range(image: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    image.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}

fn short(bytes: &[u8; 64], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8; 64], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(long)
}

/// ELF, 64 bits, little endian.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
const SECTION_BYTES: usize = 64;
/// `SHT_NOBITS`: of a section that takes memory, but nothing of the file.
const WITHOUT_BYTES: u32 = 8;

/// Header, sixteen bytes of content, and sections: the null one, that of the content, one without bytes.
#[cfg(test)]
pub(super) fn whole() -> Vec<u8> {
    let mut image = vec![0; 64 + 16 + 3 * SECTION_BYTES];
    image[..6].copy_from_slice(MAGIC);
    (image[40], image[58], image[60]) = (80, 64, 3);
    let content = 80 + SECTION_BYTES;
    (image[content + 4], image[content + 24], image[content + 32]) = (1, 64, 16);
    let without = content + SECTION_BYTES;
    (image[without + 4], image[without + 33]) = (8, 255);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_cut_anywhere_is_damaged() {
        let image = whole();
        assert_eq!(check(&image), Ok(()));
        for len in 0..image.len() {
            let expected = match len {
                0..64 => Damage::NotElf,
                _ => Damage::Table { table: "sections", len },
            };
            assert_eq!(check(&image[..len]), Err(expected), "{len} bytes");
        }
    }

    #[test]
    fn garbage_is_damaged() {
        assert_eq!(check(&[0xA5; 4096]), Err(Damage::NotElf));
        let mut garbage = [0xFF; 4096];
        garbage[..6].copy_from_slice(MAGIC);
        assert_eq!(check(&garbage), Err(Damage::Table { table: "segments", len: 4096 }));
    }

    #[test]
    fn each_extent_must_lie_inside() {
        let damaged = |at: usize, value: u8| {
            let mut image = whole();
            image[at] = value;
            check(&image)
        };
        let len = whole().len();
        // Where the content begins and how long it is, one byte too much and beyond all numbers.
        for (at, value) in [(32, 210), (25, 1), (31, 0xFF), (39, 0xFF)] {
            assert_eq!(damaged(80 + 64 + at, value), Err(Damage::Section { section: 1, len }), "{at}");
        }
        for (at, value) in [(40, 81), (47, 0xFF), (58, 63), (60, 4), (60, 0)] {
            assert_eq!(damaged(at, value), Err(Damage::Table { table: "sections", len }), "{at}");
        }
        for (at, value) in [(56, 1), (57, 1)] {
            assert_eq!(damaged(at, value), Err(Damage::Table { table: "segments", len }), "{at}");
        }
    }
}
