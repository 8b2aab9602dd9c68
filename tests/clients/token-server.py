#!/usr/bin/env python3
"""A token server for tests: users bob (sesame) and eve (open), who may do everything
below a folder of their own; everybody may pull what is in public/.

    token-server.py PORT KEY SERVICE
"""

import base64
import http.server
import json
import subprocess
import sys
import time
import urllib.parse

PORT, KEY, SERVICE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
USERS = {"bob": "sesame", "eve": "open"}


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def number(der, at):
    """The integer at an offset of a DER signature, as 32 bytes, and what follows."""
    length = der[at + 1]
    value = int.from_bytes(der[at + 2 : at + 2 + length], "big")
    return value.to_bytes(32, "big"), at + 2 + length


def signed(claims):
    header = {"alg": "ES256", "typ": "JWT"}
    message = b".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    command = ["openssl", "dgst", "-sha256", "-sign", KEY]
    der = subprocess.run(command, input=message, stdout=subprocess.PIPE, check=True).stdout
    first, at = number(der, 2)
    second, _ = number(der, at)
    return b".".join((message, encoded(first + second))).decode()


def given(user, scope):
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    if kind == "repository" and user and name.startswith(user + "/"):
        allowed = {"pull", "push", "delete", "*"}
    elif kind == "repository" and name.startswith("public/"):
        allowed = {"pull"}
    else:
        allowed = set()
    actions = [action for action in actions.split(",") if action in allowed]
    return {"type": kind, "name": name, "actions": actions}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        user = ""
        login = self.headers.get("Authorization", "")
        if login.startswith("Basic "):
            user, _, password = base64.b64decode(login[6:]).decode().partition(":")
            if USERS.get(user) != password:
                return self.answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        scopes = " ".join(query.get("scope", [])).split()
        now = int(time.time())
        claims = {
            "iss": "tests", "aud": SERVICE, "sub": user, "iat": now, "nbf": now,
            "exp": now + 300, "access": [given(user, scope) for scope in scopes],
        }
        return self.answer(200, {"token": signed(claims), "expires_in": 300})

    def do_POST(self):
        self.answer(404, {})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
