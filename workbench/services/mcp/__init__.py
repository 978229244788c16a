"""A Model Context Protocol server: the checks, evidence and runbooks for agents, read-only."""

from __future__ import annotations

from workbench.services.mcp.looking import Desk
from workbench.services.mcp.serving import server

__all__ = ["Desk", "server"]
