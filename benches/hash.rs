//! What an upload costs per MiB before a byte reaches the disk: SHA-256, SHA-512,
//! CRC32 per extent, and both together as an upload does it, over one recycled
//! buffer. `cargo bench --bench hash`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest as _, Sha256, Sha512};

use windlass::base::limits::{HASH_STEP_BYTES, MOVE_BYTES_MAX};
use windlass::base::units::{MIB, to_usize};
use windlass::blob::Progress;
use windlass::oci::Algorithm;

/// Passes one MiB through `absorb` in steps of an upload, out of a buffer of the
/// size that a fast client gets.
fn mebibyte(buffer: &[u8], mut absorb: impl FnMut(&[u8])) {
    for _ in 0..MIB / MOVE_BYTES_MAX {
        for step in black_box(buffer).chunks(to_usize(HASH_STEP_BYTES)) {
            absorb(step);
        }
    }
}

/// Each part alone, and both as an upload does them.
fn hash(criterion: &mut Criterion) {
    let buffer: Vec<u8> = (0..=250).cycle().take(to_usize(MOVE_BYTES_MAX)).collect();
    let mut group = criterion.benchmark_group("hash");
    group.throughput(Throughput::Bytes(u64::from(MIB)));
    group.bench_function("sha256", |bencher| {
        let mut hash = Sha256::new();
        bencher.iter(|| mebibyte(&buffer, |step| hash.update(step)));
        black_box(hash.finalize());
    });
    group.bench_function("sha512", |bencher| {
        let mut hash = Sha512::new();
        bencher.iter(|| mebibyte(&buffer, |step| hash.update(step)));
        black_box(hash.finalize());
    });
    group.bench_function("crc32", |bencher| {
        let mut hash = crc32fast::Hasher::new();
        bencher.iter(|| mebibyte(&buffer, |step| hash.update(step)));
        black_box(hash.finalize());
    });
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        group.bench_function(format!("{algorithm}+crc32"), |bencher| {
            bencher.iter(|| {
                let mut progress = Progress::new(algorithm);
                mebibyte(&buffer, |step| progress.absorb(step));
                progress.digest()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hash);
criterion_main!(benches);
