"""Free loopback ports, as free of races as ports can be."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below the range that Linux (32768) and macOS (49152) give to outgoing connections: nobody is handed
# one of these between our look and the broker's bind, except by asking for it by number.
FIRST, LAST = 20_000, 32_000


def free_ports(count: int) -> list[int]:
    """Picks distinct TCP ports that nothing on 127.0.0.1 is bound to now."""
    chosen: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(FIRST, LAST), LAST - FIRST):
            sock = held.enter_context(socket.socket())
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            chosen.append(port)
            if len(chosen) == count:
                return chosen
    raise OSError(f"no {count} free ports on 127.0.0.1 between {FIRST} and {LAST}")
