"""API keys: signed tokens that name a client. And the secrets behind them, made on first start and never shown.

The signing secret and the admin token live in `secrets/` of the data folder, readable by their owner alone. Every service
of a market that is given the same folder accepts the same keys.
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
"""Who the admin token is. No client can have this name."""


def read_or_make_secret(path: Path) -> str:
    """The secret in the file `path`; made from 32 random bytes, with mode 0600, if there is none.

    Safe against several processes doing so at once: one of them makes it, all read the same.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        aside = _write_aside(path, secrets.token_urlsafe(32))
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Puts `text` into the file `path`, durably, whole or not at all, and for its owner alone."""
    _write_aside(path, text).replace(path)


def _write_aside(path: Path, text: str) -> Path:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return aside


class IssuedKey(NamedTuple):
    """A new API key, and the id by which it is listed and revoked."""

    key: str
    key_id: str


class Keys:
    """Issues and checks API keys."""

    def __init__(self, data_dir: Path) -> None:
        folder = data_dir / "secrets"
        self.admin_token_file = folder / "admin-token"
        self._secret = read_or_make_secret(folder / "signing-secret")
        self._admin_token = read_or_make_secret(self.admin_token_file)
        self._read = lru_cache(maxsize=65536)(self._verify)
        self.revoked: set[str] = set()
        """Ids of keys that are no longer valid; the service keeps it as `data_feed` says."""

    def issue(self, client_id: str) -> IssuedKey:
        """A new key of `client_id`."""
        key_id = secrets.token_hex(8)
        claims = {"sub": client_id, "iat": int(time.time()), "jti": key_id}
        return IssuedKey(jwt.encode(claims, self._secret, algorithm=_ALGORITHM), key_id)

    def derived(self, purpose: str) -> str:
        """A secret for one purpose, which all services have that are given the same folder."""
        return hmac.digest(self._secret.encode(), purpose.encode(), "sha256").hex()

    def _verify(self, key: str) -> tuple[str, str]:
        try:
            claims = jwt.decode(
                key, self._secret, algorithms=[_ALGORITHM], options={"require": ["sub", "jti"], "verify_iat": False}
            )
        except jwt.InvalidTokenError as error:
            raise Refusal(Code.UNAUTHENTICATED, "the API key is not valid: use the one that POST /clients gave") from error
        return str(claims["sub"]), str(claims["jti"])

    def identify(self, key: str) -> tuple[str, str]:
        """Whose `key` it is, and its id; the admin's token has none. Raises `Refusal` (`UNAUTHENTICATED`)."""
        if compare_digest(key.encode(), self._admin_token.encode()):
            return ADMIN, ""
        client_id, key_id = self._read(key)
        if key_id in self.revoked:
            raise Refusal(Code.UNAUTHENTICATED, "this API key was revoked: use another one of yours")
        return client_id, key_id


def key_in(authorization: str | None) -> str:
    """The key in an `Authorization: Bearer KEY` header. Raises `Refusal` (`UNAUTHENTICATED`)."""
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Refusal(Code.UNAUTHENTICATED, "send your API key in the header 'Authorization: Bearer KEY'")
    return key.strip()
