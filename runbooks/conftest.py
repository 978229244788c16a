"""How nbval starts the kernels of the runbooks' tests."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path

import nbval.kernel
from jupyter_client.manager import KernelManager

_SOCKETS = tempfile.TemporaryDirectory(prefix="kernels-")


def _kernel_manager(**traits: object) -> KernelManager:
    """A manager whose kernel talks over Unix sockets.

    Ports that were free when a kernel was started may be taken by a broker of a test beside it before the kernel binds them.
    """
    return KernelManager(transport="ipc", ip=str(Path(_SOCKETS.name) / uuid.uuid4().hex[:12]), **traits)


if os.name == "posix":
    nbval.kernel.KernelManager = _kernel_manager
