"""The integration's own document: written from the running system, kept true by a check, with room for what only people know."""

from workbench.services.document.drift import differences
from workbench.services.document.facts import observe
from workbench.services.document.kept import kept_blocks
from workbench.services.document.page import facts_of, page
from workbench.services.document.spec import asyncapi

__all__ = ["asyncapi", "differences", "facts_of", "kept_blocks", "observe", "page"]
