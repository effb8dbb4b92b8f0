//! The loops over one block of a reduction.

use super::element::Element;
use super::operation::{Number, Operation};
use crate::simd::kernel;

kernel! {
    pub(super) fn to_words<'a; T: Element>(values: &'a [T], words: &'a mut [T::Word]) {
        for (word, value) in words.iter_mut().zip(values) {
            *word = value.to_word();
        }
    }

    pub(super) fn from_words<'a; T: Element>(words: &'a [T::Word], values: &'a mut [T]) {
        for (value, word) in values.iter_mut().zip(words) {
            *value = T::from_word(*word);
        }
    }

    pub(super) fn widen<'a; T: Element>(values: &'a [T], totals: &'a mut [T::Wide]) {
        for (total, value) in totals.iter_mut().zip(values) {
            *total = value.widen();
        }
    }

    pub(super) fn widen_words<'a; T: Element>(words: &'a [T::Word], totals: &'a mut [T::Wide]) {
        for (total, word) in totals.iter_mut().zip(words) {
            *total = T::from_word(*word).widen();
        }
    }

    pub(super) fn fold<'a; T: Element, O: Operation>(op: O, values: &'a [T], totals: &'a mut [T::Wide]) {
        for (total, value) in totals.iter_mut().zip(values) {
            *total = op.apply(*total, value.widen());
        }
    }

    pub(super) fn fold_words<'a; T: Element, O: Operation>(
        op: O,
        words: &'a [T::Word],
        totals: &'a mut [T::Wide],
    ) {
        for (total, word) in totals.iter_mut().zip(words) {
            *total = op.apply(*total, T::from_word(*word).widen());
        }
    }

    pub(super) fn narrow<'a; T: Element>(totals: &'a [T::Wide], divisor: Option<usize>, values: &'a mut [T]) {
        let pairs = values.iter_mut().zip(totals);
        match divisor.map(T::Wide::of_count) {
            None => {
                for (value, total) in pairs {
                    *value = T::narrow(*total);
                }
            }
            Some(divisor) => {
                for (value, total) in pairs {
                    *value = T::narrow(total.divided(divisor));
                }
            }
        }
    }

    /// Two operands, one of them in place: a single pass.
    pub(super) fn merge<'a; T: Element, O: Operation>(
        op: O,
        others: &'a [T],
        divisor: Option<usize>,
        values: &'a mut [T],
    ) {
        merge_all(op, others.iter().copied(), divisor, values);
    }

    /// The same with the other operand as it came.
    pub(super) fn merge_words<'a; T: Element, O: Operation>(
        op: O,
        words: &'a [T::Word],
        divisor: Option<usize>,
        values: &'a mut [T],
    ) {
        merge_all(op, words.iter().map(|word| T::from_word(*word)), divisor, values);
    }
}

#[inline(always)]
fn merge_all<T: Element, O: Operation>(
    op: O,
    others: impl Iterator<Item = T>,
    divisor: Option<usize>,
    values: &mut [T],
) {
    let pairs = values.iter_mut().zip(others);
    match divisor.map(T::Wide::of_count) {
        None => {
            for (value, other) in pairs {
                *value = T::narrow(op.apply(value.widen(), other.widen()));
            }
        }
        Some(divisor) => {
            for (value, other) in pairs {
                *value = T::narrow(op.apply(value.widen(), other.widen()).divided(divisor));
            }
        }
    }
}
