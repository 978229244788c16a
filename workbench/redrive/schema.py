"""What sent values must fit: a JSON schema, or a pydantic model of the user's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import RedriveError, UsageError
from workbench.redrive.transform import Outcome, Transform, file_hash, file_of, loaded_name, require_same

OPTION = "--schema"
_HINT = "Give FILE.json (a JSON schema) or path.py:Model (a pydantic model)."

Check = Callable[[bytes | None], str]  # why a value does not fit; empty where it does


def describe(text: str | None) -> dict[str, str] | None:
    """A schema as the plan holds it.

    Raises:
        UsageError: its file cannot be read, or holds no schema.
    """
    if not text:
        return None
    if ".py:" in text:
        return {"kind": "model", "model": text, "sha256": file_hash(file_of(text), OPTION)}
    digest = file_hash(Path(text), OPTION)
    _json_schema(Path(text))
    return {"kind": "json-schema", "file": text, "sha256": digest}


def load(described: Mapping[str, str] | None, given: str | None, transform: Transform) -> Transform:
    """A transformation followed by the check of what it gives.

    Raises:
        RedriveError: the schema is not the plan's, or was changed since.
        UsageError: it cannot be loaded.
    """
    if described is None:
        if given:
            raise RedriveError("The plan has no schema.", hint=f"Make a plan with this {OPTION}.")
        return transform
    if described["kind"] == "model":
        require_same(OPTION, described["model"], described["sha256"], given)
        return _checked(transform, _by_model(described["model"]))
    require_same(OPTION, described["file"], described["sha256"], given or described["file"])
    return _checked(transform, _json_schema(Path(described["file"])))


def _checked(transform: Transform, check: Check) -> Transform:
    def transformed(records: Sequence[Any]) -> list[Outcome]:
        return [_fitting(outcome, check) for outcome in transform(records)]

    return transformed


def _fitting(outcome: Outcome, check: Check) -> Outcome:
    if outcome.record is None:
        return outcome
    why = check(outcome.record.value)
    return Outcome(None, "schema_failed", why) if why else outcome


def _by_model(text: str) -> Check:
    from pydantic import BaseModel, ValidationError

    model = loaded_name(text, OPTION)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise UsageError(f"{OPTION}: {text} is no pydantic model.", hint=_HINT)

    def check(value: bytes | None) -> str:
        try:
            model.model_validate_json(value or b"")
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            return f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['type']}"
        return ""

    return check


def _json_schema(file: Path) -> Check:
    """References lead nowhere but into the file itself: nothing is fetched."""
    import jsonschema
    from jsonschema.validators import SPECIFICATIONS, validator_for

    try:
        schema = json.loads(file.read_bytes())
        kind = validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
    except (OSError, ValueError, RecursionError, jsonschema.SchemaError) as error:
        raise UsageError(f"{OPTION}: {file} is no JSON schema: {type(error).__name__}.", hint=_HINT) from None
    validator = kind(schema, registry=SPECIFICATIONS)

    def check(value: bytes | None) -> str:
        try:
            document = json.loads(value or b"")
        except (ValueError, RecursionError):
            return "value: not JSON"
        try:
            found = next(iter(validator.iter_errors(document)), None)
        except Exception as error:  # noqa: BLE001 - the library's own kinds: a reference that leads nowhere
            return f"schema: {type(error).__name__}"
        return f"{found.json_path}: {found.validator}" if found else ""

    return check
