"""Sealing: what may leave memory in clear, and what leaves as a keyed hash.

Hashes are HMAC-SHA-256, cut to 128 bits, with a key that belongs to one profile's store, so that captures of one profile
can be compared with each other and with nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# E-mail addresses, phone numbers written as such, and card-like digit runs. RE2 syntax, shared by DuckDB and Python.
PERSONAL = (
    r"[^\s@]+@[^\s@]+\.[^\s@]+"
    r"|^\+[0-9][0-9 ().-]{6,18}$"
    r"|^\(?[0-9]{2,5}\)?[ ./-][0-9]{2,5}([ -][0-9]{2,5}){1,3}$"
    r"|^[0-9]{4}([ -]?[0-9]{4}){2}[ -]?[0-9]{1,7}$"
)

_BLOCK = 64  # bytes in a SHA-256 block


@dataclass(frozen=True, slots=True)
class Seal:
    """A hashing key; never shown, never part of an evidence folder."""

    key: bytes

    def __repr__(self) -> str:
        return "Seal(key=...)"

    @classmethod
    def fresh(cls) -> Seal:
        """A key that nobody keeps."""
        return cls(secrets.token_bytes(32))

    @classmethod
    def of_store(cls, profile: str) -> Seal:
        """The key of a profile's store, made on first use and kept for this user alone (mode 0600)."""
        import platformdirs

        name = hashlib.sha256(profile.encode()).hexdigest()[:16]
        path = Path(platformdirs.user_data_dir("workbench")) / "seals" / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return cls(path.read_bytes())
        with os.fdopen(handle, "wb") as file:
            key = secrets.token_bytes(32)
            file.write(key)
        return cls(key)

    def digest(self, data: bytes) -> str:
        """32 hex digits for some bytes; equal to what ``hmac_sql`` computes inside DuckDB."""
        return hmac.new(self.key, data, hashlib.sha256).hexdigest()[:32]

    def hmac_sql(self, blob: str) -> str:
        """A DuckDB expression for ``digest`` of the blob expression ``blob``."""
        padded = self.key.ljust(_BLOCK, b"\0")
        inner = _blob(bytes(byte ^ 0x36 for byte in padded))
        outer = _blob(bytes(byte ^ 0x5C for byte in padded))
        return f"left(sha256({outer} || unhex(sha256({inner} || {blob}))), 32)"


def sealed_columns(schema: pa.Schema, seal: Seal, show_ids: bool) -> list[str]:
    """SELECT expressions for a table's columns as they may leave memory."""
    out = []
    for column in schema:
        name = '"' + column.name.replace('"', '""') + '"'
        if column.name == "key":
            out.append(f"{seal.hmac_sql('key')} AS key_hash")
        elif column.name == "message_id" and not show_ids:
            hashed = f"'hmac:' || {seal.hmac_sql('encode(message_id)')}"
            personal = f"regexp_matches(message_id, {_text(PERSONAL)})"
            out.append(f"CASE WHEN {personal} THEN {hashed} ELSE message_id END AS message_id")
        else:
            out.append(name)
    return out


def _blob(data: bytes) -> str:
    return "'" + "".join(f"\\x{byte:02X}" for byte in data) + "'::BLOB"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
