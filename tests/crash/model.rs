//! One pusher: what it did, what was acknowledged, and what must hold after a
//! crash. Each pusher owns its repository, so its record is the whole truth.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::support::{
    MANIFEST_TYPE, Random, Registry, Request, Response, digest_of, image, location, sha256,
};

/// Content that a seed brings back, so that it need not be kept.
#[derive(Clone)]
struct Content {
    seed: u64,
    size: usize,
    digest: String,
}

impl Content {
    fn new(random: &mut Random, algorithm: &str) -> Self {
        let size = match random.below(10) {
            0 => random.below(3),
            1..=4 => 1 + random.below(16_384),
            5..=8 => 16_384 + random.below(250_000),
            _ => 1_000_000 + random.below(1_500_000),
        };
        let seed = random.next();
        let digest = digest_of(algorithm, &Random::new(seed).bytes(size));
        Self { seed, size, digest }
    }

    fn bytes(&self) -> Vec<u8> {
        Random::new(self.seed).bytes(self.size)
    }
}

/// Whether something is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A success was acknowledged after the last deletion.
    Present,
    /// A deletion was acknowledged last.
    Absent,
    /// The last answer was lost.
    Unknown,
}

impl State {
    fn of_answer(answer: &Response) -> Self {
        if answer.status == 200 {
            Self::Present
        } else {
            Self::Absent
        }
    }
}

/// An upload session that was acknowledged and not ended.
struct Session {
    location: String,
    content: Content,
    /// Bytes whose arrival was acknowledged.
    acknowledged: usize,
    /// Whether bytes were sent whose arrival was not acknowledged.
    is_uncertain: bool,
    /// Whether its end was asked for and not acknowledged.
    is_ending: bool,
}

/// What one client did to one repository.
pub(crate) struct Pusher {
    repository: String,
    random: Random,
    registry: Registry,
    blobs: BTreeMap<String, (Content, State)>,
    manifests: BTreeMap<String, (Vec<u8>, Vec<String>, State)>,
    /// Digests a tag may point to; `None` means that it may be absent.
    tags: BTreeMap<String, Vec<Option<String>>>,
    sessions: Vec<Session>,
    /// Operations whose success was acknowledged.
    pub(crate) acknowledged_count: usize,
    /// Sessions with bytes that went on after a kill.
    pub(crate) resumed_count: usize,
    /// Writes whose answer was lost and that turned out to have happened, or not.
    pub(crate) settled_counts: [usize; 2],
}

impl Pusher {
    /// A pusher with its own repository and its own course.
    pub(crate) fn new(address: SocketAddr, number: u64, seed: u64) -> Self {
        Self {
            repository: format!("crash/pusher-{number}"),
            random: Random::new(seed ^ (number << 32)),
            registry: Registry::new(address),
            blobs: BTreeMap::new(),
            manifests: BTreeMap::new(),
            tags: BTreeMap::new(),
            sessions: Vec::new(),
            acknowledged_count: 0,
            resumed_count: 0,
            settled_counts: [0; 2],
        }
    }

    /// Does one thing; an error means that the server went away.
    pub(crate) fn step(&mut self) -> io::Result<()> {
        match self.random.below(20) {
            0..=4 => self.push_image(),
            5..=7 => self.push_blob_whole().map(drop),
            8..=10 => self.open_session(),
            11..=15 => self.go_on_with_session(),
            16 => self.delete_tag(),
            17 => self.delete_manifest(),
            18 => self.push_shared_blob(),
            _ => self.pull_something(),
        }
    }

    /// Checks everything, or what changed lately and a sample of the rest.
    #[track_caller]
    pub(crate) fn verify(&mut self, is_complete: bool) {
        self.registry.client.close();
        let digests: Vec<String> = self.blobs.keys().cloned().collect();
        for digest in digests {
            if is_complete || self.random.below(8) == 0 {
                self.verify_blob(&digest);
            }
        }
        let digests: Vec<String> = self.manifests.keys().cloned().collect();
        for digest in digests {
            if is_complete || self.random.below(3) == 0 {
                self.verify_manifest(&digest);
            }
        }
        self.verify_tags();
        self.verify_sessions();
    }

