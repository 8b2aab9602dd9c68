//! Head parse and chunk decode: `cargo bench --bench http`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use windlass::http::{BodyDecoder, Framing, Head, ResponseHead, Status};

/// What docker sends for a blob.
const DOCKER_GET: &str = "GET /v2/library/debian/blobs/sha256:\
    4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1 HTTP/1.1\r\n\
    Host: registry.example:5000\r\n\
    User-Agent: docker/27.3.1 go/go1.22.7 git-commit/41ca978 kernel/6.8.0 os/linux \
    arch/amd64 UpstreamClient(Docker-Client/27.3.1 \\(linux\\))\r\n\
    Accept-Encoding: identity\r\n\
    Range: bytes=0-\r\n\
    Connection: keep-alive\r\n\r\n";

/// What podman and skopeo send for a manifest.
const SEVEN_ACCEPTS_GET: &str = "GET /v2/library/debian/manifests/12 HTTP/1.1\r\n\
    Host: registry.example:5000\r\n\
    User-Agent: containers/5.33.1 (github.com/containers/image)\r\n\
    Accept: application/vnd.oci.image.manifest.v1+json\r\n\
    Accept: application/vnd.docker.distribution.manifest.v2+json\r\n\
    Accept: application/vnd.docker.distribution.manifest.v1+prettyjws\r\n\
    Accept: application/vnd.docker.distribution.manifest.v1+json\r\n\
    Accept: application/vnd.docker.distribution.manifest.list.v2+json\r\n\
    Accept: application/vnd.oci.image.index.v1+json\r\n\
    Accept: application/json\r\n\
    Docker-Distribution-Api-Version: registry/2.0\r\n\
    Accept-Encoding: gzip\r\n\r\n";

/// A body as an upload buffer takes it.
const BODY_BYTES: usize = 512 * 1024;
/// A chunk as Go clients send it.
const CHUNK_BYTES: usize = 32 * 1024;

/// Heads in and out.
fn heads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    for (name, head) in [
        ("docker blob GET", DOCKER_GET),
        ("manifest GET, 7 Accept", SEVEN_ACCEPTS_GET),
    ] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| Head::parse(black_box(head.as_bytes())));
        });
    }
    group.bench_function("encode a 200", |bencher| {
        let mut wire = Vec::new();
        bencher.iter(|| {
            wire.clear();
            ResponseHead::new(Status::OK)
                .with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                .with(
                    "Docker-Content-Digest",
                    black_box("sha256:4f4fb700ef54461c"),
                )
                .with_length(4096)
                .encode(&["Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"], &mut wire);
            black_box(wire.len())
        });
    });
    group.finish();
}

/// Bodies unwrapped in place.
fn chunks(criterion: &mut Criterion) {
    let mut wire = Vec::new();
    for _ in 0..BODY_BYTES / CHUNK_BYTES {
        wire.extend_from_slice(format!("{CHUNK_BYTES:x}\r\n").as_bytes());
        wire.extend_from_slice(&vec![b'x'; CHUNK_BYTES]);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    let mut group = criterion.benchmark_group("body");
    let body_bytes = u64::try_from(BODY_BYTES).unwrap_or_default();
    group.throughput(Throughput::Bytes(body_bytes));
    group.bench_function("decode 512 KiB in 32 KiB chunks", |bencher| {
        bencher.iter_batched_ref(
            || wire.clone(),
            |wire| BodyDecoder::new(Framing::Chunked).decode(wire),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, heads, chunks);
criterion_main!(benches);
