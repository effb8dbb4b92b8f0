//! The Mersenne Twister as Python's `random` draws from it, for workloads whose authors publish a seed.
//!
//! Source: Matsumoto and Nishimura, "Mersenne twister: a 623-dimensionally equidistributed uniform pseudo-random number
//! generator", 1998, with the seeding by array of 2002.

const WORDS: usize = 624;
const MIDDLE: usize = 397;

#[derive(Debug, Clone)]
pub(super) struct Mersenne {
    words: [u32; WORDS],
    next: usize,
}

impl Mersenne {
    /// As `random.Random(seed)`.
    pub(super) fn new(seed: u64) -> Mersenne {
        let halves = [low_word(seed), low_word(seed >> 32)];
        let key = if halves[1] == 0 { &halves[..1] } else { &halves[..] };
        let mut words = [0u32; WORDS];
        words[0] = 19_650_218;
        for at in 1..WORDS {
            words[at] = mixed(words[at - 1], 1_812_433_253).wrapping_add(low_word(at as u64));
        }
        let mut at = 1;
        for step in 0..WORDS.max(key.len()) {
            let from_key = key[step % key.len()].wrapping_add(low_word((step % key.len()) as u64));
            words[at] = (words[at] ^ mixed(words[at - 1], 1_664_525)).wrapping_add(from_key);
            at = advance(&mut words, at);
        }
        for _ in 1..WORDS {
            words[at] = (words[at] ^ mixed(words[at - 1], 1_566_083_941)).wrapping_sub(low_word(at as u64));
            at = advance(&mut words, at);
        }
        words[0] = 1 << 31;
        Mersenne { words, next: WORDS }
    }

    /// As `random()`: uniform in [0, 1), 53 bits.
    pub(super) fn uniform(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * f64::from(1u32 << 26) + f64::from(low)) / (1u64 << 53) as f64
    }

    /// As `randrange(bound)`, for a bound of at least one.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let unused = bound.leading_zeros();
        loop {
            let draw = self.word() >> unused;
            if draw < bound {
                return draw;
            }
        }
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            self.twist();
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9d2c_5680;
        word ^= word << 15 & 0xefc6_0000;
        word ^ word >> 18
    }

    fn twist(&mut self) {
        for at in 0..WORDS {
            let joined = self.words[at] & 1 << 31 | self.words[(at + 1) % WORDS] & !(1 << 31);
            let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[at] = self.words[(at + MIDDLE) % WORDS] ^ joined >> 1 ^ odd;
        }
        self.next = 0;
    }
}

fn mixed(word: u32, factor: u32) -> u32 {
    (word ^ word >> 30).wrapping_mul(factor)
}

/// The place after `at`; the last word is carried to the front.
fn advance(words: &mut [u32; WORDS], at: usize) -> usize {
    if at + 1 < WORDS {
        return at + 1;
    }
    words[0] = words[WORDS - 1];
    1
}

fn low_word(number: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
    let word = number as u32;
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_those_of_python() {
        let mut draws = Mersenne::new(0);
        assert_eq!((draws.uniform(), draws.uniform()), (0.844_421_851_525_048_1, 0.757_954_402_940_302_5));
        let mut draws = Mersenne::new(5_000_000_000);
        assert_eq!(draws.uniform(), 0.08666010167354754);
        let mut draws = Mersenne::new(2);
        assert_eq!(draws.uniform(), 0.9560342718892494);
        assert_eq!([26; 5].map(|bound| draws.below(bound)), [1, 2, 2, 11, 5]);
    }
}
