"""A schema registry with Confluent's API: schemas by the ids that records carry, each asked for once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from workbench.errors import ConfigError, NotFound, SourceError
from workbench.sources.formats.model import Decode, Unknown
from workbench.sources.http import Endpoint

DEEPEST = 20  # references of references


class Registry:
    """The registry of a profile.

    Args:
        settings: ``url`` and its authentication, as in ``[profiles.NAME] registry``.

    Raises:
        ConfigError: there is no address.

    Reads: GET /schemas/ids/ID, /subjects/SUBJECT/versions/VERSION (for references), /subjects (to see whether it answers).
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.endpoint = Endpoint("The schema registry", settings)
        self._decoders: dict[int, Decode | Unknown] = {}
        self._gone: Unknown | None = None

    def close(self) -> None:
        """Frees its connections."""
        self.endpoint.close()

    def check(self) -> str:
        """How many subjects it has.

        Raises:
            SourceError: it does not answer, or refuses.
        """
        found = self.endpoint.get("/subjects")
        return f"{len(found) if isinstance(found, list) else 'unknown'} subjects"

    def decoder(self, schema_id: int) -> Decode:
        """What decodes the payloads of a schema.

        Raises:
            Unknown: the registry does not have it, cannot be reached (then it is not asked again), or the schema is of no
                use; the text says which.
        """
        if schema_id not in self._decoders:
            if self._gone is not None:
                raise self._gone
            self._decoders[schema_id] = self._asked(schema_id)
        found = self._decoders[schema_id]
        if isinstance(found, Unknown):
            raise found
        return found

    def _asked(self, schema_id: int) -> Decode | Unknown:
        try:
            return self._made(schema_id)
        except Unknown as why:
            return why
        except NotFound:
            return Unknown(f"schema {schema_id} is not in the registry")
        except SourceError as error:
            self._gone = Unknown(str(error).rstrip("."))
            return self._gone
        except ConfigError as error:
            return Unknown(str(error).rstrip("."))
        except Exception as error:  # noqa: BLE001 - schemas are strangers' texts, and their parsers raise what they like
            return Unknown(f"schema {schema_id} cannot be used ({type(error).__name__})")

    def _made(self, schema_id: int) -> Decode:
        answer = self.endpoint.get(f"/schemas/ids/{schema_id}")
        if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
            return _refusing(f"the registry's answer for schema {schema_id} is none")
        kind = str(answer.get("schemaType") or "AVRO").upper()
        if kind == "AVRO":
            from workbench.sources.formats import avro

            return avro.decoder(answer["schema"], self._references(answer))
        if kind == "PROTOBUF":
            from workbench.sources.formats import protobuf

            return protobuf.decoder(self._serialized(f"/schemas/ids/{schema_id}", answer))
        if kind == "JSON":
            from workbench.sources.formats import plain

            return plain.json_document
        return _refusing(f"schema {schema_id} is of the kind {kind[:30]!r}")

    def _references(self, answer: Mapping[str, Any], depth: int = 0) -> list[str]:
        """The schemas that a schema names, those they name before them."""
        out: list[str] = []
        for one in answer.get("references") or ():
            if depth > DEEPEST:  # a circle
                break
            found = self.endpoint.get(_version(one))
            out += [*self._references(found, depth + 1), str(found["schema"])]
        return list(dict.fromkeys(out))

    def _serialized(self, path: str, answer: Mapping[str, Any], name: str = "") -> list[tuple[str, str]]:
        """(name, descriptor) of a Protobuf schema and those it names, its own last; [] where the registry has none."""
        out: list[tuple[str, str]] = []
        for one in answer.get("references") or ():
            found = self.endpoint.get(_version(one))
            out += self._serialized(_version(one), found if isinstance(found, dict) else {}, str(one.get("name") or ""))
        try:
            found = self.endpoint.get(path, {"format": "serialized"})
        except SourceError:
            return []
        text = found.get("schema") if isinstance(found, dict) else None
        return [*out, (name, text)] if isinstance(text, str) else []


def _version(reference: Mapping[str, Any]) -> str:
    return f"/subjects/{quote(str(reference['subject']), safe='')}/versions/{quote(str(reference['version']), safe='')}"


def _refusing(why: str) -> Decode:
    raise Unknown(why)
