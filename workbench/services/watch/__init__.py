"""``workbench watch``: looks at groups and logs again and again, and keeps what it sees."""

from workbench.services.watch.looking import Look, look
from workbench.services.watch.watching import Watching, watch

__all__ = ["Look", "Watching", "look", "watch"]
