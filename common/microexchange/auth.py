"""API keys, and the secrets that they are made with.

An API key is a signed token that names a client. The signing secret and the admin token are files in `secrets/` of the data
folder, which only their owner can read. The first service that starts makes them. Services with the same data folder accept
the same keys.
"""

import hmac
import os
import secrets
import time
from functools import lru_cache
from hmac import compare_digest
from pathlib import Path
from typing import NamedTuple

import jwt

from microexchange.refusals import Code, Refusal

_ALGORITHM = "HS256"
ADMIN = "admin"
"""The name of the owner of the admin token. No client can have it."""


def read_or_make_secret(path: Path) -> str:
    """Return the secret in the file `path`. If there is no file, make it from 32 random bytes, with mode 0600.

    Several processes may call this at the same time: one of them makes the file, and all return its secret.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        temporary = _write_temporary(path, secrets.token_urlsafe(32))
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write `text` to the file `path`, durably and atomically. Only its owner can read it."""
    _write_temporary(path, text).replace(path)


def _write_temporary(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return temporary


class IssuedKey(NamedTuple):
    """A new API key, and its id. Keys are listed and revoked by their ids."""

    key: str
    key_id: str


class Keys:
    """The API keys of a market: it issues and checks them."""

    def __init__(self, data_dir: Path) -> None:
        folder = data_dir / "secrets"
        self.admin_token_file = folder / "admin-token"
        self._secret = read_or_make_secret(folder / "signing-secret")
        self._admin_token = read_or_make_secret(self.admin_token_file)
        self._read = lru_cache(maxsize=65536)(self._verify)
        self.revoked: set[str] = set()
        """The ids of revoked keys. The service adds them as it reads `data_feed`."""

    @property
    def admin_token(self) -> str:
        """The token of the admin."""
        return self._admin_token

    def issue(self, client_id: str) -> IssuedKey:
        """Return a new key of `client_id`."""
        key_id = secrets.token_hex(8)
        claims = {"sub": client_id, "iat": int(time.time()), "jti": key_id}
        return IssuedKey(jwt.encode(claims, self._secret, algorithm=_ALGORITHM), key_id)

    def derived(self, purpose: str) -> str:
        """Return a secret for one purpose. It is the same in all services with the same data folder."""
        return hmac.digest(self._secret.encode(), purpose.encode(), "sha256").hex()

    def _verify(self, key: str) -> tuple[str, str]:
        try:
            claims = jwt.decode(
                key, self._secret, algorithms=[_ALGORITHM], options={"require": ["sub", "jti"], "verify_iat": False}
            )
        except jwt.InvalidTokenError as error:
            text = "the API key is not valid: use the key that POST /clients returned"
            raise Refusal(Code.UNAUTHENTICATED, text) from error
        return str(claims["sub"]), str(claims["jti"])

    def identify(self, key: str) -> tuple[str, str]:
        """Return the owner of `key` and its id. The admin token has an empty id.

        Raises:
            Refusal: `UNAUTHENTICATED`, if the key is not valid or was revoked.
        """
        if compare_digest(key.encode(), self._admin_token.encode()):
            return ADMIN, ""
        client_id, key_id = self._read(key)
        if key_id in self.revoked:
            raise Refusal(Code.UNAUTHENTICATED, "this API key was revoked: use another key of yours")
        return client_id, key_id


def bearer_key(authorization: str | None) -> str:
    """Return the key of an `Authorization: Bearer KEY` header.

    Raises:
        Refusal: `UNAUTHENTICATED`, if there is none.
    """
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Refusal(Code.UNAUTHENTICATED, "send your API key in the header 'Authorization: Bearer KEY'")
    return key.strip()
