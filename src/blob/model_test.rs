//! Generated clients against a naive model of a session: the vector of the bytes
//! that were acknowledged, through hang-ups, restarts and kills.

use proptest::prelude::*;

use super::fixture::{Home, checksums, content, file, repository, send};
use super::{Store, Upload, UploadId};
use crate::oci::{Algorithm, Digest};
use crate::runtime::run_alone;

/// One request of the client, or one fate of the node.
#[derive(Debug, Clone)]
enum Step {
    /// A PATCH of so many bytes in pieces of so many.
    Patch(usize, usize),
    /// A PATCH that is dropped in the middle.
    HangUp(usize),
    /// The process is killed and started again.
    Restart,
    /// A PUT with so many bytes; the process is killed between seal and commit.
    KilledSeal(usize, Algorithm),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        0_usize..10,
        4090_usize..4100,
        0_usize..40_000,
        0_usize..1_300_000
    ];
    let piece = prop_oneof![1000_usize..5000, Just(65_536), Just(usize::MAX)];
    prop_oneof![
        5 => (bytes.clone(), piece).prop_map(|(bytes, piece)| Step::Patch(bytes, piece)),
        2 => bytes.clone().prop_map(Step::HangUp),
        1 => Just(Step::Restart),
        1 => (bytes, algorithm()).prop_map(|(bytes, how)| Step::KilledSeal(bytes, how)),
    ]
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![Just(Algorithm::Sha256), Just(Algorithm::Sha512)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]
    #[test]
    fn an_upload_is_the_concatenation_of_what_was_acknowledged(
        steps in prop::collection::vec((step(), 0_usize..2), 1..9),
        announced in prop::option::of(algorithm()),
        declared in algorithm(),
    ) {
        run_alone(move || async move {
            let mut node = Node::new(announced);
            for (step, shard) in steps {
                node.step(step, shard).await;
                let held_bytes = node.stores[shard].held(&repository(), &node.id).await;
                assert_eq!(held_bytes.unwrap(), node.acknowledged.len() as u64);
            }
            node.finish(declared).await;
        });
    }
}

struct Node {
    home: Home,
    stores: Vec<Store>,
    id: UploadId,
    acknowledged: Vec<u8>,
}

impl Node {
    fn new(announced: Option<Algorithm>) -> Self {
        let home = Home::new();
        let (stores, _) = home.start();
        let id = stores[0].begin(&repository(), announced).unwrap();
        Self {
            home,
            stores,
            id,
            acknowledged: Vec::new(),
        }
    }

    async fn resume(&self, shard: usize) -> Upload {
        let upload = self.stores[shard].resume(&repository(), &self.id).await;
        let upload = upload.unwrap();
        assert_eq!(upload.held_bytes(), self.acknowledged.len() as u64);
        upload
    }

    async fn step(&mut self, step: Step, shard: usize) {
        match step {
            Step::Patch(bytes, piece) => {
                let mut upload = self.resume(shard).await;
                let held = self.acknowledged.len();
                let body = content(held + bytes).split_off(held);
                send(&mut upload, &body, piece).await.unwrap();
                self.acknowledged.extend_from_slice(&body);
                let held_bytes = upload.suspend().await.unwrap();
                assert_eq!(held_bytes, self.acknowledged.len() as u64);
            }
            Step::HangUp(bytes) => {
                let mut upload = self.resume(shard).await;
                let lost = vec![0xab; bytes];
                send(&mut upload, &lost, usize::MAX).await.unwrap();
            }
            Step::Restart => self.restart().await,
            Step::KilledSeal(bytes, algorithm) => {
                let mut upload = self.resume(shard).await;
                let last = vec![0xcd; bytes];
                send(&mut upload, &last, usize::MAX).await.unwrap();
                let whole = [self.acknowledged.as_slice(), &last].concat();
                let digest = Digest::of(algorithm, &whole);
                let sealed = upload.seal(&digest, 1).await.unwrap();
                // As in a kill, whoever would clean up is gone first.
                self.stores.clear();
                drop(sealed);
                self.restart().await;
            }
        }
    }

    async fn restart(&mut self) {
        self.stores.clear();
        self.home.settle().await;
        self.stores = self.home.start().0;
    }

    async fn finish(mut self, declared: Algorithm) {
        let digest = Digest::of(declared, &self.acknowledged);
        let upload = self.resume(1).await;
        let sealed = upload.seal(&digest, 5).await.unwrap();
        assert_eq!(sealed.size_bytes, self.acknowledged.len() as u64);
        assert_eq!(sealed.extent_checksums, checksums(&self.acknowledged));
        if let Some(inline) = &sealed.inline {
            assert!(*inline == self.acknowledged);
        } else {
            assert!(file(&self.home.blob(&digest, 5)) == self.acknowledged);
            self.home.live.insert((digest, 5));
        }
        sealed.commit().await;
        assert_eq!(self.home.session_files(), [""; 0]);
        self.restart().await;
        let (_, recovery) = self.home.open();
        assert_eq!((recovery.sessions, recovery.leftovers), (0, 0));
        assert_eq!(recovery.blobs, self.home.live.len() as u64);
    }
}
