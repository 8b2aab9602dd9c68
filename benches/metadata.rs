//! What a push and a pull cost in the pure rooms: reading a manifest, applying
//! commands, looking up a tag, all over a state in memory.
//!
//! Run with `cargo bench --bench metadata`; `-- apply` picks a group.

#![expect(clippy::unwrap_used, reason = "a bench that cannot start must fail")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use windlass::base::units::to_u64;
use windlass::metadata::{
    Command, Context, MemoryView, Proposal, PutManifest, apply, manifest, tag, tags,
};
use windlass::oci::{Algorithm, Digest, Manifest, MediaType, Repository, Tag};

/// Layers of the benched image; a usual image has five to fifteen.
const LAYERS: u32 = 10;
/// Tags that stand in the state before anything is measured.
const TAGS: u32 = 10_000;

/// Where everything is pushed to.
fn repository() -> Repository {
    Repository::parse("team/service").unwrap()
}

/// What everything is pushed as.
fn content_type() -> MediaType {
    MediaType::parse(MediaType::OCI_MANIFEST).unwrap()
}

/// The digest of one of the layers; number 0 is the config.
fn layer(number: u32) -> Digest {
    Digest::of(Algorithm::Sha256, &number.to_le_bytes())
}

/// An image manifest; `filler_bytes` of annotation make it as large as wanted.
fn image(number: u32, filler_bytes: usize) -> Bytes {
    let descriptor = |kind: &str, number| {
        let digest = layer(number);
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":4}}"#
        )
    };
    let config = descriptor("config.v1+json", 0);
    let layers: Vec<String> = (1..=LAYERS)
        .map(|number| descriptor("layer.v1.tar+gzip", number))
        .collect();
    let filler = "x".repeat(filler_bytes);
    let layers = layers.join(",");
    format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}],"annotations":{{"number":"{number}","filler":"{filler}"}}}}"#
    )
    .into()
}

/// The command that pushes `body` under a tag.
fn put(body: &Bytes, name: &str) -> Command {
    let manifest = Manifest::parse(body, &content_type()).unwrap();
    let digest = Digest::of(Algorithm::Sha256, body);
    let tags = vec![Tag::parse(name).unwrap()];
    let put = PutManifest::new(repository(), digest, &manifest, body.clone(), tags);
    Command::PutManifest(Box::new(put))
}

/// Applies a command and stores what it changes.
fn run(view: &mut MemoryView, index: u64, command: &Command) {
    let (_, delta) = apply(view, Context { index, time_ms: 1 }, command).unwrap();
    view.absorb(&delta);
}

/// A repository with its layers and `TAGS` tagged images.
fn filled() -> MemoryView {
    let mut view = MemoryView::default();
    for number in 0..=LAYERS {
        let link = Command::LinkBlob {
            repository: repository(),
            digest: layer(number),
            size_bytes: 4,
            generation: 0,
            extent_checksums: vec![0],
            inline: None,
        };
        run(&mut view, 1, &link);
    }
    for number in 0..TAGS {
        let command = put(&image(number, 0), &format!("v{number}"));
        run(&mut view, u64::from(number) + 2, &command);
    }
    view
}

/// Reads a usual manifest and one near the largest.
fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (name, filler_bytes) in [("10_layers", 0), ("3.9_mib", 3_900_000)] {
        let (body, content_type) = (image(0, filler_bytes), content_type());
        group.throughput(Throughput::Bytes(to_u64(body.len())));
        group.bench_function(name, |bencher| {
            bencher.iter(|| Manifest::parse(black_box(&body), &content_type).unwrap());
        });
    }
}

/// Decides pushes: of something new, of the same again, of a large one.
fn apply_commands(criterion: &mut Criterion) {
    let view = filled();
    let context = Context {
        index: 1 << 16,
        time_ms: 1,
    };
    let mut group = criterion.benchmark_group("apply");
    for (name, body, tag) in [
        ("push_new", image(TAGS, 0), "new"),
        ("push_again", image(0, 0), "v0"),
        ("push_3.9_mib", image(TAGS, 3_900_000), "new"),
    ] {
        let command = put(&body, tag);
        group.bench_function(name, |bencher| {
            bencher.iter(|| apply(&view, context, black_box(&command)).unwrap());
        });
    }
}

/// Writes and reads the journal form of a push.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("proposal");
    for (name, filler_bytes) in [("push", 0), ("push_3.9_mib", 3_900_000)] {
        let proposal = Proposal {
            time_ms: 1,
            command: put(&image(0, filler_bytes), "t"),
        };
        let record = proposal.encode();
        group.throughput(Throughput::Bytes(to_u64(record.len())));
        group.bench_function(format!("encode_{name}"), |bencher| {
            bencher.iter_batched(|| (), |()| proposal.encode(), BatchSize::LargeInput);
        });
        group.bench_function(format!("decode_{name}"), |bencher| {
            bencher.iter(|| Proposal::decode(black_box(&record)).unwrap());
        });
    }
}

/// Looks up what a pull by tag looks up, and a page of tags.
fn query(criterion: &mut Criterion) {
    let view = filled();
    let (repository, name) = (repository(), Tag::parse("v5000").unwrap());
    let mut group = criterion.benchmark_group("query");
    group.bench_function("tag", |bencher| {
        bencher.iter(|| tag(&view, &repository, black_box(&name)).unwrap());
    });
    group.bench_function("manifest_by_tag", |bencher| {
        bencher.iter(|| {
            let digest = tag(&view, &repository, black_box(&name)).unwrap().unwrap();
            manifest(&view, &repository, &digest).unwrap()
        });
    });
    group.bench_function("page_of_100_tags", |bencher| {
        bencher.iter(|| tags(&view, &repository, Some("v5000"), black_box(100)).unwrap());
    });
}

criterion_group!(benches, parse, apply_commands, encode, query);
criterion_main!(benches);
