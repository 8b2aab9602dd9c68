//! A small registry for tests: names, contents, and a state that commands run on.

use bytes::Bytes;

use super::{Command, Context, Delta, MemoryView, Outcome, Overlay, PutManifest, apply};
use crate::oci::{Algorithm, Digest, Manifest, MediaType, Repository, Tag};

/// One hour.
pub(super) const HOUR_MS: u64 = 60 * 60 * 1000;

/// A state, and the journal position that follows it.
#[derive(Default)]
pub(super) struct World {
    pub(super) view: MemoryView,
    pub(super) index: u64,
    pub(super) time_ms: u64,
}

impl World {
    /// Applies a command at the next index and stores what it changes. A second
    /// application of the same command must change nothing.
    pub(super) fn run(&mut self, command: &Command) -> Outcome {
        let (outcome, delta) = self.decide(command);
        self.view.absorb(&delta);
        let (_, again) = self.decide(command);
        assert_eq!(again, Delta::default(), "repeated {command:?}");
        outcome
    }

    /// Applies a command at the next index without storing what it changes.
    pub(super) fn decide(&mut self, command: &Command) -> (Outcome, Delta) {
        self.index += 1;
        let context = Context {
            index: self.index,
            time_ms: self.time_ms,
        };
        apply(&self.view, context, command).unwrap()
    }

    /// Links `content` as a blob with a file.
    pub(super) fn link(&mut self, repository: &str, content: &str) -> Outcome {
        self.run(&link(repository, content, 0))
    }

    /// Pushes a manifest under tags.
    pub(super) fn put(&mut self, repository: &str, body: &Body, tags: &[&str]) -> Outcome {
        self.run(&put(repository, body, tags))
    }
}

/// A manifest's content type and bytes.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) content_type: MediaType,
    pub(super) bytes: Bytes,
}

impl Body {
    pub(super) fn digest(&self) -> Digest {
        Digest::of(Algorithm::Sha256, &self.bytes)
    }

    fn descriptor(&self) -> String {
        descriptor(self.content_type.as_str(), self.digest(), self.bytes.len())
    }
}

pub(super) fn name(text: &str) -> Repository {
    Repository::parse(text).unwrap()
}

pub(super) fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

pub(super) fn digest(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}

fn descriptor(media_type: &str, digest: Digest, size: usize) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

fn layer(content: &str) -> String {
    descriptor("a/layer", digest(content), content.len())
}

/// A layer that may live elsewhere.
fn foreign(content: &str) -> String {
    let media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    descriptor(media_type, digest(content), content.len())
}

fn body(content_type: &str, members: &str) -> Body {
    let content_type = MediaType::parse(content_type).unwrap();
    let bytes = format!(r#"{{"schemaVersion":2,{members}}}"#).into();
    Body {
        content_type,
        bytes,
    }
}

/// An image of a config and layers; layers that start with `~` are foreign.
pub(super) fn image(config: &str, layers: &[&str], subject: Option<&Body>) -> Body {
    let item = |content: &&str| match content.strip_prefix('~') {
        Some(content) => foreign(content),
        None => layer(content),
    };
    let layers: Vec<String> = layers.iter().map(item).collect();
    let subject = subject.map_or_else(|| "null".to_owned(), Body::descriptor);
    let (config, layers) = (layer(config), layers.join(","));
    let members = format!(r#""config":{config},"layers":[{layers}],"subject":{subject}"#);
    body(MediaType::OCI_MANIFEST, &members)
}

/// An index of manifests.
pub(super) fn index(children: &[&Body]) -> Body {
    let children: Vec<String> = children.iter().map(|child| child.descriptor()).collect();
    body(
        MediaType::OCI_INDEX,
        &format!(r#""manifests":[{}]"#, children.join(",")),
    )
}

/// The command that links `content` as a blob with a file.
pub(super) fn link(repository: &str, content: &str, generation: u64) -> Command {
    Command::LinkBlob {
        repository: name(repository),
        digest: digest(content),
        size_bytes: u64::try_from(content.len()).unwrap(),
        generation,
        extent_checksums: vec![crc32fast::hash(content.as_bytes())],
        inline: None,
    }
}

/// The command that pushes a manifest under tags.
pub(super) fn put(repository: &str, body: &Body, tags: &[&str]) -> Command {
    let manifest = Manifest::parse(&body.bytes, &body.content_type).unwrap();
    let tags = tags.iter().map(|text| tag(text)).collect();
    let bytes = body.bytes.clone();
    let put = PutManifest::new(name(repository), body.digest(), &manifest, bytes, tags);
    Command::PutManifest(Box::new(put))
}

/// Applies commands as one batch: each sees the changes of those before it.
pub(super) fn batch(view: &MemoryView, commands: &[(Context, Command)]) -> Delta {
    let mut overlay = Overlay::new(view);
    for (context, command) in commands {
        let (_, delta) = apply(&overlay, *context, command).unwrap();
        overlay.absorb(delta);
    }
    overlay.into_delta()
}

/// Bytes as the golden files write them.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
