"""PostgreSQL beside Kafka: a table that messages go to, or an outbox that they come from."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from workbench.errors import SandboxError
from workbench.sandbox.stack.service import ServicePlan, require_program

USER = "workbench"
_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=127.0.0.1")


def require_postgres() -> Path:
    """The server's program.

    Raises:
        SandboxError: it is not installed.
    """
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: path.parts[-3].zfill(3))
    return newest[-1] if newest else require_program(("postgres",), "postgresql")


def plan_postgres(folder: Path, port: int) -> ServicePlan:
    """Plans the server, on a data folder that is made when there is none.

    Args:
        folder: of the stack.
        port: a free one.
    """
    program, mine = require_postgres().resolve(), folder / "postgres"
    data, user = mine / "data", _account()
    if not (data / "PG_VERSION").is_file():
        _make(program.parent / "initdb", mine, data, user)
    mark = f"unix_socket_directories={mine}"
    settings = [word for one in (*_SETTINGS, f"port={port}", mark) for word in ("-c", one)]
    address = f"postgresql://{USER}@127.0.0.1:{port}/postgres"
    return ServicePlan(
        "postgres", (str(program), "-D", str(data), *settings), mark, mine, address, {"postgres": address}, user=user
    )


def _account() -> str | None:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise SandboxError(f"PostgreSQL does not run as {getpass.getuser()}.", hint="Use another account.")


def _make(initdb: Path, mine: Path, data: Path, user: str | None) -> None:
    mine.mkdir(parents=True, exist_ok=True)
    if user:
        shutil.chown(mine, user)
        _open_way(mine, user)
    command = [str(initdb), "-D", str(data), "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-sync", "--locale=C"]
    made = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False)
    if made.returncode:
        said = (made.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SandboxError(f"PostgreSQL's data could not be made: {said}", hint=f"Look into {mine}.")


def _open_way(folder: Path, user: str) -> None:
    """Lets another account come as far as a folder; only the stack's folder and temporary ones are ours to open.

    Raises:
        SandboxError: a folder above is closed, such as root's home.
    """
    temporary = Path(tempfile.gettempdir()).resolve()
    for parent in folder.resolve().parents:
        found = parent.stat()
        if found.st_mode & 0o001:
            continue
        if parent != folder.resolve().parent and temporary not in parent.parents:
            raise SandboxError(
                f"PostgreSQL runs as {user} here, who cannot reach {folder}: {parent} is closed.",
                hint="Set WORKBENCH_SANDBOX_DIR to a folder that others may pass, or use another account.",
            )
        parent.chmod(found.st_mode | 0o011)
