"""Plans, dry runs, results and verifications for people; what comes from messages is shown, never obeyed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli.text import plain

if TYPE_CHECKING:
    from workbench.redrive.plan import Plan
    from workbench.redrive.running import Dry, Result
    from workbench.redrive.verify import Verified


def _print(*lines: str) -> None:
    for line in lines:
        print(plain(line))


def show_plan(plan: Plan, file: Path, principal: str) -> None:
    """Prints what a plan would do, its warnings, and the grants that sending needs."""
    from workbench.redrive.candidates import REASONS
    from workbench.redrive.targets import grants

    counts = {name: sum(row.target == name for row in plan.rows) for name in plan.targets}
    _print(f"Plan {plan.id}: {len(plan.rows):,} dead letters would be sent back.")
    _print(*(f"  {count:,} to {name} ({len(plan.targets[name].ends)} partitions)" for name, count in counts.items()))
    _print(*(f"  {count:,} of cause group {name}" for name, count in plan.groups.items()))
    if plan.excluded:
        _print("Left out:", *(f"  {count:,}  {REASONS[reason]}" for reason, count in plan.excluded.items()))
    readers = ", ".join(sorted({one["group"] for one in plan.readers})) or "no group with commits is known"
    _print(f"Readers of the targets: {readers}")
    if plan.warnings:
        _print("Warnings:", *(f"  ! {text}" for text in plan.warnings))
    _print(f"Order: {plan.order}")
    _print("Rights that sending needs (kafka-acls):", *(f"  {line}" for line in grants(plan.targets, principal)))
    _print(f"Written to {file}. Nothing was sent; next: workbench redrive run {file}")


def show_dry(plan: Plan, dry: Dry, *, values: bool) -> None:
    """Prints the first records as they would be sent, and the totals."""
    from workbench.redrive.showing import diff

    for sample in dry.samples:
        _print(*diff(plan, *sample, values=values))
    rest = dry.total - len(dry.samples)
    if rest > 0:
        _print(f"... and {rest:,} more")
    _print(*(f"{count:,} to {name}" for name, count in sorted(dry.by_target.items())))
    _print(*(f"! {count:,} cannot be sent: {why}" for why, count in sorted(dry.failures.items())))
    _print(*(f"! {text}" for text in plan.warnings))
    if dry.done:
        _print(f"{dry.done:,} of {dry.total:,} are sent already; a run goes on from there.")
    _print("This was a dry run: nothing was sent. Add --execute to send.")


def show_result(plan: Plan, result: Result, file: Path) -> None:
    """Prints how a run ended."""
    from workbench.redrive.verify import READ_COMMITTED

    back = f"; {result.came.back:,} came back to a dead-letter topic by now" if result.came else ""
    _print(f"Plan {plan.id}: {result.done:,} of {result.total:,} sent{back}.")
    if result.interrupted:
        _print("Interrupted behind a whole transaction; the same command goes on.")
    _print(READ_COMMITTED, f"Next: workbench redrive verify {file}")


def show_verified(found: Verified) -> None:
    """Prints what became of a plan's records."""
    basis: dict[tuple[str, str], int] = {}
    for fate in found.fates:
        basis[fate.state, fate.basis] = basis.get((fate.state, fate.basis), 0) + 1
    _print(f"Plan {found.plan.id}: {len(found.fates):,} records")
    for state, count in found.counts.items():
        _print(f"  {count:>9,}  {state}")
        _print(*(f"             {n:,}: {why}" for (one, why), n in sorted(basis.items()) if one == state))
    _print(f"  {found.twice:>9,}  there twice", found.to_dict()["note"])
