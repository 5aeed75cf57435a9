# /// script
# requires-python = ">=3.11"
# dependencies = ["oidc-provider-mock==0.3.4"]
# ///
"""An OpenID provider at HOST:PORT, which requires PKCE; POST /forge/KIND makes it issue bad ID tokens."""

import hmac
import json
import os
import sys
import time
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import oidc_provider_mock
from authlib.common.encoding import urlsafe_b64decode, urlsafe_b64encode
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwk, jwt
from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # HTTP
HEADER = {"alg": "RS256", "kid": "the-key"}
KEY, OTHER_KEY = (jwk.RSAKey.generate_key(2048, {"kid": "the-key"}) for _ in range(2))
CHANGES = {
    "issuer": {"iss": "https://evil.example"},
    "nonce": {"nonce": "of another login"},
    "audience": {"aud": "another-client"},
    "expired": {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600},
}


def by_hand(header, claims):
    """Return a token that is signed with the public key as the secret, if it is signed."""
    text = b".".join(urlsafe_b64encode(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.digest(KEY.as_pem(private=False), text, "sha256")
    return (
        text + b"." + urlsafe_b64encode(signature if header["alg"] == "HS256" else b"")
    ).decode()


def sign(claims, kind):
    """Return an ID token, or a forged one."""
    claims |= CHANGES.get(kind, {})
    if kind == "unsigned":
        return by_hand({"alg": "none"}, claims)
    if kind == "hmac":
        return by_hand(HEADER | {"alg": "HS256"}, claims)
    return jwt.encode(HEADER, claims, OTHER_KEY if kind == "key" else KEY)


class Provider:
    """The provider, with keys of its own, so that it can sign any ID token."""

    def __init__(self):
        self.app = oidc_provider_mock.app(require_client_registration=True, require_nonce=True)
        self.kind, self.challenges = None, {}

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        path, form = environ["PATH_INFO"], parse_qs(body.decode())
        if path.startswith("/forge/"):
            self.kind = path.removeprefix("/forge/")
            return Response()(environ, start_response)
        if path == "/oauth2/token":
            challenge = create_s256_code_challenge(form["code_verifier"][0])
            if self.challenges.pop(form["code"][0], None) != challenge:
                return Response('{"error": "invalid_grant"}', 400)(environ, start_response)
        response = Response.from_app(self.app, environ, buffered=True)
        if path == "/oauth2/authorize" and response.location:
            [code] = parse_qs(urlsplit(response.location).query)["code"]
            self.challenges[code] = Request(environ).args["code_challenge"]
        elif path == "/oauth2/token":
            token = json.loads(response.data)
            claims = json.loads(urlsafe_b64decode(token["id_token"].split(".")[1].encode()))
            response.data = json.dumps(token | {"id_token": sign(claims, self.kind)})
        elif path == "/jwks":
            response.data = json.dumps({"keys": [KEY.as_dict(private=False)]})
        return response(environ, start_response)


run_simple(sys.argv[1], int(sys.argv[2]), Provider(), threaded=True)
