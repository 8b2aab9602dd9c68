//! What machines that are to form a cluster ask each other, and members, in the open.
//!
//! ```text
//! question                               answer
//! 0   [4]  "WLGQ"                        0    [4]  "WLGA"
//! 4   u8   version, 1                    4    u8   version, 1
//! 5   [32] nonce                         5    u8   standing (0 waits, 1 would begin, 2 member)
//! 37  [32] seal                          6    [16] machine, of one that waits
//!                                        22   [32] plan, of one that waits
//!                                        54   [16] cluster, of a member
//!                                        70   [32] fingerprint, of a member
//!                                        102  [32] seal
//!
//! seal of a question   HMAC-SHA256(key, QUESTION_DOMAIN | nonce)
//! seal of an answer    HMAC-SHA256(key, ANSWER_DOMAIN | nonce | answer up to its seal)
//! ```
//! What does not apply is zero. An answer holds for its question only; it says nothing
//! that would have to be kept secret.

use super::certificate::Fingerprint;
use super::identity::ClusterId;
use super::join_secret::{JoinSecret, SEAL_BYTES, Seal};
use crate::base::{Reader, Writer};

const QUESTION_MAGIC: [u8; 4] = *b"WLGQ";
const ANSWER_MAGIC: [u8; 4] = *b"WLGA";
const GATHER_VERSION: u8 = 1;
const QUESTION_DOMAIN: &[u8] = b"windlass gather question 1\0";
const ANSWER_DOMAIN: &[u8] = b"windlass gather answer 1\0";
/// Length of a question.
pub(super) const QUESTION_BYTES: usize = 69;
/// Length of an answer.
pub(super) const ANSWER_BYTES: usize = 134;

/// How far the machine is that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is empty, and waits for a cluster.
    Waits {
        /// Names it.
        machine: [u8; 16],
        /// Stands for the nodes that it waits for.
        plan: [u8; 32],
        /// Whether it would begin the cluster.
        is_founder: bool,
    },
    /// It belongs to a cluster.
    Member {
        /// Which one.
        cluster: ClusterId,
        /// How whoever joins knows it.
        authority: Fingerprint,
    },
}

/// A question with this nonce.
pub(super) fn encode_question(secret: &JoinSecret, nonce: &Seal) -> Vec<u8> {
    let mut writer = Writer::with_capacity(QUESTION_BYTES);
    writer.raw(&QUESTION_MAGIC).u8(GATHER_VERSION).raw(nonce);
    writer.raw(&secret.seal(QUESTION_DOMAIN, &[nonce]));
    writer.finish()
}

/// The nonce of a question; `None` when it is none, or of somebody else.
pub(super) fn decode_question(secret: &JoinSecret, message: &[u8; QUESTION_BYTES]) -> Option<Seal> {
    let mut reader = Reader::new(message);
    let is_right = reader.array() == Ok(QUESTION_MAGIC) && reader.u8() == Ok(GATHER_VERSION);
    let nonce: Seal = reader.array().ok()?;
    let seal = reader.array().ok()?;
    let is_sealed = secret.is_sealed(QUESTION_DOMAIN, &[&nonce], &seal);
    (is_right && is_sealed).then_some(nonce)
}

impl Standing {
    const fn code(&self) -> u8 {
        match self {
            Self::Waits {
                is_founder: false, ..
            } => 0,
            Self::Waits {
                is_founder: true, ..
            } => 1,
            Self::Member { .. } => 2,
        }
    }

    /// The answer to the question with this nonce.
    pub(super) fn encode(&self, secret: &JoinSecret, nonce: &Seal) -> Vec<u8> {
        let (machine, plan, cluster, authority) = match self {
            Self::Waits { machine, plan, .. } => (*machine, *plan, [0; 16], [0; 32]),
            Self::Member { cluster, authority } => {
                ([0; 16], [0; 32], *cluster.as_bytes(), *authority.as_bytes())
            }
        };
        let mut writer = Writer::with_capacity(ANSWER_BYTES);
        writer.raw(&ANSWER_MAGIC).u8(GATHER_VERSION).u8(self.code());
        writer.raw(&machine).raw(&plan);
        writer.raw(&cluster).raw(&authority);
        let mut message = writer.finish();
        let seal = secret.seal(ANSWER_DOMAIN, &[nonce, &message]);
        message.extend(seal);
        message
    }

    /// Reads the answer; `None` when it is none, or not to this question.
    pub(super) fn decode(
        secret: &JoinSecret,
        nonce: &Seal,
        message: &[u8; ANSWER_BYTES],
    ) -> Option<Self> {
        let (said, seal) = message.split_at(ANSWER_BYTES - SEAL_BYTES);
        let seal = seal.try_into().ok()?;
        if !secret.is_sealed(ANSWER_DOMAIN, &[nonce, said], seal) {
            return None;
        }
        let mut reader = Reader::new(said);
        if reader.array() != Ok(ANSWER_MAGIC) || reader.u8() != Ok(GATHER_VERSION) {
            return None;
        }
        let code = reader.u8().ok()?;
        let (machine, plan) = (reader.array().ok()?, reader.array().ok()?);
        let (cluster, authority) = (reader.array().ok()?, reader.array().ok()?);
        match code {
            0 | 1 => Some(Self::Waits {
                machine,
                plan,
                is_founder: code == 1,
            }),
            2 => Some(Self::Member {
                cluster: ClusterId::of_bytes(cluster),
                authority: Fingerprint::of_bytes(authority),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> JoinSecret {
        JoinSecret::new("registry", b"0123456789abcdef").unwrap()
    }

    fn standings() -> [Standing; 3] {
        let waits = |is_founder| Standing::Waits {
            machine: [1; 16],
            plan: [2; 32],
            is_founder,
        };
        let member = Standing::Member {
            cluster: ClusterId::parse(&"c".repeat(32)).unwrap(),
            authority: Fingerprint::of(b"authority"),
        };
        [waits(false), waits(true), member]
    }

    #[test]
    fn messages_read_back_and_a_flipped_bit_anywhere_does_not() {
        let question: [u8; QUESTION_BYTES] =
            encode_question(&secret(), &[9; 32]).try_into().unwrap();
        assert_eq!(decode_question(&secret(), &question), Some([9; 32]));
        for place in 0..question.len() {
            let mut flipped = question;
            flipped[place] ^= 1;
            assert_eq!(decode_question(&secret(), &flipped), None, "{place}");
        }
        for standing in standings() {
            let answer: [u8; ANSWER_BYTES] =
                standing.encode(&secret(), &[9; 32]).try_into().unwrap();
            let read = Standing::decode(&secret(), &[9; 32], &answer);
            assert_eq!(read, Some(standing));
            assert_eq!(Standing::decode(&secret(), &[8; 32], &answer), None);
            for place in 0..answer.len() {
                let mut flipped = answer;
                flipped[place] ^= 1;
                assert_eq!(Standing::decode(&secret(), &[9; 32], &flipped), None);
            }
        }
    }
}
