"""Dead-letter dialects: how frameworks mark a record as given up, decoded into one normal form.

Nothing here is ever deserialised that could execute, and no input raises: what does not fit is null.
"""

from workbench.dialects.custom import check_dialect, own_dialects
from workbench.dialects.exceptions import Cause
from workbench.dialects.model import DeadLetter, Hop
from workbench.dialects.redrive import Redrive, redrive_of
from workbench.dialects.table import DIALECTS, Dialect, decode, is_marking, original_headers
from workbench.dialects.topics import looks_like_dead_letter_topic

__all__ = [
    "DIALECTS",
    "Cause",
    "DeadLetter",
    "Dialect",
    "Hop",
    "Redrive",
    "check_dialect",
    "decode",
    "is_marking",
    "looks_like_dead_letter_topic",
    "original_headers",
    "own_dialects",
    "redrive_of",
]
