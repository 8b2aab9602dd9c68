#!/usr/bin/env python3
"""Writes an OCI image layout without any client's help.

layout.py FOLDER TAG [ARCHITECTURE…]: one architecture gives a manifest, several
give an index of them. Every image has a layer of its own and one they share.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def tar(name, content):
    """A tar stream with one file and no times in it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        entry.mode = 0o644
        archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


class Layout:
    """A folder with `oci-layout`, `index.json` and `blobs/sha256`."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(os.path.join(folder, "blobs/sha256"), exist_ok=True)
        with open(os.path.join(folder, "oci-layout"), "w") as file:
            file.write('{"imageLayoutVersion":"1.0.0"}')

    def add(self, media_type, content):
        """Stores content and returns its descriptor."""
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        digest = hashlib.sha256(content).hexdigest()
        with open(os.path.join(self.folder, "blobs/sha256", digest), "wb") as file:
            file.write(content)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}

    def add_image(self, architecture, shared_layer):
        """Stores one image and returns the descriptor of its manifest."""
        own = tar("architecture", os.urandom(700_001))
        layers = [shared_layer, own]
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": ["/none"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers],
            },
        }
        return self.add(
            MANIFEST,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": self.add(CONFIG, config),
                "layers": [self.add(LAYER, gzip.compress(layer, 1, mtime=0)) for layer in layers],
            },
        )

    def name(self, descriptor, tag):
        """Makes the descriptor the layout's only entry."""
        descriptor = dict(descriptor, annotations={"org.opencontainers.image.ref.name": tag})
        with open(os.path.join(self.folder, "index.json"), "w") as file:
            json.dump({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}, file)


def main(folder, tag, *architectures):
    layout = Layout(folder)
    shared_layer = tar("shared", os.urandom(1_500_000))
    images = []
    for architecture in architectures or ["amd64"]:
        image = layout.add_image(architecture, shared_layer)
        image["platform"] = {"architecture": architecture, "os": "linux"}
        images.append(image)
    top = images[0]
    if len(images) > 1:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": images}
        top = layout.add(INDEX, index)
    layout.name(top, tag)
    print(top["digest"])


if __name__ == "__main__":
    main(*sys.argv[1:])
