"""API keys: signed tokens that name a client. And the secrets behind them, made on first start and never shown.

The signing secret and the admin token live in `secrets/` of the data folder, readable by their owner alone. Every service
of a market that is given the same folder accepts the same keys.
"""

import os
import secrets
import time
from functools import lru_cache
from hmac import compare_digest
from pathlib import Path

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


class Keys:
    """Issues and checks API keys."""

    def __init__(self, data_dir: Path) -> None:
        folder = data_dir / "secrets"
        self.admin_token_file = folder / "admin-token"
        self._secret = read_or_make_secret(folder / "signing-secret")
        self._admin_token = read_or_make_secret(self.admin_token_file)
        self._client_of = lru_cache(maxsize=65536)(self._verify)

    def issue(self, client_id: str) -> str:
        """A new key of `client_id`."""
        claims = {"sub": client_id, "iat": int(time.time()), "jti": secrets.token_hex(8)}
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def _verify(self, key: str) -> str:
        try:
            claims = jwt.decode(
                key, self._secret, algorithms=[_ALGORITHM], options={"require": ["sub"], "verify_iat": False}
            )
        except jwt.InvalidTokenError as error:
            raise Refusal(Code.UNAUTHENTICATED, "the API key is not valid: use the one that POST /clients gave") from error
        return str(claims["sub"])

    def whose(self, key: str) -> str:
        """The client that `key` belongs to, or `ADMIN`. Raises `Refusal` (`UNAUTHENTICATED`)."""
        if compare_digest(key.encode(), self._admin_token.encode()):
            return ADMIN
        return self._client_of(key)

    def authenticate(self, authorization: str | None) -> str:
        """The client that an `Authorization: Bearer KEY` header names, or `ADMIN`. Raises `Refusal` (`UNAUTHENTICATED`)."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Refusal(Code.UNAUTHENTICATED, "send your API key in the header 'Authorization: Bearer KEY'")
        return self.whose(key.strip())


def require(who: str, client_id: str) -> None:
    """Raises `Refusal` (`FORBIDDEN`) unless `who` is that client or the admin."""
    if who not in (client_id, ADMIN):
        raise Refusal(Code.FORBIDDEN, f"this key is {who}'s and gives no access to what is {client_id}'s")
