//! Whose step is the earliest, of all places at which one may be next.

use super::queue::NEVER;

/// When a step starts, and at which place.
type Next = (u64, u32);

/// How many play at once: a round is no longer than a cache line.
const WIDTH: usize = 4;

/// A round of the tournament: each of those who play has won one before, or is a place.
#[derive(Debug, Clone, Copy)]
struct Round {
    starts: [u64; WIDTH],
    places: [u32; WIDTH],
}

impl Round {
    /// At none of its places anything is next.
    const IDLE: Self = Self { starts: [NEVER; WIDTH], places: [0; WIDTH] };

    /// The earliest; of several at the same time the first.
    #[inline]
    fn first(&self) -> Next {
        let [a, b, c, d] = self.starts;
        let (left, l) = if b < a { (b, 1) } else { (a, 0) };
        let (right, r) = if d < c { (d, 3) } else { (c, 2) };
        let (start, nth) = if right < left { (right, r) } else { (left, l) };
        (start, self.places[nth])
    }
}

/// A tree of rounds. The first is the final, and whoever wins round `n` plays in round `(n - 1) / 4`.
#[derive(Debug)]
pub(super) struct Tournament {
    rounds: Vec<Round>,
    /// The first of the rounds in which places play.
    leaves: usize,
    /// Who wins the final.
    first: Next,
}

impl Default for Tournament {
    fn default() -> Self {
        Self { rounds: Vec::new(), leaves: 0, first: (NEVER, 0) }
    }
}

impl Tournament {
    /// Makes room for so many places; at those that are new nothing is next.
    pub fn grow(&mut self, places: usize) {
        let rounds = places.div_ceil(WIDTH);
        if rounds <= self.rounds.len() - self.leaves {
            return;
        }
        let known = self.rounds.split_off(self.leaves);
        let of_places = rounds.next_power_of_two();
        self.leaves = 0;
        let mut wide = 1;
        while wide < of_places {
            self.leaves += wide;
            wide *= WIDTH;
        }
        self.rounds.clear();
        self.rounds.resize(self.leaves + of_places, Round::IDLE);
        for (place, start) in known.into_iter().flat_map(|round| round.starts).enumerate() {
            self.seat(place, start);
        }
    }

    /// The next step at a place starts then; `NEVER`: there is none.
    #[inline]
    pub fn seat(&mut self, place: usize, start: u64) {
        let mut next = (start, place as u32);
        let (mut round, mut entry) = (self.leaves + place / WIDTH, place % WIDTH);
        loop {
            let Some(players) = self.rounds.get_mut(round) else { unreachable!("room has been made for it") };
            (players.starts[entry], players.places[entry]) = next;
            // Places are in order: the lowest number of several at the same time.
            next = players.first();
            if round == 0 {
                break;
            }
            (round, entry) = ((round - 1) / WIDTH, (round - 1) % WIDTH);
            let played = &self.rounds[round];
            if (played.starts[entry], played.places[entry]) == next {
                // Nothing is different further up.
                return;
            }
        }
        self.first = next;
    }

    /// The earliest step of all, if there is one: the place and when.
    #[inline]
    pub fn first(&self) -> Option<(usize, u64)> {
        let (start, place) = self.first;
        (start != NEVER).then_some((place as usize, start))
    }

    /// Nothing is next anywhere.
    pub fn clear(&mut self) {
        self.rounds.fill(Round::IDLE);
        self.first = (NEVER, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_the_earliest_and_of_those_the_lowest(
            words in prop::collection::vec((0usize..70, prop::option::weighted(0.8, 0u64..9), any::<bool>()), 1..60),
        ) {
            let (mut tournament, mut starts) = (Tournament::default(), Vec::<u64>::new());
            for (place, start, over) in words {
                if place >= starts.len() {
                    starts.resize(place + 1, NEVER);
                    tournament.grow(starts.len());
                }
                if over && place % 7 == 0 {
                    starts.fill(NEVER);
                    tournament.clear();
                }
                starts[place] = start.unwrap_or(NEVER);
                tournament.seat(place, starts[place]);
                let first = starts.iter().copied().enumerate().filter(|&(_, start)| start != NEVER);
                assert_eq!(tournament.first(), first.min_by_key(|&(place, start)| (start, place)));
            }
        }
    }
}
