"""Option texts that several commands read the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.config import Integration, Profile


def client_settings(texts: list[str] | None) -> dict[str, str]:
    """``KEY=VALUE`` texts of ``-X`` as a mapping.

    Raises:
        UsageError: a text has no ``=``.
    """
    out = {}
    for text in texts or []:
        name, found, value = text.partition("=")
        if not found or not name.strip():
            raise UsageError("-X takes KEY=VALUE.", hint="For example -X security.protocol=SASL_SSL.")
        out[name.strip()] = value
    return out


def target(
    integration: str | None, profile: str | None, bootstrap: str | None, settings: list[str] | None
) -> tuple[Integration | None, Profile]:
    """The integration that was named, if any, and the cluster to ask: ``--bootstrap``, ``--profile``, or the integration's.

    Raises:
        UsageError: options that exclude each other, or names that do not exist.
    """
    from workbench.config import load_config, profile_from_options

    if bootstrap and profile:
        raise UsageError("--bootstrap and --profile were both given.", hint="Use one of them.")
    if settings and not bootstrap:
        raise UsageError("-X goes with --bootstrap.", hint="Put the setting into the profile of workbench.toml.")
    named = load_config().integration(integration) if integration else None
    if bootstrap:
        return named, profile_from_options(bootstrap, client_settings(settings))
    return named, load_config().profile(profile or (named.profile if named else ""))
