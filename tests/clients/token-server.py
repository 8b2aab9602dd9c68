#!/usr/bin/env python3
"""A token server for tests: users bob (sesame) and eve (open), who may do everything
below a folder of their own, and eve in public/, too; everybody may pull what is there.

    token-server.py PORT KEY SERVICE
"""

import base64
import http.server
import json
import sys
import time
import urllib.parse

from tokens import signed

PORT, KEY, SERVICE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
USERS = {"bob": "sesame", "eve": "open"}


def given(user, scope):
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    folders = (user + "/", "public/") if user == "eve" else (user + "/",)
    if kind == "repository" and user and name.startswith(folders):
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
        return self.answer(200, {"token": signed(KEY, claims), "expires_in": 300})

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
