#!/usr/bin/env python3
"""oras logs in, pushes and pulls what it may, and is refused the rest.

    oras_login.py REGISTRY USER PASSWORD OWN OTHER
"""

import os
import sys

import oras.client

REGISTRY, USER, PASSWORD, OWN, OTHER = sys.argv[1:]
CONFIG = os.path.abspath("oras-config.json")
FILE = "thing.bin:application/vnd.example.thing.v1"

with open("thing.bin", "wb") as file:
    file.write(os.urandom(1_000_001))
content = open("thing.bin", "rb").read()


def client():
    return oras.client.OrasClient(hostname=REGISTRY, insecure=True)


def opens_an_upload(client, repository):
    """oras keeps the first token it is given, also where it is too narrow, and its push
    begins with a question that needs the right to pull. So it asks for more first."""
    client.auth.load_configs(client.get_container(f"{REGISTRY}/{repository}:v1"), [CONFIG])
    answer = client.do_request(f"http://{REGISTRY}/v2/{repository}/blobs/uploads/", "POST")
    return answer.status_code == 202


known = client()
print(known.login(USER, PASSWORD, hostname=REGISTRY, tls_verify=False, config_path=CONFIG))
assert opens_an_upload(known, OWN)
answer = known.push(target=f"{REGISTRY}/{OWN}:v1", files=[FILE], config_path=CONFIG)
assert answer.status_code == 201, answer
# Others have only what the login wrote down.
(path,) = client().pull(target=f"{REGISTRY}/{OWN}:v1", outdir="pulled", config_path=CONFIG)
assert open(path, "rb").read() == content
assert not opens_an_upload(client(), OTHER), OTHER
