#!/bin/sh
# Makes .venv from requirements.lock (each package checked by its hash) with this project in it, editable.
# Needs a Python >= 3.11 with its venv module, nothing else. Names no package index: pip and uv take the machine's own
# settings (environment, pip.conf, uv.toml, proxies, certificates).
set -eu
cd "$(dirname "$0")/.."
venv=.venv

fails() {
    echo "setup: $*" >&2
    exit 1
}

# The newest Python that all packages have wheels for comes first; then whatever else is new enough.
newest_python() {
    for name in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3 python}; do
        "$name" -c "import sys; assert sys.version_info >= (3, 11); $1; print(sys.executable)" 2>/dev/null && return
    done
    return 1
}

make_venv() {
    python=$(newest_python 'import ensurepip, venv') || {
        newest_python 'pass' >/dev/null ||
            fails "no Python >= 3.11 was found. Install one, or name it: make setup PYTHON=/path/to/python3"
        fails "the Python found has no venv module. Install it (Debian, Ubuntu: apt-get install python3-venv)," \
            "or name another Python: make setup PYTHON=/path/to/python3"
    }
    echo "setup: making $venv with $("$python" -V)" >&2
    "$python" -m venv --clear "$venv"
}

# uv does not read pip's settings; a machine that has only those keeps them. The environment goes before the files.
pip_setting() {
    for scope in :env: install global; do
        "$venv/bin/python" -m pip config get "$scope.$1" 2>/dev/null && return
    done
    return 0
}

inherit() {
    eval "given=\${$1:-}"
    [ -n "$given" ] || given=$(pip_setting "$2" | tr '\n' ' ' | sed 's/ *$//')
    [ -z "$given" ] || export "$1=$given"
}

uv_like_pip() {
    [ -n "${UV_INDEX_URL:-}" ] || inherit UV_DEFAULT_INDEX index-url
    inherit UV_INDEX extra-index-url
    inherit UV_FIND_LINKS find-links
    [ -z "${UV_FIND_LINKS:-}" ] || export UV_FIND_LINKS="$(echo "$UV_FIND_LINKS" | tr ' ' ',')"
    inherit UV_NO_INDEX no-index
    inherit UV_HTTP_TIMEOUT timeout
    inherit SSL_CERT_FILE cert
}

# A Python named by hand always makes the environment anew.
[ -z "${PYTHON:-}" ] &&
    "$venv/bin/python" -c "import sys; assert sys.version_info >= (3, 11)" >/dev/null 2>&1 || make_venv
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip

# pip brings uv, by the hash in the lock; uv brings the rest.
sed -n '/^uv==/,/[^\\]$/p' requirements.lock >"$venv/uv.txt"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$venv/uv.txt"

uv_like_pip
locked=$(grep -c '^[a-z0-9].*==' requirements.lock)
echo "setup: installing $locked locked packages (those that fit this Python and system)" >&2
# Compiled once here: where bytecode is not written at run time (PYTHONDONTWRITEBYTECODE, a read-only installation), each program
# would compile what it imports anew, which takes seconds.
"$venv/bin/uv" pip install --quiet --compile-bytecode --python "$venv/bin/python" --require-hashes -r requirements.lock
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable .
"$venv/bin/python" -m compileall -q workbench
touch "$venv/ready"
echo "setup: done; activate it with '. $venv/bin/activate', or run $venv/bin/workbench" >&2
