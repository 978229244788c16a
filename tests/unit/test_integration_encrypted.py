"""A service with keys: encrypted in, encrypted out; what is altered or in clear is refused for good, and so dead-lettered."""

from __future__ import annotations

import pytest

from workbench.encryption import Keyring
from workbench.errors import EncryptionError
from workbench.integration.config import parse_integration
from workbench.integration.failures import Category, category_of
from workbench.integration.formats import Event, Notification
from workbench.integration.records import Record
from workbench.integration.service import NotificationHandler, _keyring

KEYS = Keyring({"2026-01": bytes(32)}, "2026-01")
EVENT = Event.new("user-service", "user.created", {"userId": "1", "email": "hush@example.com"})


def record(value: bytes, headers: list[tuple[str, bytes]], topic: str = "user.events") -> Record:
    return Record(topic, 0, 7, 0, b"1", value, [("message-id", EVENT.message_id.encode()), *headers])


def sealed() -> tuple[bytes, list[tuple[str, bytes]]]:
    return KEYS.encrypt(EVENT.to_wire(), topic="user.events", message_id=EVENT.message_id)


def test_an_encrypted_event_becomes_an_encrypted_notification():
    (out,) = NotificationHandler("user.notifications", keyring=KEYS)(record(*sealed()))
    assert b"hush" not in out.value
    clear = KEYS.decrypt(out.value, out.headers, topic="user.notifications", message_id=EVENT.message_id)
    assert Notification.from_wire(clear).email == "hush@example.com"


@pytest.mark.parametrize(
    "bad",
    [
        record(sealed()[0][:-1] + b"\x00\x00", sealed()[1]),
        record(EVENT.to_wire(), []),
        record(*sealed(), topic="user.others"),
        record(b"", []),
    ],
    ids=["altered", "in clear", "moved", "empty"],
)
def test_what_cannot_be_opened_is_a_permanent_failure_without_content(bad):
    with pytest.raises(EncryptionError) as caught:
        NotificationHandler("user.notifications", keyring=KEYS)(bad)
    assert category_of(caught.value) is Category.PERMANENT
    assert "hush" not in f"{caught.value} {caught.value.hint}"


def test_the_keys_of_the_file_are_used():
    flow = {"producer": {"brokers": "b:1"}, "consumer": {"brokers": "b:1", "groupId": "g"}}
    keys = {"encryption": {"activeKey": "2026-01", "encryptionKeys": {"2026-01": "00" * 32}}}
    ring = _keyring(parse_integration({"integration": {**flow, **keys}}))
    assert ring is not None
    assert ring.decrypt(*sealed(), topic="user.events", message_id=EVENT.message_id) == EVENT.to_wire()
    assert _keyring(parse_integration({"integration": flow})) is None
