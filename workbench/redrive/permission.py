"""Who may send: a profile that says so, and a person who knows which topic it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from workbench.config import Profile
from workbench.errors import RedriveError

_LOOKS_LIKE_PRODUCTION = re.compile(r"(?:^|[^a-z])(?:prod|production|prd|live)(?:$|[^a-z])", re.IGNORECASE)


def is_production(profile: Profile) -> bool:
    """Whether a profile is of production, or is called so."""
    return profile.production or bool(_LOOKS_LIKE_PRODUCTION.search(profile.name))


def require_redrive(profile: Profile) -> None:
    """Refuses a profile that does not allow redrives.

    Raises:
        RedriveError: nothing was sent.
    """
    if not profile.redrive:
        where = "[profiles.NAME]" if profile.name == "(options)" else f"[profiles.{profile.name}]"
        raise RedriveError(
            f"Profile {profile.name} does not allow redrives; nothing was sent.",
            hint=f"Write redrive = true under {where} of workbench.toml, and use it with --profile.",
        )


def confirm(profile: Profile, targets: Sequence[str], ask: Callable[[str], str] | None, *, yes: bool) -> None:
    """Has the names of the targets typed where the profile is one of production.

    Args:
        profile: where to.
        targets: topics that are written to.
        ask: asks the user for a line; null where there is nobody to ask.
        yes: do not ask.

    Raises:
        RedriveError: a name was not typed, or there is nobody to ask.
    """
    if yes or not is_production(profile):
        return
    if ask is None:
        raise RedriveError(
            f"Profile {profile.name} is production; nothing was sent.", hint="Run it on a terminal, or add --yes."
        )
    for name in targets:
        if ask(f"This sends to {name} on {profile.name}. Type the topic's name to go on: ").strip() != name:
            raise RedriveError("That is not the topic's name; nothing was sent.")
