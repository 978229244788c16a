"""Webhooks: told when the verdict is another one than they were told last, and again where that failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from workbench.report import EXIT_CODES
from workbench.services.schedule.shelf import FAILED, Run, Shelf

if TYPE_CHECKING:
    from pathlib import Path

_STATE = "told.json"
_SECONDS = 10.0
_ATTEMPTS = 3
_LASTS = timedelta(days=7)  # an alert that nobody resolves ends by itself
QUIET = frozenset({verdict for verdict, code in EXIT_CODES.items() if code == 0})


def tell(webhooks: Mapping[str, Mapping[str, Any]], shelf: Shelf, run: Run) -> dict[str, str]:
    """Tells each webhook of a verdict that it does not know yet.

    A first verdict that is ok or info is no news.

    Returns:
        Webhooks that could not be told -> why; they are told at the next run.
    """
    import httpx2

    told, untold = _told(shelf.folder), {}
    for name, hook in webhooks.items():
        before = told.get(name)
        if run.verdict == before or (before is None and run.verdict in QUIET):
            continue
        try:
            _send(hook, run, before, _sentence(shelf, run))
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            untold[name] = _why(error)
            continue
        told[name] = str(run.verdict)
        _keep(shelf.folder, told)
    return untold


def _told(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / _STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _keep(folder: Path, told: Mapping[str, str]) -> None:
    partial = folder / f"{_STATE}.partial"
    partial.write_text(json.dumps(dict(told)) + "\n", encoding="utf-8")
    partial.replace(folder / _STATE)


def _why(error: Exception) -> str:
    """Without the address: it often is the secret."""
    import httpx2

    if isinstance(error, httpx2.HTTPStatusError):
        return f"it answered {error.response.status_code}"
    return "it did not answer in time" if isinstance(error, httpx2.TimeoutException) else type(error).__name__


def _sentence(shelf: Shelf, run: Run) -> str:
    if run.verdict == FAILED:
        return f"The run failed: {run.error}"
    report = shelf.report(run) or {}
    parts = [part for part in (report, *report.get("reports", ())) if part.get("findings")]
    found = [
        f"{part['facts'].get('integration') or part['problem']}: {part['findings'][0]['summary']}" for part in parts
    ]
    return found[0] if found else "No finding."


def _send(hook: Mapping[str, Any], run: Run, before: str | None, sentence: str) -> None:
    import httpx2
    import stamina

    body = _alerts(run, sentence) if hook["kind"] == "alertmanager" else _slack(run, before, sentence)
    url = str(hook["url"]).rstrip("/") + ("/api/v2/alerts" if hook["kind"] == "alertmanager" else "")
    for attempt in stamina.retry_context(on=httpx2.TransportError, attempts=_ATTEMPTS, timeout=3 * _SECONDS):
        with attempt:
            httpx2.post(url, json=body, timeout=_SECONDS).raise_for_status()


def _slack(run: Run, before: str | None, sentence: str) -> dict[str, str]:
    # Slack reads & < > as its own marks; texts of messages must not become links or calls to a channel.
    plain = sentence.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": f"workbench: {before or 'first report'} → *{run.verdict}* ({run.started[:19]} UTC). {plain}"}


def _alerts(run: Run, sentence: str) -> list[dict[str, Any]]:
    quiet, now = run.verdict in QUIET, datetime.now(UTC)
    return [
        {
            "labels": {"alertname": "WorkbenchVerdict", "source": "workbench schedule"},
            "annotations": {"summary": f"The verdict is {run.verdict}.", "description": sentence},
            "startsAt": run.started,
            "endsAt": (now if quiet else now + _LASTS).isoformat(timespec="milliseconds"),
        }
    ]
