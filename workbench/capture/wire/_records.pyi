from collections.abc import Sequence
from typing import Any

def parse(
    batches: Sequence[tuple[Any, int, int, int, int, bool, int, bool]], low: int, high: int, want: int, /
) -> tuple[int, int, tuple[Any, ...], int, int, str | None]: ...
