"""The trace store: Jaeger where Go can build it, else a receiver that writes spans into an OTLP file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from workbench.errors import SandboxError
from workbench.sandbox.stack.golang import GoProgram, build
from workbench.sandbox.stack.service import ServicePlan

JAEGER = GoProgram(
    "jaeger-all-in-one",
    "github.com/jaegertracing/jaeger",
    "v1.62.0",
    "h1:YoaJ2e8oVz5sqGGlVAKSUCED8DzJ1q7PojBmZFNKoJA=",
    "cmd/all-in-one",
)
MOST_TRACES = 100_000

# Jaeger listens on all of these, each with a port of its own; the first three are what users ask for.
_LISTENERS = (
    "query.http-server.host-port",
    "collector.otlp.http.host-port",
    "collector.otlp.grpc.host-port",
    "admin.http.host-port",
    "query.grpc-server.host-port",
    "collector.http-server.host-port",
    "collector.grpc-server.host-port",
    "http-server.host-port",
    "processor.jaeger-compact.server-host-port",
    "processor.jaeger-binary.server-host-port",
    "processor.zipkin-compact.server-host-port",
)
PORTS = len(_LISTENERS)


def jaeger_program(*, say: Callable[[str], None] | None = None) -> Path | None:
    """Jaeger's executable, or None where there is neither a built one nor Go.

    Raises:
        SandboxError: its module cannot be fetched, or does not build.
    """
    return build(JAEGER, say=say)


def plan_traces(folder: Path, ports: Sequence[int], *, say: Callable[[str], None] | None = None) -> ServicePlan:
    """Plans the trace store.

    Args:
        folder: of the stack.
        ports: ``PORTS`` free ports.
        say: called with one sentence where something takes long, or where spans go into a file.
    """
    program = jaeger_program(say=say)
    if program:
        return _jaeger(program, folder / "jaeger", ports)
    if say:
        say("There is no Go to build Jaeger with: spans are received and kept in an OTLP file instead.")
    return _otlp_file(folder / "otlp-file", ports[0])


def _jaeger(program: Path, folder: Path, ports: Sequence[int]) -> ServicePlan:
    config = folder / "jaeger.yml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("".join(f'{name}: "127.0.0.1:{port}"\n' for name, port in zip(_LISTENERS, ports, strict=True)))
    mark = f"--config-file={config}"
    addresses = {
        "jaeger": f"http://127.0.0.1:{ports[0]}",
        "otlp_http": f"http://127.0.0.1:{ports[1]}",
        "otlp_grpc": f"http://127.0.0.1:{ports[2]}",
    }
    return ServicePlan(
        "jaeger",
        (str(program), mark, f"--memory.max-traces={MOST_TRACES}", "--log-level=info"),
        mark,
        folder,
        f"http://127.0.0.1:{ports[3]}/",
        addresses,
        {"SPAN_STORAGE_TYPE": "memory"},
    )


def _otlp_file(folder: Path, port: int) -> ServicePlan:
    file = folder / "traces.jsonl"
    command = (sys.executable, "-m", "workbench.sandbox.stack.otlp_file", str(port), str(file))
    address = f"http://127.0.0.1:{port}"
    return ServicePlan(
        "otlp-file", command, str(file), folder, f"{address}/ready", {"otlp_http": address, "otlp_file": str(file)}
    )


def main() -> int:
    """Builds Jaeger ahead of its first use, as CI does while it is busy with other things; the exit code."""
    try:
        program = jaeger_program(say=_say)
    except SandboxError as error:
        _say(f"{error} {error.hint}")
        return 1
    _say(f"Jaeger: {program}" if program else "There is no Go to build Jaeger with.")
    return 0


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


if __name__ == "__main__":
    sys.exit(main())
