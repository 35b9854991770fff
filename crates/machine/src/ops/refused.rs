//! Why a page could not be taken: kept at the test that refused it, for whoever asks why a call failed.

use super::floor::Refs;
use crate::drive::{Driver, Step};
use crate::machine::{Frame, Hindrance, Test};

/// Of all pages that one attempt could not take, the one that counts.
#[derive(Debug, Default)]
pub struct Refused(Option<(Step, Hindrance)>);

impl Refused {
    /// Takes over what another attempt met, if this one has met nothing.
    pub(super) fn or(&mut self, other: Self) {
        let worse = other.0.as_ref().is_some_and(|(_, by)| by.obstacle.is_permanent());
        if self.0.is_none() || worse && !self.is_final() {
            *self = other;
        }
    }

    fn is_final(&self) -> bool {
        self.0.as_ref().is_some_and(|(_, by)| by.obstacle.is_permanent())
    }
}

impl<D: Driver> Refs<'_, D> {
    /// A page failed `test` at a step; `own` is how many references on it are ours. The
    /// first of an attempt counts, unless a later one is permanent.
    #[cold]
    pub(super) fn refused(&self, refused: &mut Refused, at: Step, frame: Frame, test: Test, own: i32) {
        let permanent = test == Test::Target || self.m.permanent_obstacle(frame).is_some();
        if refused.0.is_none() || permanent && !refused.is_final() {
            refused.0 = Some((at, self.m.hindrance(frame, test, self.d.id(), own)));
        }
    }

    /// The attempt is over: what it met is what the call is hindered by.
    pub(super) fn hindered(&self, refused: Refused) {
        if let Some((at, by)) = refused.0 {
            self.d.hindered(at, by);
        }
    }
}
