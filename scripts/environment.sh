# Sourced by the other scripts, from the project's root. Gives them a virtual environment at .venv that holds just what
# the requirements files name. Nothing is installed again until one of those files changes.

root=$(pwd)

say() {
    printf '%s\n' "$*" >&2
}

# Print the first Python that is new enough. A name alone proves nothing: pyenv's shims are there for versions that are
# not, so each is asked.
find_python() {
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    say "Python 3.11 or newer is needed, and none of python3.13, python3.12, python3.11, python3 is one." \
        "Install one, or name it: PYTHON=/path/to/python3 $0"
    return 1
}

# Print one line that changes when any of the files does.
fingerprint() {
    cat "$@" | cksum
}

make_environment() {
    # An environment that was copied or moved still runs, but the programs beside its Python name the old place.
    if [ "$(cat .venv/.made-at 2>/dev/null)" = "$root" ] && .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
        return 0
    fi
    python=$(find_python)
    say "Making .venv with $("$python" --version) ..."
    rm -rf .venv/bin .venv/lib .venv/lib64 .venv/include .venv/pyvenv.cfg .venv/.installed-*
    if ! "$python" -m venv .venv; then
        say "$python cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv"
        return 1
    fi
    printf '%s\n' "$root" >.venv/.made-at
}

# install NAME FILE...: install what the requirements files name, unless that was done already.
install() {
    stamp=.venv/.installed-$1
    shift
    # Files that others include count too, so every requirements file is in every stamp.
    now=$(fingerprint requirements*.txt)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$now" ]; then
        return 0
    fi
    say "Installing $* ..."
    arguments=
    for file in "$@"; do
        arguments="$arguments -r $file"
    done
    # shellcheck disable=SC2086 # one word a file, by design
    if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check $arguments; then
        say "The packages could not be installed (see above). Is there a network, and does this Python have wheels of them?"
        return 1
    fi
    printf '%s\n' "$now" >"$stamp"
}

# environment NAME FILE...: everything above, once at a time.
environment() {
    mkdir -p .venv
    if command -v flock >/dev/null 2>&1; then
        exec 9>.venv/.lock
        if ! flock -n 9; then
            say "Waiting for another script to finish its installation ..."
            flock 9
        fi
    fi
    make_environment
    install "$@"
    exec 9>&-
}
