"""Which integrations a health report is about."""

from __future__ import annotations

from typing import Any

from workbench.config import Config, Integration
from workbench.errors import UsageError
from workbench.problems.scope import Scope, scope_from


def scopes_from(config: Config, profile: str, named: Integration | None = None, **options: Any) -> dict[str, Scope]:
    """Name -> scope: the integration that was named, the topics that were, or else all integrations of the profile.

    Args:
        config: workbench.toml.
        profile: whose integrations are meant where none is named.
        named: the integration that was.
        **options: as of ``workbench check``; they apply to each.

    Raises:
        UsageError: the profile has no integration, or an option does not fit.
        ConfigError: a variable of an integration is not set.
    """
    options = {**config.reading(), **options}
    if named is not None:
        return {named.name: scope_from(named, **options)}
    if options.get("source"):
        return {"": scope_from(**options)}
    found = [one for name in sorted(config.integrations) if (one := config.integration(name)).profile == profile]
    if not found:
        raise UsageError(
            f"There is no integration of profile {profile!r}.",
            hint="Write one under [integrations.NAME] of workbench.toml (`workbench discover` proposes it), or give --source.",
        )
    return {one.name: scope_from(one, **options) for one in found}
