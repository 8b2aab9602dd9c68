//! What the further sources of a blob bring ahead of its turn, while it is fetched.

use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::ahead::{Extent, Wanted, fly};
use super::attempt::Urgency;
use super::fetch::FetchError;
use super::sources::Sources;
use crate::base::limits::EXTENT_BYTES;
use crate::base::units::to_u64;

/// Extents that come ahead of their turn.
pub(super) struct Flight {
    first: u64,
    count: u64,
    began: Instant,
    work: Pin<Box<dyn Future<Output = Result<Vec<Extent>, FetchError>>>>,
}

impl Sources<'_> {
    /// Asks idle sources for what comes later, as far as there is memory for it.
    pub(super) fn begin_ahead(&mut self) {
        if !self.may_help() {
            return;
        }
        while let Some((source, extents)) = self.ranges.next_ahead() {
            let wanted = extents.end - extents.start;
            let (first, mut room) = (extents.start, Vec::new());
            for number in extents {
                let Some(extent) = Extent::try_new(self.worker, self.extent_bytes(number)) else {
                    break;
                };
                room.push(extent);
            }
            let count = to_u64(room.len());
            self.ranges.shorten(source, count);
            if count > 0 {
                let flight = self.flight(source, first..first + count, room);
                if let Some(place) = self.flights.get_mut(source) {
                    *place = Some(flight);
                }
            }
            if count < wanted {
                return;
            }
        }
    }

    fn flight(&self, source: usize, extents: Range<u64>, room: Vec<Extent>) -> Flight {
        let count = extents.end - extents.start;
        let wanted = Wanted {
            request: self.request(&extents),
            size_bytes: self.order.expected.size_bytes,
            answer_limit: self.answer_limit(source),
            limit: self.ranges.patience_ahead(source, count),
        };
        let flying = fly(
            Rc::clone(self.worker),
            self.node(source).clone(),
            wanted,
            room,
        );
        Flight {
            first: extents.start,
            count,
            began: self.now(),
            work: Box::pin(flying),
        }
    }

    /// Whether this fetch may take memory and sources for what comes later: those that
    /// somebody waits for first.
    fn may_help(&self) -> bool {
        let is_urgent = self.order.urgency == Urgency::OnDemand || self.order.feed.is_heard();
        self.nodes.len() > 1 && (is_urgent || self.worker.urgent.get() == 0)
    }

    /// Lets every flight go on; says whether one has ended. What may follow begins.
    pub(super) fn poll_flights(&mut self, context: &mut Context<'_>) -> bool {
        let mut has_ended = false;
        loop {
            let mut ended = None;
            for (source, place) in self.flights.iter_mut().enumerate() {
                if let Some(flight) = place
                    && let Poll::Ready(landed) = flight.work.as_mut().poll(context)
                {
                    ended = place.take().map(|flight| (source, flight, landed));
                    break;
                }
            }
            let Some((source, flight, landed)) = ended else {
                return has_ended;
            };
            has_ended = true;
            self.land(source, &flight, landed);
            self.begin_ahead();
        }
    }

    fn land(&mut self, source: usize, flight: &Flight, landed: Result<Vec<Extent>, FetchError>) {
        match landed {
            Ok(extents) => {
                let took = self.now() - flight.began;
                self.ranges.landed(source);
                self.ranges
                    .measured(source, flight.count * u64::from(EXTENT_BYTES), took);
                for (number, extent) in (flight.first..).zip(extents) {
                    self.held.insert(number, (source, extent));
                }
            }
            Err(error) => {
                // The last source that is left is asked once more, at the head.
                if self.fail(source, error).is_err() {
                    self.ranges.outdone(source);
                }
            }
        }
    }
}
