"""oras against the registry at $REGISTRY: push, pull, attach, discover.

The Python package pushes and pulls artifacts and can name a subject, which is
what `oras attach` does; it has no `discover`, so that part asks the referrers
endpoint through the package's own session.
"""

import hashlib
import json
import os

import oras.client
import oras.oci
import oras.provider
import pytest

REGISTRY = os.environ["REGISTRY"]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TYPE = "application/vnd.example.thing.v1"


@pytest.fixture
def client():
    return oras.client.OrasClient(hostname=REGISTRY, insecure=True)


@pytest.fixture
def artifact(tmp_path, monkeypatch):
    """A file in the current folder: oras refuses paths outside of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thing.bin").write_bytes(os.urandom(3_000_001))
    return tmp_path / "thing.bin"


def push(client, name, files=("thing.bin:" + TYPE,), **options):
    """Pushes and returns the descriptor of the stored manifest."""
    answer = client.push(target=f"{REGISTRY}/{name}", files=list(files), **options)
    assert answer.status_code == 201
    content = manifest_bytes(name)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    assert answer.headers["Docker-Content-Digest"] == digest
    return {
        "mediaType": MANIFEST,
        "digest": digest,
        "size": len(content),
    }, answer


def get(path, **options):
    session = oras.provider.Registry(hostname=REGISTRY, insecure=True)
    return session.do_request(f"http://{REGISTRY}{path}", "GET", **options)


def manifest_bytes(name):
    repository, reference = name.rsplit(":", 1)
    answer = get(f"/v2/{repository}/manifests/{reference}", headers={"Accept": MANIFEST})
    assert answer.status_code == 200
    return answer.content


def discover(repository, digest, artifact_type=None):
    query = f"?artifactType={artifact_type}" if artifact_type else ""
    answer = get(f"/v2/{repository}/referrers/{digest}{query}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
    if artifact_type:
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    return answer.json()["manifests"]


def attach(client, repository, subject, artifact_type, text):
    """Pushes an artifact that names `subject`; its type is that of its config."""
    with open("note.txt", "w") as file:
        file.write(text)
    with open("config.json", "w") as file:
        file.write("{}")
    _, answer = push(
        client,
        f"{repository}:{artifact_type.rsplit('.', 1)[-1]}",
        files=["note.txt:text/plain"],
        manifest_config=f"config.json:{artifact_type}",
        manifest_annotations={"org.example.text": text},
        subject=oras.oci.Subject(**subject),
    )
    assert answer.headers["OCI-Subject"] == subject["digest"]


def test_push_then_pull_gives_the_same_bytes(client, artifact, tmp_path):
    push(client, "oras/plain:v1")
    (path,) = client.pull(target=f"{REGISTRY}/oras/plain:v1", outdir=str(tmp_path / "out"))
    with open(path, "rb") as file:
        assert file.read() == artifact.read_bytes()


def test_pull_by_digest(client, artifact, tmp_path):
    descriptor, _ = push(client, "oras/by-digest:v1")
    target = f"{REGISTRY}/oras/by-digest@{descriptor['digest']}"
    (path,) = client.pull(target=target, outdir=str(tmp_path / "out"))
    with open(path, "rb") as file:
        assert file.read() == artifact.read_bytes()


def test_push_in_chunks(client, artifact, tmp_path):
    push(client, "oras/chunks:v1", do_chunked=True, chunk_size=1_000_000)
    (path,) = client.pull(target=f"{REGISTRY}/oras/chunks:v1", outdir=str(tmp_path / "out"))
    with open(path, "rb") as file:
        assert file.read() == artifact.read_bytes()


def test_attach_then_discover(client, artifact):
    subject, _ = push(client, "oras/subject:v1")
    assert discover("oras/subject", subject["digest"]) == []
    for kind in ("signature", "sbom"):
        attach(client, "oras/subject", subject, f"application/vnd.example.{kind}", kind)
    found = discover("oras/subject", subject["digest"])
    assert {entry["artifactType"].split(".")[-1] for entry in found} == {"signature", "sbom"}
    assert {entry["annotations"]["org.example.text"] for entry in found} == {"signature", "sbom"}
    (only,) = discover("oras/subject", subject["digest"], "application/vnd.example.sbom")
    content = manifest_bytes("oras/subject:sbom")
    assert len(content) == only["size"]
    assert "sha256:" + hashlib.sha256(content).hexdigest() == only["digest"]
    assert json.loads(content)["subject"]["digest"] == subject["digest"]


def test_attach_before_the_subject_is_there(client, artifact):
    absent = {
        "mediaType": MANIFEST,
        "digest": "sha256:" + hashlib.sha256(os.urandom(8)).hexdigest(),
        "size": 123,
    }
    attach(client, "oras/early", absent, "application/vnd.example.early", "early")
    (only,) = discover("oras/early", absent["digest"])
    assert only["artifactType"] == "application/vnd.example.early"


def test_tags_list_and_delete(client, artifact):
    for tag in ("b", "c", "a"):
        push(client, f"oras/tags:{tag}")
    assert client.get_tags(f"{REGISTRY}/oras/tags") == ["a", "b", "c"]
    assert client.delete_tags(f"{REGISTRY}/oras/tags:b", "b") == ["b"]
    assert "b" not in client.get_tags(f"{REGISTRY}/oras/tags")


def test_repositories_are_listed(client, artifact):
    push(client, "oras/listed:v1")
    assert "oras/listed" in get("/v2/_catalog").json()["repositories"]
