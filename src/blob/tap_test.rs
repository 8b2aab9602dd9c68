use super::*;

use std::cell::RefCell;
use std::rc::Rc;

use crate::blob::SealError;
use crate::blob::fixture::{Home, checksums, content, repository, send, sha256};
use crate::oci::{Algorithm, Digest};
use crate::runtime::{run_alone, spawn};

/// Where the inlets of a tap end up once it is opened.
type Inlets = Rc<RefCell<Vec<Inlet>>>;

fn tap(listeners: usize) -> (Tap, Inlets) {
    let inlets = Inlets::default();
    let opened = Rc::clone(&inlets);
    let open = move || {
        let ends = (0..listeners).map(|_| Outlet::new());
        let (outlets, inlets): (_, Vec<_>) = ends.unzip();
        opened.borrow_mut().extend(inlets);
        outlets
    };
    (Tap::new(open), inlets)
}

/// Hears everything: the bytes, and what they are said to be.
async fn listen(inlet: Inlet) -> (Vec<u8>, Option<Expected>, Inlet) {
    let mut all = Vec::new();
    loop {
        match inlet.next().await {
            Some(Heard::Bytes(bytes)) => all.extend_from_slice(&bytes),
            Some(Heard::End(expected)) => return (all, Some(expected), inlet),
            None => return (all, None, inlet),
        }
    }
}

#[test]
fn every_listener_hears_the_bytes_and_what_they_are() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        for bytes in [16 * 1024 + 1, 64 * 1024, 1_048_577, 3_000_000] {
            let content = content(bytes);
            let mut upload = stores[0].receive(&repository(), Algorithm::Sha256);
            let heard = Rc::new(RefCell::new(Vec::new()));
            let listening = Rc::clone(&heard);
            upload.tap(Tap::new(move || {
                let mut outlets = Vec::new();
                for node in [5, 6] {
                    let (outlet, inlet) = Outlet::new();
                    outlets.push(outlet);
                    listening.borrow_mut().push(spawn(async move {
                        let (all, expected, inlet) = listen(inlet).await;
                        inlet.tell_holder(node);
                        (all, expected)
                    }));
                }
                outlets
            }));
            send(&mut upload, &content, 50_000).await.unwrap();
            let sealed = upload.seal(&sha256(&content), 3).await.unwrap();
            let mut holders = Vec::new();
            for outlet in &sealed.outlets {
                holders.push(outlet.holder().await);
            }
            assert_eq!(holders, [Some(5), Some(6)]);
            let tasks = std::mem::take(&mut *heard.borrow_mut());
            for task in tasks {
                let (all, expected) = task.await.unwrap();
                let expected = expected.unwrap();
                assert!(all == content);
                assert_eq!((expected.digest, expected.generation), (sealed.digest, 3));
                assert_eq!(expected.size_bytes, to_u64(bytes));
                assert_eq!(*expected.extent_checksums, checksums(&content));
            }
            sealed.commit().await;
        }
        home.settle().await;
    });
}

#[test]
fn what_lives_inline_is_heard_by_nobody() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(16 * 1024);
        let mut upload = stores[0].receive(&repository(), Algorithm::Sha256);
        let (tap, inlets) = tap(1);
        upload.tap(tap);
        send(&mut upload, &content, usize::MAX).await.unwrap();
        let sealed = upload.seal(&sha256(&content), 1).await.unwrap();
        assert!(sealed.outlets.is_empty() && inlets.borrow().is_empty());
    });
}

#[test]
fn a_wrong_digest_and_a_dropped_upload_have_no_end() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(15 * 4096);
        for is_dropped in [true, false] {
            let mut upload = stores[0].receive(&repository(), Algorithm::Sha256);
            let (tap, inlets) = tap(1);
            upload.tap(tap);
            send(&mut upload, &content, usize::MAX).await.unwrap();
            upload.flush().await.unwrap();
            let inlet = inlets.borrow_mut().pop().unwrap();
            let hearing = spawn(listen(inlet));
            if is_dropped {
                drop(upload);
            } else {
                let wrong = Digest::of(Algorithm::Sha256, b"other");
                let error = upload.seal(&wrong, 1).await.unwrap_err();
                assert!(matches!(error, SealError::DigestMismatch { .. }));
            }
            let (_, end, _) = hearing.await.unwrap();
            assert_eq!(end, None);
        }
    });
}

#[test]
fn a_listener_that_takes_nothing_is_left_behind() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        let content = content(20_000_000);
        let mut upload = stores[0].receive(&repository(), Algorithm::Sha256);
        let (tap, inlets) = tap(1);
        upload.tap(tap);
        // Waits for `TEE_WAIT` once, and not again for each of the pieces.
        let began = Clock::system().now();
        send(&mut upload, &content, usize::MAX).await.unwrap();
        assert!(Clock::system().now() - began < 8 * TEE_WAIT);
        let sealed = upload.seal(&sha256(&content), 1).await.unwrap();
        assert!(sealed.outlets.is_empty());
        drop(inlets);
    });
}

#[test]
fn a_tap_rests_with_its_session_on_its_shard_only() {
    run_alone(|| async {
        let home = Home::new();
        let (stores, _) = home.start();
        for (shards, is_heard) in [([0, 0, 0], true), ([0, 1, 0], false)] {
            let content = content(300_000);
            let id = stores[0].begin(&repository(), None).unwrap();
            let (tap, inlets) = tap(1);
            let mut tap = Some(tap);
            let ends = [100_000, 200_000, 300_000];
            let mut start = 0;
            let mut hearing = None;
            for (shard, end) in shards.into_iter().zip(ends) {
                let mut upload = stores[shard].resume(&repository(), &id).await.unwrap();
                if let Some(tap) = tap.take() {
                    upload.tap(tap);
                }
                for piece in content[start..end].chunks(10_000) {
                    send(&mut upload, piece, usize::MAX).await.unwrap();
                    if let Some(inlet) = inlets.borrow_mut().pop() {
                        hearing = Some(spawn(listen(inlet)));
                    }
                }
                start = end;
                if end < content.len() {
                    upload.suspend().await.unwrap();
                } else {
                    let sealed = upload.seal(&sha256(&content), 1).await.unwrap();
                    assert_eq!(sealed.outlets.len(), usize::from(is_heard), "{shards:?}");
                }
            }
            let (all, end, _) = hearing.unwrap().await.unwrap();
            assert_eq!(end.is_some(), is_heard, "{shards:?}");
            assert!(!is_heard || all == content);
        }
    });
}