    /// Ends every session, so that nothing of theirs may stay on the disk.
    pub(crate) fn end_sessions(&mut self) {
        for session in std::mem::take(&mut self.sessions) {
            let answer = self.registry.call("DELETE", &session.location);
            answer.expect_any(&[204, 404]);
        }
    }

    fn target(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository)
    }

    fn send(&mut self, request: &Request) -> io::Result<Response> {
        let answer = self.registry.try_send(request)?;
        assert!(answer.status < 500, "{}: {answer:?}", answer.about);
        Ok(answer)
    }

    fn success(&mut self) {
        self.acknowledged_count += 1;
    }

    /// One POST, or POST and PUT, with all the bytes.
    fn push_blob_whole(&mut self) -> io::Result<Content> {
        let algorithm = ["sha256", "sha256", "sha512"][self.random.below(3)];
        let content = Content::new(&mut self.random, algorithm);
        self.push_content(&content)?;
        Ok(content)
    }

    fn push_content(&mut self, content: &Content) -> io::Result<()> {
        let digest = content.digest.clone();
        let unknown = (content.clone(), State::Unknown);
        self.blobs.entry(digest.clone()).or_insert(unknown);
        let request = if self.random.below(2) == 0 {
            let target = self.target(&format!("blobs/uploads/?digest={digest}"));
            Request::new("POST", target).body(content.bytes())
        } else {
            let target = self.target("blobs/uploads/");
            let answer = self.send(&Request::new("POST", target))?.expect(202);
            let target = format!("{}?digest={digest}", location(&answer));
            Request::new("PUT", target).chunked(content.bytes())
        };
        self.send(&request)?.expect(201);
        self.blobs.insert(digest, (content.clone(), State::Present));
        self.success();
        Ok(())
    }

    /// A blob that other pushers push too, so that links share one file.
    fn push_shared_blob(&mut self) -> io::Result<()> {
        let mut shared = Random::new(self.random.below(40) as u64);
        let content = Content::new(&mut shared, "sha256");
        self.push_content(&content)
    }

    fn push_image(&mut self) -> io::Result<()> {
        let mut parts = Vec::new();
        for _ in 0..=self.random.below(3) {
            parts.push(self.push_blob_whole()?);
        }
        let layers: Vec<(&str, usize)> = parts[1..]
            .iter()
            .map(|part| (part.digest.as_str(), part.size))
            .collect();
        let manifest = image((&parts[0].digest, parts[0].size), &layers);
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let digest = sha256(&bytes);
        let parts = parts.iter().map(|part| part.digest.clone()).collect();
        self.manifests
            .insert(digest.clone(), (bytes.clone(), parts, State::Unknown));
        // Few tags, so that they move.
        let tag = format!("t{}", self.random.below(6));
        let held = self.tags.entry(tag.clone()).or_insert_with(|| vec![None]);
        held.push(Some(digest.clone()));
        let request = Request::new("PUT", self.target(&format!("manifests/{tag}")))
            .header("Content-Type", MANIFEST_TYPE)
            .body(bytes);
        self.send(&request)?.expect(201);
        self.tags.insert(tag, vec![Some(digest.clone())]);
        self.manifests.get_mut(&digest).unwrap().2 = State::Present;
        self.success();
        Ok(())
    }

    fn open_session(&mut self) -> io::Result<()> {
        if self.sessions.len() >= 4 {
            return self.go_on_with_session();
        }
        let algorithm = ["sha256", "sha512"][self.random.below(2)];
        let content = Content::new(&mut self.random, algorithm);
        let announced = if self.random.below(2) == 0 {
            format!("?digest-algorithm={algorithm}")
        } else {
            String::new()
        };
        let target = self.target(&format!("blobs/uploads/{announced}"));
        let answer = self.send(&Request::new("POST", target))?.expect(202);
        self.sessions.push(Session {
            location: location(&answer),
            content,
            acknowledged: 0,
            is_uncertain: false,
            is_ending: false,
        });
        self.success();
        Ok(())
    }

    /// Sends one more chunk of a session, closes it, or cancels it.
    fn go_on_with_session(&mut self) -> io::Result<()> {
        if self.sessions.is_empty() {
            return self.open_session();
        }
        let at = self.random.below(self.sessions.len());
        let session = &self.sessions[at];
        let (place, content) = (session.location.clone(), session.content.clone());
        let held = session.acknowledged;
        let rest = &content.bytes()[held..];
        if self.random.below(12) == 0 {
            self.sessions[at].is_ending = true;
            self.send(&Request::new("DELETE", place))?.expect(204);
            self.sessions.remove(at);
        } else if rest.is_empty() || self.random.below(4) == 0 {
            self.close_session(at, &content, rest)?;
        } else {
            let size = 1 + self.random.below(rest.len());
            self.sessions[at].is_uncertain = true;
            let request = Request::new("PATCH", place);
            let request = if self.random.below(2) == 0 {
                let range = format!("{held}-{}", held + size - 1);
                request.header("Content-Range", range).body(&rest[..size])
            } else {
                request.chunked(&rest[..size])
            };
            let answer = self.send(&request)?.expect(202);
            assert_eq!(answer.only("Range"), format!("0-{}", held + size - 1));
            self.sessions[at].location = location(&answer);
            self.sessions[at].acknowledged = held + size;
            self.sessions[at].is_uncertain = false;
        }
        self.success();
        Ok(())
    }

    fn close_session(&mut self, at: usize, content: &Content, rest: &[u8]) -> io::Result<()> {
        let digest = content.digest.clone();
        let unknown = (content.clone(), State::Unknown);
        self.blobs.entry(digest.clone()).or_insert(unknown);
        let target = format!("{}?digest={digest}", self.sessions[at].location);
        self.sessions[at].is_uncertain = true;
        self.sessions[at].is_ending = true;
        self.send(&Request::new("PUT", target).body(rest))?
            .expect(201);
        self.sessions.remove(at);
        self.blobs.insert(digest, (content.clone(), State::Present));
        Ok(())
    }

    fn delete_tag(&mut self) -> io::Result<()> {
        let present = |held: &Vec<Option<String>>| held.iter().all(Option::is_some);
        let found = self.tags.iter().find(|(_, held)| present(held));
        let Some(tag) = found.map(|(tag, _)| tag.clone()) else {
            return Ok(());
        };
        self.tags.get_mut(&tag).unwrap().push(None);
        let target = self.target(&format!("manifests/{tag}"));
        self.send(&Request::new("DELETE", target))?.expect(202);
        self.tags.insert(tag, vec![None]);
        self.success();
        Ok(())
    }

    fn delete_manifest(&mut self) -> io::Result<()> {
        let known = self
            .manifests
            .iter()
            .filter(|(_, record)| record.2 == State::Present);
        let known: Vec<&String> = known.map(|(digest, _)| digest).collect();
        if known.is_empty() {
            return Ok(());
        }
        let digest = known[self.random.below(known.len())].clone();
        self.manifests.get_mut(&digest).unwrap().2 = State::Unknown;
        let points_there = Some(digest.clone());
        for held in self
            .tags
            .values_mut()
            .filter(|held| held.contains(&points_there))
        {
            held.push(None);
        }
        let target = self.target(&format!("manifests/{digest}"));
        self.send(&Request::new("DELETE", target))?.expect(202);
        self.manifests.get_mut(&digest).unwrap().2 = State::Absent;
        for held in self.tags.values_mut() {
            held.retain(|one| *one != points_there);
        }
        self.success();
        Ok(())
    }

    fn pull_something(&mut self) -> io::Result<()> {
        let known = self
            .blobs
            .iter()
            .filter(|(_, (_, state))| *state == State::Present);
        let known: Vec<&String> = known.map(|(digest, _)| digest).collect();
        if known.is_empty() {
            return Ok(());
        }
        let digest = known[self.random.below(known.len())].clone();
        let target = self.target(&format!("blobs/{digest}"));
        let answer = self.send(&Request::new("GET", target))?.expect(200);
        assert!(answer.body == self.blobs[&digest].0.bytes(), "{digest}");
        Ok(())
    }

    #[track_caller]
    fn verify_blob(&mut self, digest: &str) {
        let target = self.target(&format!("blobs/{digest}"));
        let answer = self.registry.get(&target);
        let (content, state) = self.blobs.get_mut(digest).unwrap();
        match answer.status {
            200 => assert!(answer.body == content.bytes(), "{target}"),
            404 => assert!(*state != State::Present, "lost: {target}"),
            other => panic!("{target}: {other}"),
        }
        if *state == State::Unknown {
            self.settled_counts[usize::from(answer.status == 404)] += 1;
        }
        *state = State::of_answer(&answer);
    }

    #[track_caller]
    fn verify_manifest(&mut self, digest: &str) {
        let target = self.target(&format!("manifests/{digest}"));
        let answer = self.registry.get(&target);
        let (bytes, parts, state) = self.manifests[digest].clone();
        match answer.status {
            200 => {
                assert!(state != State::Absent, "came back: {target}");
                assert!(answer.body == bytes, "{target}");
                for part in parts {
                    let target = self.target(&format!("blobs/{part}"));
                    let answer = self.registry.get(&target).expect(200);
                    assert!(answer.body == self.blobs[&part].0.bytes(), "{target}");
                }
            }
            404 => assert!(state != State::Present, "lost: {target}"),
            other => panic!("{target}: {other}"),
        }
        if state == State::Unknown {
            self.settled_counts[usize::from(answer.status == 404)] += 1;
        }
        self.manifests.get_mut(digest).unwrap().2 = State::of_answer(&answer);
    }

    /// Checks every tag, and learns where the uncertain ones point.
    #[track_caller]
    fn verify_tags(&mut self) {
        let mut listed = Vec::new();
        let tags: Vec<String> = self.tags.keys().cloned().collect();
        for tag in tags {
            let target = self.target(&format!("manifests/{tag}"));
            let answer = self.registry.get(&target).expect_any(&[200, 404]);
            let got =
                (answer.status == 200).then(|| answer.only("Docker-Content-Digest").to_owned());
            let possible = &self.tags[&tag];
            assert!(
                possible.contains(&got),
                "{target} is {got:?}, not in {possible:?}"
            );
            listed.extend(got.is_some().then(|| tag.clone()));
            self.tags.insert(tag, vec![got]);
        }
        let target = self.target("tags/list");
        let answer = self.registry.get(&target).expect_any(&[200, 404]);
        let list = if answer.status == 200 {
            answer.json()["tags"].clone()
        } else {
            serde_json::json!([])
        };
        assert_eq!(list, serde_json::json!(listed), "{target}");
    }

    /// Checks that no session lost what it acknowledged, and takes over what
    /// it holds now.
    #[track_caller]
    fn verify_sessions(&mut self) {
        let mut kept = Vec::new();
        for mut session in std::mem::take(&mut self.sessions) {
            let answer = self.registry.get(&session.location).expect_any(&[204, 404]);
            if answer.status == 404 {
                // The close or the cancellation whose answer was lost took place.
                assert!(session.is_ending, "session lost: {}", session.location);
                continue;
            }
            let range = answer.only("Range").to_owned();
            let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
            let has_begun = session.acknowledged > 0 || session.is_uncertain;
            if last == 0 && has_begun && (session.is_ending || session.acknowledged == 0) {
                // Ended before the kill, its id begins anew at 0; and `0-0` stands
                // for no byte and for one, so nobody can go on from here.
                self.registry.call("DELETE", &session.location).expect(204);
                continue;
            }
            let held = if session.acknowledged == 0 && last == 0 {
                0
            } else {
                last + 1
            };
            let sent = if session.is_uncertain {
                session.content.size
            } else {
                session.acknowledged
            };
            assert!(
                (session.acknowledged..=sent).contains(&held),
                "{range} after {} of {}",
                session.acknowledged,
                session.content.size
            );
            session.acknowledged = held;
            session.is_uncertain = false;
            session.is_ending = false;
            self.resumed_count += usize::from(held > 0);
            kept.push(session);
        }
        self.sessions = kept;
    }
}
