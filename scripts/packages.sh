#!/usr/bin/env bash
# Installs what Debian packages the named purposes need and this machine lacks: scripts/packages.sh PURPOSE...
# As root it installs them. Otherwise, or where there is no apt-get, it says what is missing and ends with 1.
set -eu
PATH=$PATH:/usr/sbin:/sbin
python=${PYTHON:-python3}

missing=()

need() { # PACKAGE CHECK...: the package is missing where the check fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

program() { command -v "$1"; }

static_program() { local path && path=$(command -v "$1") && ! ldd "$path"; }

for purpose in "$@"; do
    case $purpose in
        setup)
            need python3-venv "$python" -c "import ensurepip"
            ;;
        engine)
            need docker.io program dockerd
            ;;
        run)
            need git program git
            need iptables program iptables
            need busybox-static static_program busybox
            ;;
        test)
            need curl program curl
            need pebble program pebble
            need wrk program wrk
            need hey program hey
            need chromium program chromium
            ;;
        bench)
            need wrk program wrk
            need hey program hey
            need nginx program nginx
            need haproxy program haproxy
            ;;
        *)
            echo "$0: no such purpose: $purpose" >&2
            exit 2
            ;;
    esac
done

[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Missing on this machine: ${missing[*]}" >&2
    echo "Install the packages, on Debian with: sudo apt-get update && sudo apt-get install ${missing[*]}" >&2
    exit 1
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
cleanup() {
    rm -f "$log"
    [ -z "$made_policy" ] || rm -f "$policy"
}
trap cleanup EXIT

# Without systemd, nobody would look after the services that packages start when they are installed: scripts/engine.py
# starts the engine, and the benchmarks their own routers. https://www.debian.org/doc/debian-policy/ch-opersys.html
if [ ! -d /run/systemd/system ] && [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi

install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null
}

echo "Installing ${missing[*]}"
# The package lists may be absent or out of date; they are only fetched where that shows.
if ! install && ! { apt-get update -qq >"$log" 2>&1 && install; }; then
    tail -n 20 "$log" >&2
    echo "apt-get could not install ${missing[*]}" >&2
    exit 1
fi
