#!/usr/bin/env python3
"""An issuer of identities for tests, such as a pipeline has one: publishes its key over
HTTPS, and signs what a job shows.

    issuer.py serve PORT KEY CERTIFICATE_AND_KEY
    issuer.py token PORT KEY AUDIENCE BRANCH
"""

import http.server
import json
import ssl
import sys
import time

from tokens import published, signed

PORT, KEY, LAST = int(sys.argv[2]), sys.argv[3], sys.argv[4:]
ISSUER = f"https://127.0.0.1:{PORT}"
NAME = "pipeline-1"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answers = {
            "/.well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"},
            "/keys": published(KEY, NAME),
        }
        body = answers.get(self.path)
        text = json.dumps(body or {}).encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "public, max-age=3600")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def serve(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def token(audience, branch):
    """What a job of GitLab shows."""
    now = int(time.time())
    claims = {
        "iss": ISSUER, "aud": audience, "sub": f"project_path:team/app:ref_type:branch:ref:{branch}",
        "iat": now, "nbf": now - 5, "exp": now + 3600, "jti": "1", "namespace_path": "team",
        "project_path": "team/app", "user_login": "ann", "pipeline_source": "push",
        "ref": branch, "ref_type": "branch", "ref_protected": "true",
        "environment": "production", "groups_direct": ["team", "team/sub"],
    }
    print(signed(KEY, claims, kid=NAME))


{"serve": serve, "token": token}[sys.argv[1]](*LAST)
