//! A queue whose first is the least.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The least is at hand, the others in a heap: a queue of one, as most run queues are, has no
/// memory of its own.
#[derive(Debug)]
pub(super) struct Least<T: Ord> {
    first: Option<T>,
    rest: BinaryHeap<Reverse<T>>,
}

impl<T: Ord> Default for Least<T> {
    fn default() -> Self {
        Self { first: None, rest: BinaryHeap::new() }
    }
}

impl<T: Ord> Least<T> {
    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The least.
    pub fn peek(&self) -> Option<&T> {
        self.first.as_ref()
    }

    /// Puts one in.
    pub fn push(&mut self, one: T) {
        match &mut self.first {
            None => self.first = Some(one),
            Some(first) if one < *first => self.rest.push(Reverse(std::mem::replace(first, one))),
            Some(_) => self.rest.push(Reverse(one)),
        }
    }

    /// Takes the least out.
    pub fn pop(&mut self) -> Option<T> {
        let next = self.rest.pop().map(|Reverse(next)| next);
        std::mem::replace(&mut self.first, next)
    }

    /// Takes all out, and keeps the memory.
    pub fn clear(&mut self) {
        self.first = None;
        self.rest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_list(words in prop::collection::vec(prop::option::weighted(0.6, 0u8..20), 0..60)) {
            let (mut least, mut sorted) = (Least::default(), Vec::new());
            for word in words {
                match word {
                    Some(one) => {
                        least.push(one);
                        sorted.push(one);
                        sorted.sort_by(|a, b| b.cmp(a));
                    }
                    None => assert_eq!(least.pop(), sorted.pop()),
                }
                assert_eq!(least.peek(), sorted.last());
                assert_eq!(least.is_empty(), sorted.is_empty());
            }
            least.clear();
            assert_eq!(least.pop(), None);
        }
    }
}
