//! Deletes by digest under faults: what was acknowledged to be deleted is found at no
//! node any more that reaches a quorum.

use super::client::Run;
use crate::support::{Client, Cluster, MANIFEST_TYPE, Random, Request, digest_of, image};

/// Where images are pushed to be deleted.
const REPOSITORY: &str = "nemesis/gone";
/// A node whose network was healed reaches a quorum again within this, in microseconds.
const REACHED_MAX: u64 = 4_000_000;
/// Deletes that are asked about again: the last ones.
const ASKED_AGAIN: usize = 20;

/// An image whose delete was acknowledged; nobody pushes it again.
#[derive(Debug, Clone)]
pub(crate) struct Gone {
    /// Where its manifest and its blob were.
    targets: [String; 2],
    /// When the answer to the last delete came.
    at: u64,
}

impl Run {
    /// Pushes an image, deletes it by digest, and asks for it.
    pub(crate) fn push_and_delete(&self, client: &mut Client, random: &mut Random) {
        let number = self.next_number();
        let blob = random.bytes(20_000 + usize::try_from(number % 50).expect("small"));
        let digest = digest_of("sha256", &blob);
        let target = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
        let pushed = client.try_send(&Request::new("POST", target).body(&*blob));
        if self.outcome(pushed.as_ref().ok(), &[201]) != Some(201) {
            return;
        }
        let part = (digest.as_str(), blob.len());
        let manifest = image(part, &[part]).to_string();
        let place = digest_of("sha256", manifest.as_bytes());
        let targets = [
            format!("/v2/{REPOSITORY}/manifests/{place}"),
            format!("/v2/{REPOSITORY}/blobs/{digest}"),
        ];
        let request = Request::new("PUT", &targets[0])
            .header("Content-Type", MANIFEST_TYPE)
            .body(manifest);
        let put = client.try_send(&request).ok();
        if self.outcome(put.as_ref(), &[201]) != Some(201) {
            return;
        }
        // A node that serves it trusts what it has for a while.
        let mut reader = self.client(random);
        let read = reader.try_send(&Request::new("GET", &targets[0])).ok();
        self.outcome(read.as_ref(), &[200]);
        let mut deleter = self.client(random);
        for target in &targets {
            let deleted = deleter.try_send(&Request::new("DELETE", target)).ok();
            if self.outcome(deleted.as_ref(), &[202]) != Some(202) {
                return;
            }
        }
        let gone = Gone {
            targets,
            at: self.now(),
        };
        self.log().gone.push(gone.clone());
        self.ask(&mut reader, &gone, random);
    }

    /// Asks for something that was deleted.
    pub(crate) fn read_gone(&self, client: &mut Client, random: &mut Random) {
        let gone = {
            let log = self.log();
            let last = log.gone.len().clamp(1, ASKED_AGAIN);
            let index = log.gone.len().checked_sub(1 + random.below(last));
            index.map(|index| log.gone[index].clone())
        };
        if let Some(gone) = gone {
            self.ask(client, &gone, random);
        }
    }

    fn ask(&self, client: &mut Client, gone: &Gone, random: &mut Random) {
        let target = &gone.targets[random.below(2)];
        let method = ["GET", "HEAD"][random.below(2)];
        let start = self.now();
        let answer = client.try_send(&Request::new(method, target)).ok();
        let end = self.now();
        if self.outcome(answer.as_ref(), &[200, 404]) != Some(200) {
            return;
        }
        let mut log = self.log();
        let (at, address) = (gone.at, client.address());
        if log.outages.may_explain(address, (start, end), REACHED_MAX) {
            log.served_without_quorum += 1;
            return;
        }
        let line = format!("{method} {target}: 200 from {address} at {start}, deleted by {at}");
        log.wrong.push(line);
    }
}

/// Nothing whose delete was acknowledged is at any node.
pub(crate) fn check_gone(cluster: &Cluster, run: &Run) {
    let gone = run.log().gone.clone();
    for address in cluster.addresses() {
        let mut client = Client::new(address);
        for target in gone.iter().flat_map(|gone| &gone.targets) {
            client.send(&Request::new("GET", target)).expect(404);
        }
    }
}
