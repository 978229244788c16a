"""What can go wrong in the workbench's own reach. Faults of a cluster are findings, never these errors.

WorkbenchError              something failed; ``hint`` says what to do next
├── UsageError              an option or parameter does not fit
│   └── ConfigError         workbench.toml or a profile does not fit
├── SourceError             a source (cluster, file, HTTP endpoint) could not answer
│   ├── SourceUnavailable   it cannot be reached, or did not answer in time
│   ├── AccessDenied        it answered that this principal may not
│   └── NotFound            it answered that the thing does not exist
├── EvidenceError           an evidence folder is damaged, incomplete or of another version
├── EncryptionError         a message cannot be opened: altered, or no key for it
├── NotebookError           a notebook failed while it ran
├── SandboxError            the sandbox could not start or stop
└── RedriveError            a redrive was refused or stopped

A class exists only where a caller acts differently. The command line prints ``str(error)`` and ``error.hint``
and ends with ``error.exit_code``: 1 for failures, 2 for usage and configuration.
"""

from __future__ import annotations

from typing import ClassVar


class WorkbenchError(Exception):
    """Base of all errors a user can meet; one clear sentence, and in ``hint`` the next step."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(WorkbenchError):
    """An option or parameter does not fit; nothing was read."""

    exit_code = 2


class ConfigError(UsageError):
    """workbench.toml, a profile or an integration does not fit; nothing was read."""


class SourceError(WorkbenchError):
    """A source failed.

    Attributes:
        source: which one, for example ``cluster``, ``prometheus``, ``sent log``.
        endpoint: its address or path, without credentials.
        retriable: whether the same call may succeed later.
    """

    def __init__(
        self, message: str, *, source: str, endpoint: str = "", hint: str = "", retriable: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.endpoint = endpoint
        self.retriable = retriable


class SourceUnavailable(SourceError):
    """The source cannot be reached or did not answer in time."""


class AccessDenied(SourceError):
    """The source refused this principal; the hint names the missing right."""


class NotFound(SourceError):
    """The source answered that the thing asked for does not exist."""


class EvidenceError(WorkbenchError):
    """An evidence folder cannot be used: damaged, incomplete, or of another version."""


class EncryptionError(WorkbenchError):
    """A message cannot be encrypted or opened; another attempt with the same bytes and keys fails the same way."""


class NotebookError(WorkbenchError):
    """A notebook failed while it ran.

    Attributes:
        notebook: its path.
        cell: index of the cell that failed, or None where none was reached.
        output: path of the partial executed notebook, or "" where there is none.
    """

    def __init__(self, message: str, *, notebook: str, cell: int | None, output: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.notebook = notebook
        self.cell = cell
        self.output = output


class SandboxError(WorkbenchError):
    """The sandbox could not start, stop or plant; the hint names the log to read."""


class RedriveError(WorkbenchError):
    """A redrive was refused before, or stopped while, it sent."""
