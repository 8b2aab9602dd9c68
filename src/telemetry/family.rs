//! The same metric once per combination of label values, all made at the start:
//! a request finds its counter by index, without a lock and without a hash.

use std::marker::PhantomData;

use super::label::LabelSet;

/// One metric `M` for every value of the label set `S`.
#[derive(Debug)]
pub struct Family<S, M> {
    metrics: Box<[M]>,
    labels: PhantomData<fn(S)>,
}

impl<S: LabelSet, M> Family<S, M> {
    /// The metric of one combination of label values.
    pub fn of(&self, labels: S) -> &M {
        self.metrics
            .get(labels.index())
            .expect("invariant: the index of a label set is below its count")
    }

    /// Every combination with its metric.
    pub(super) fn entries(&self) -> impl Iterator<Item = (S, &M)> {
        S::all().into_iter().map(|labels| (labels, self.of(labels)))
    }
}

impl<S: LabelSet, M: Default> Default for Family<S, M> {
    fn default() -> Self {
        Self {
            metrics: S::all().into_iter().map(|_| M::default()).collect(),
            labels: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Counter, Route, StatusClass, Verb};

    #[test]
    fn every_combination_has_a_metric_of_its_own() {
        let family: Family<(Route, Verb, StatusClass), Counter> = Family::default();
        for labels in <(Route, Verb, StatusClass)>::all() {
            family.of(labels).count();
        }
        assert!(family.entries().all(|(_, counter)| counter.value() == 1));
    }
}
