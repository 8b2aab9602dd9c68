//! What other nodes say about who leads, while no leader speaks to this one.

use std::cell::Cell;

/// The last word of that kind. Lives on the raft core.
#[derive(Debug, Default)]
pub(super) struct Hearsay {
    word: Cell<Option<Word>>,
    /// How often a leader has spoken itself.
    spoken_count: Cell<u64>,
}

/// Who leads, for a node whose own term is still the one in which it asked.
#[derive(Debug, Clone, Copy)]
struct Word {
    leader: u64,
    term: u64,
}

/// A question that is out, and what was known when it was asked.
#[derive(Debug)]
pub(super) struct Asked {
    term: u64,
    spoken_count: u64,
}

impl Hearsay {
    /// Notes that a leader speaks to this node: what others say counts no more.
    pub(super) fn hear_leader(&self) {
        self.spoken_count.set(self.spoken_count.get() + 1);
        self.word.set(None);
    }

    /// Notes that this node, in `term`, asks another one.
    pub(super) const fn ask(&self, term: u64) -> Asked {
        Asked {
            term,
            spoken_count: self.spoken_count.get(),
        }
    }

    /// Takes an answer in, unless a leader has spoken while it was on its way.
    pub(super) fn take(&self, asked: &Asked, leader: Option<u64>) {
        if asked.spoken_count == self.spoken_count.get() {
            let term = asked.term;
            self.word.set(leader.map(|leader| Word { leader, term }));
        }
    }

    /// Who leads, for this node in `term`: one that has led meanwhile, or has voted, is in
    /// another one.
    pub(super) fn leader(&self, term: u64) -> Option<u64> {
        let word = self.word.get().filter(|word| word.term == term);
        word.map(|word| word.leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_counts_until_a_leader_speaks_or_the_term_is_over() {
        let hearsay = Hearsay::default();
        let asked = hearsay.ask(4);
        hearsay.take(&asked, Some(2));
        assert_eq!(hearsay.leader(4), Some(2));
        // It voted, or led itself.
        assert_eq!(hearsay.leader(5), None);
        hearsay.take(&hearsay.ask(4), None);
        assert_eq!(hearsay.leader(4), None);
        hearsay.take(&hearsay.ask(4), Some(3));
        hearsay.hear_leader();
        assert_eq!(hearsay.leader(4), None);
    }

    #[test]
    fn an_answer_is_too_late_when_a_leader_spoke_meanwhile_or_the_term_ended() {
        let hearsay = Hearsay::default();
        let asked = hearsay.ask(4);
        hearsay.hear_leader();
        hearsay.take(&asked, Some(2));
        assert_eq!(hearsay.leader(4), None);
        let asked = hearsay.ask(4);
        // Elected while the question was out, and deposed again.
        hearsay.take(&asked, Some(2));
        assert_eq!(hearsay.leader(6), None);
    }
}
