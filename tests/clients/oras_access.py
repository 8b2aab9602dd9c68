#!/usr/bin/env python3
"""oras pushes and pulls what it may, is refused the rest, and pulls what is public
without being anybody.

    oras_access.py REGISTRY OWN OTHER PUBLIC [--login USER PASSWORD] [--basic]
                   [--certificate CERTIFICATE KEY AUTHORITY]

PUBLIC, which somebody has pushed, may be `-` for none, and so may OTHER. With --basic the password goes to
the registry itself with each request that it refuses at first, and no token is asked for.
"""

import argparse
import os

import oras.client

parser = argparse.ArgumentParser()
for word in ["registry", "own", "other", "public"]:
    parser.add_argument(word)
parser.add_argument("--login", nargs=2)
parser.add_argument("--basic", action="store_true")
parser.add_argument("--certificate", nargs=3)
OPTIONS = parser.parse_args()
REGISTRY = OPTIONS.registry
CONFIG = os.path.abspath("oras-config.json")
FILE = "thing.bin:application/vnd.example.thing.v1"

with open("thing.bin", "wb") as file:
    file.write(os.urandom(1_000_001))
content = open("thing.bin", "rb").read()


def client(is_known=True):
    options = {"hostname": REGISTRY, "auth_backend": "basic" if OPTIONS.basic else "token"}
    if not OPTIONS.certificate:
        return oras.client.OrasClient(insecure=True, **options)
    certificate, key, authority = OPTIONS.certificate
    made = oras.client.OrasClient(tls_verify=authority, **options)
    if is_known:
        made.session.cert = (certificate, key)
    return made


def opens_an_upload(client, repository):
    """oras keeps the first token it is given, also where it is too narrow, and its push
    begins with a question that needs the right to pull. So it asks for more first."""
    client.auth.load_configs(client.get_container(f"{REGISTRY}/{repository}:v1"), [CONFIG])
    scheme = "https" if OPTIONS.certificate else "http"
    answer = client.do_request(f"{scheme}://{REGISTRY}/v2/{repository}/blobs/uploads/", "POST")
    return answer.status_code == 202


# Before anybody has logged in.
if OPTIONS.public != "-":
    stranger = client(is_known=False)
    manifest = stranger.get_manifest(f"{REGISTRY}/{OPTIONS.public}:v1")
    layer = manifest["layers"][0]
    answer = stranger.get_blob(f"{REGISTRY}/{OPTIONS.public}:v1", layer["digest"])
    assert len(answer.content) == layer["size"], answer
known = client()
if OPTIONS.login:
    user, password = OPTIONS.login
    print(known.login(user, password, hostname=REGISTRY, tls_verify=False, config_path=CONFIG))
assert opens_an_upload(known, OPTIONS.own)
answer = known.push(target=f"{REGISTRY}/{OPTIONS.own}:v1", files=[FILE], config_path=CONFIG)
assert answer.status_code == 201, answer
# Another one has only what the login wrote down.
(path,) = client().pull(target=f"{REGISTRY}/{OPTIONS.own}:v1", outdir="pulled", config_path=CONFIG)
assert open(path, "rb").read() == content
if OPTIONS.other != "-":
    assert not opens_an_upload(client(), OPTIONS.other), OPTIONS.other
