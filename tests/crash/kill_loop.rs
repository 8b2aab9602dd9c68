//! Kill -9 in a loop during mixed pushes: what was acknowledged stays.

use std::env;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::model::Pusher;
use super::support::{Node, Random, digest_of, wait_for};

/// Kills in one run, unless `WINDLASS_CRASH_ROUNDS` says otherwise.
const ROUNDS_DEFAULT: usize = 30;
/// Clients that push at the same time.
const PUSHERS: u64 = 4;
/// A round that acknowledges nothing for this long fails the test.
const PROGRESS_MAX: Duration = Duration::from_secs(30);

#[test]
fn every_acknowledged_write_survives_any_kill() {
    let rounds = number_from("WINDLASS_CRASH_ROUNDS", ROUNDS_DEFAULT);
    let seed = number_from("WINDLASS_CRASH_SEED", 20_240_607) as u64;
    let mut node = Node::start();
    let mut random = Random::new(seed);
    let mut pushers: Vec<Pusher> = (0..PUSHERS)
        .map(|number| Pusher::new(node.address, number, seed))
        .collect();
    for round in 0..rounds {
        push_until_killed(&mut node, &mut pushers, &mut random);
        node.spawn();
        node.wait_ready();
        let is_complete = round + 1 == rounds || round % 10 == 9;
        for pusher in &mut pushers {
            pusher.verify(is_complete);
        }
    }
    check_coverage(&pushers, rounds);
    leave_nothing_behind(&mut node, &mut pushers);
}

/// A run in which too little happened proves nothing.
fn check_coverage(pushers: &[Pusher], rounds: usize) {
    let sum = |count: fn(&Pusher) -> usize| -> usize { pushers.iter().map(count).sum() };
    let acknowledged = sum(|pusher| pusher.acknowledged_count);
    let resumed = sum(|pusher| pusher.resumed_count);
    let [happened, lost] = [0, 1].map(|at| -> usize {
        let counts = pushers.iter().map(|pusher| pusher.settled_counts[at]);
        counts.sum()
    });
    eprintln!(
        "{rounds} kills: {acknowledged} writes acknowledged, {resumed} sessions resumed; \
         of writes without an answer {happened} had happened and {lost} had not"
    );
    assert!(acknowledged > rounds * 10, "{acknowledged} writes");
    assert!(resumed > rounds, "{resumed} sessions resumed");
    assert!(lost > 0, "no kill fell into a write");
}

/// Lets all pushers work, and kills the node after a random number of
/// acknowledged writes and a random moment more, wherever they are.
fn push_until_killed(node: &mut Node, pushers: &mut [Pusher], random: &mut Random) {
    let goal = 1 + random.below(60);
    let moment = Duration::from_micros(random.below(20_000) as u64);
    let acknowledged = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for pusher in pushers {
            let (acknowledged, is_over) = (&acknowledged, &is_over);
            scope.spawn(move || {
                while pusher.step().is_ok() {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
        let is_busy = wait_for(PROGRESS_MAX, || {
            acknowledged.load(Ordering::Relaxed) >= goal || is_over.load(Ordering::Relaxed)
        });
        // The moment of death is meant to be arbitrary, so it is a pure delay.
        thread::sleep(moment);
        let still_ran = node.is_running();
        node.kill();
        assert!(is_busy, "no progress before the kill");
        assert!(still_ran, "the node ended by itself:\n{}", node.log_text());
    });
}

/// Ends every session and looks at the disk with the server stopped: no upload
/// is left, and every file is exactly the blob that its name says.
fn leave_nothing_behind(node: &mut Node, pushers: &mut [Pusher]) {
    for pusher in pushers.iter_mut() {
        pusher.end_sessions();
    }
    node.restart();
    for pusher in pushers.iter_mut() {
        pusher.verify(true);
    }
    let status = node.terminate(Duration::from_secs(30));
    assert!(status.success(), "{status}");
    assert_eq!(node.upload_files(), Vec::<std::path::PathBuf>::new());
    let blobs = node.files("blobs");
    assert!(!blobs.is_empty(), "blobs above the inline limit have files");
    for path in blobs {
        let algorithm = path
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .file_name()
            .unwrap();
        let algorithm = algorithm.to_str().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (hex, generation) = name.split_once('.').unwrap();
        assert!(generation.parse::<u64>().is_ok(), "{name}");
        let content = fs::read(&path).unwrap();
        assert_eq!(digest_of(algorithm, &content), format!("{algorithm}:{hex}"));
    }
}

fn number_from(variable: &str, default: usize) -> usize {
    let value = env::var(variable).ok();
    value.map_or(default, |value| value.parse().expect("a number"))
}
