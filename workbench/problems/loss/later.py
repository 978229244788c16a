"""Causes of the catalogue whose evidence this check does not read, and what each needs.

They are named as undecided while anything is left that they could explain, so that nobody takes silence for an answer.
"""

from __future__ import annotations

LATER = {
    "loss-mirror-gap": "needs the second cluster",
}
