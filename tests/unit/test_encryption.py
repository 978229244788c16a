"""AES-256-GCM of message values: vectors of others, rotation, and that nothing altered ever opens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import encryption
from workbench.encryption import KEY_ID_HEADER, Keyring, associated_data, is_encrypted
from workbench.errors import ConfigError, EncryptionError

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
PLACE = {"topic": "user.events", "message_id": "m-1"}

# Key, nonce, associated data, plaintext, ciphertext, tag: AES-256 cases of the GCM submission to NIST (McGrew, Viega).
K16 = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
P15 = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
C15 = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)
VECTORS = {
    "13": ("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    "14": ("00" * 32, "00" * 12, "", "00" * 16, "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"),
    "15": (K16, "cafebabefacedbaddecaf888", "", P15, C15, "b094dac5d93471bdec1a502270e3cc6c"),
    "16": (
        K16, "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2", P15[:120], C15[:120],
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
}  # fmt: skip


@pytest.fixture
def ring() -> Keyring:
    return Keyring({"2026-01": OLD}, "2026-01")


@pytest.mark.parametrize("case", VECTORS)
def test_it_is_the_cipher_of_the_standard(case, monkeypatch):
    key, nonce, data, clear, sealed, tag = (bytes.fromhex(text) for text in VECTORS[case])
    monkeypatch.setattr(encryption, "associated_data", lambda *_: data)
    monkeypatch.setattr(encryption.os, "urandom", lambda _: nonce)
    ring = Keyring({"k": key}, "k")
    value, headers = ring.encrypt(clear, **PLACE)
    assert value == nonce + sealed + tag
    assert ring.decrypt(value, headers, **PLACE) == clear


def test_a_value_sealed_by_an_earlier_version_still_opens(ring):
    """The form on the wire is a contract with records that are stored for years."""
    stored = bytes.fromhex("000102030405060708090a0b3c20a368a0978b7faf7bb5ba93940d5293fca2c1c51735dc855cd9616fc2")
    assert ring.decrypt(stored, [(KEY_ID_HEADER, b"2026-01")], **PLACE) == b'{"userId":"1"}'


def test_each_message_gets_a_nonce_of_its_own(ring):
    values = [ring.encrypt(b"same", **PLACE)[0] for _ in range(2000)]
    assert len({value[:12] for value in values}) == len(set(values)) == 2000


def test_after_rotation_old_messages_open_and_new_ones_use_the_new_key(ring):
    old = ring.encrypt(b"old", **PLACE)
    both = Keyring({"2026-01": OLD, "2026-02": NEW}, "2026-02")
    new = both.encrypt(b"new", **PLACE)
    assert new[1] == [(KEY_ID_HEADER, b"2026-02")]
    assert (both.decrypt(*old, **PLACE), both.decrypt(*new, **PLACE)) == (b"old", b"new")
    with pytest.raises(EncryptionError, match="key '2026-02', which is not here") as caught:
        ring.decrypt(*new, **PLACE)
    assert caught.value.hint == "Known are 2026-01."


@settings(max_examples=50)
@given(value=st.binary(max_size=200), at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_one_changed_bit_anywhere_and_it_does_not_open(value, at, bit):
    ring = Keyring({"k": OLD}, "k")
    sealed, headers = ring.encrypt(value, **PLACE)
    assert ring.decrypt(sealed, headers, **PLACE) == value
    altered = bytearray(sealed)
    altered[at % len(sealed)] ^= 1 << bit
    with pytest.raises(EncryptionError, match="altered"):
        ring.decrypt(bytes(altered), headers, **PLACE)


@pytest.mark.parametrize(
    "place", [{"topic": "user.event"}, {"message_id": "m-2"}, {"topic": "user.eventsm", "message_id": "-1"}]
)
def test_a_value_that_was_moved_does_not_open(ring, place):
    sealed = ring.encrypt(b"content", **PLACE)
    with pytest.raises(EncryptionError, match="moved to another topic or message id"):
        ring.decrypt(*sealed, **{**PLACE, **place})


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
@settings(max_examples=50)
def test_no_two_places_have_the_same_associated_data(one, other):
    assert (associated_data(*one) == associated_data(*other)) == (one == other)


def test_another_key_of_the_same_name_does_not_open(ring):
    with pytest.raises(EncryptionError, match="the key is another one of the same name"):
        Keyring({"2026-01": NEW}, "2026-01").decrypt(*ring.encrypt(b"content", **PLACE), **PLACE)


@pytest.mark.parametrize(
    ("value", "headers", "said"),
    [
        (b"clear text that somebody put there", [], "not encrypted: its header encryption-key-id names no key"),
        (b"x" * 40, [(KEY_ID_HEADER, None)], "names no key"),
        (b"x" * 40, [(KEY_ID_HEADER, b"2026-01"), (KEY_ID_HEADER, b"2026-02")], "names several keys"),
        (b"x" * 27, [(KEY_ID_HEADER, b"2026-01")], "shorter than an encrypted one can be"),
        (b"x" * 40, [(KEY_ID_HEADER, b"\xff\x1b" * 500)], "which is not here"),
    ],
)
def test_what_is_not_ours_is_refused_in_a_short_sentence(ring, value, headers, said):
    with pytest.raises(EncryptionError, match=said) as caught:
        ring.decrypt(value, headers, **PLACE)
    assert len(str(caught.value)) < 500
    assert is_encrypted(headers) == bool(headers)


@pytest.mark.parametrize(
    ("keys", "active"), [({"k": b"short"}, "k"), ({"": OLD}, ""), ({"k": OLD}, "other"), ({}, "k")]
)
def test_keys_that_cannot_serve_are_refused(keys, active):
    with pytest.raises(ConfigError):
        Keyring(keys, active)


@pytest.mark.parametrize("text", ["not-hex-but-hush", "abcd", OLD.hex() + "00"])
def test_no_text_shows_a_key(text):
    with pytest.raises(ConfigError) as caught:
        Keyring.from_hex({"k": text}, "k")
    shown = f"{caught.value} {caught.value.hint} {caught.value!r} {Keyring.from_hex({'k': OLD.hex()}, 'k')!r}"
    assert text not in shown
    assert OLD.hex() not in shown


def test_a_key_that_is_used_up_encrypts_no_more(ring, monkeypatch):
    monkeypatch.setattr(encryption, "MOST_MESSAGES", 1)
    ring.encrypt(b"first", **PLACE)
    with pytest.raises(EncryptionError, match="has encrypted"):
        ring.encrypt(b"second", **PLACE)
