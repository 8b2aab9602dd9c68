"""Tokens that are signed by openssl, with a P-256 key in a file."""

import base64
import json
import subprocess


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def number(der, at):
    """The integer at an offset of a DER signature, as 32 bytes, and what follows."""
    length = der[at + 1]
    value = int.from_bytes(der[at + 2 : at + 2 + length], "big")
    return value.to_bytes(32, "big"), at + 2 + length


def signed(key, claims, **more):
    """A token of these claims; `more` goes into its header."""
    header = {"alg": "ES256", "typ": "JWT", **more}
    message = b".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    command = ["openssl", "dgst", "-sha256", "-sign", key]
    der = subprocess.run(command, input=message, stdout=subprocess.PIPE, check=True).stdout
    first, at = number(der, 2)
    second, _ = number(der, at)
    return b".".join((message, encoded(first + second))).decode()


def published(key, name):
    """The key set of an issuer that signs with this key."""
    command = ["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"]
    der = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    x, y = (encoded(part).decode() for part in (der[-64:-32], der[-32:]))
    member = {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": name, "x": x, "y": y}
    return {"keys": [member]}
