"""Message values under AES-256-GCM: a fresh nonce for each, a key id for rotation, bound to their topic and message id.

The value on the wire is the 96-bit nonce, the ciphertext and the 128-bit tag, one after the other. The header
``encryption-key-id`` says which key; it is text that anyone could have written, and so it is believed only as far as the tag
agrees. The associated data are topic and message id, each after its length: a value that is moved to another topic, or given
another id, does not open.

A key must not see more than 2**32 random nonces (NIST SP 800-38D, 8.3), over all processes that share it: rotate before. Rotation
is two steps: give the new key to all who read, then make it the active one of those who write.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workbench.errors import ConfigError, EncryptionError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_ID_HEADER = "encryption-key-id"
KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16
MOST_MESSAGES = 2**32

Headers = Sequence[tuple[str, bytes | None]]


class Keyring:
    """The keys of a flow: one that encrypts, and all that may still be needed to decrypt.

    Safe to share between threads. ``repr`` shows key ids only.

    Args:
        keys: key id -> 32 bytes.
        active: id of the key for new messages.

    Raises:
        ConfigError: a key has another length, an id is empty, or the active key is not there.
    """

    def __init__(self, keys: Mapping[str, bytes], active: str) -> None:
        for key_id, key in keys.items():
            if len(key) != KEY_BYTES or not key_id:
                hint = "Make one: openssl rand -hex 32"
                raise ConfigError(f"The encryption key {key_id!r} must have 256 bits and a name.", hint=hint)
        if active not in keys:
            raise ConfigError(f"There is no encryption key {active!r}.", hint=_known(keys))
        self._keys = dict(keys)
        self._used = 0
        self.active = active

    @classmethod
    def from_hex(cls, keys: Mapping[str, str], active: str) -> Keyring:
        """The same from 64 hex digits a key, as they stand in environment variables.

        Raises:
            ConfigError: a key is something else; its text is not shown.
        """
        try:
            return cls({key_id: bytes.fromhex(text) for key_id, text in keys.items()}, active)
        except ValueError:
            raise ConfigError(
                "An encryption key must be 64 hex digits.", hint="Make one: openssl rand -hex 32"
            ) from None

    def __repr__(self) -> str:
        return f"Keyring({sorted(self._keys)}, active={self.active!r})"

    def encrypt(self, value: bytes, *, topic: str, message_id: str) -> tuple[bytes, list[tuple[str, bytes]]]:
        """The sealed value and the header that belongs to it.

        Raises:
            EncryptionError: this process has used up what one key may encrypt.
        """
        if self._used >= MOST_MESSAGES:
            raise EncryptionError(f"The key {self.active!r} has encrypted 2**32 messages.", hint="Rotate the key.")
        # Not exact among threads, and need not be: the bound has a margin of many orders.
        self._used += 1
        nonce = os.urandom(NONCE_BYTES)
        sealed = _gcm(self._keys[self.active]).encrypt(nonce, value, associated_data(topic, message_id))
        return nonce + sealed, [(KEY_ID_HEADER, self.active.encode())]

    def decrypt(self, value: bytes, headers: Headers, *, topic: str, message_id: str) -> bytes:
        """The value in clear.

        Args:
            value: as it was read.
            headers: of the record; they name the key.
            topic: that it was encrypted for: for a dead letter or a redrive, its first topic.
            message_id: of the message.

        Raises:
            EncryptionError: not encrypted, an unknown key, or altered; nothing of the content is given out.
        """
        from cryptography.exceptions import InvalidTag

        key_id = _key_id(headers)
        key = self._keys.get(key_id)
        if key is None:
            sentence = f"The message is encrypted with the key {key_id[:64]!r}, which is not here."
            raise EncryptionError(sentence, hint=_known(self._keys))
        if len(value) < NONCE_BYTES + TAG_BYTES:
            raise EncryptionError("The message is shorter than an encrypted one can be.", hint="It was cut or altered.")
        nonce, sealed = value[:NONCE_BYTES], value[NONCE_BYTES:]
        try:
            return _gcm(key).decrypt(nonce, sealed, associated_data(topic, message_id))
        except InvalidTag:
            raise EncryptionError(
                f"The message cannot be opened with the key {key_id!r}: it was altered, was moved to another topic or"
                " message id, or the key is another one of the same name.",
                hint="Do not process it. Compare topic, message id and key with the sender's.",
            ) from None


def is_encrypted(headers: Headers) -> bool:
    """Whether a record says that its value is encrypted."""
    return any(name == KEY_ID_HEADER for name, _ in headers)


def associated_data(topic: str, message_id: str) -> bytes:
    """Topic and message id, each after its length in bytes, so that no two pairs give the same."""
    parts = topic.encode(), message_id.encode("utf-8", "surrogatepass")
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _key_id(headers: Headers) -> str:
    """The key id; a record without one is refused, or whoever drops the header could put clear text in its place."""
    found = [value for name, value in headers if name == KEY_ID_HEADER]
    if len(found) != 1 or not found[0]:
        said = "names no key" if not found or not found[0] else "names several keys"
        raise EncryptionError(
            f"The message is not encrypted: its header {KEY_ID_HEADER} {said}.", hint="Do not process it."
        )
    return found[0].decode("utf-8", "replace")


def _known(keys: Mapping[str, bytes]) -> str:
    return f"Known are {', '.join(sorted(keys))}." if keys else "No key was given."


def _gcm(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
