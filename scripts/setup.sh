#!/usr/bin/env bash
# Installs what this machine lacks, or says exactly what that is. Usage: setup.sh [run|test|walk]
#
#   run   what `make run` needs: the Rust toolchain (only checked), a C compiler, PostgreSQL's programs
#   test  also Redis and RabbitMQ, for the tests and the standard profile, and what the example consumers are written in
#         (default)
#   walk  what Hurl is built with, for `make walk`
#
# Only programs are installed. No system service is started or enabled: every command starts servers of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

purpose=${1:-test}
case $purpose in
    run | test | walk) ;;
    *)
        echo "usage: $0 [run|test|walk]" >&2
        exit 2
        ;;
esac

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
fi

# Debian keeps some programs where an ordinary account's PATH does not look.
PATH="$PATH:/usr/sbin:/sbin:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

check_rust() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        fail "Rust $needed or newer is needed and no cargo is on PATH. Install it: https://rustup.rs"
    fi
    found=$(rustc --version | cut -d ' ' -f 2)
    if [ "$(printf '%s\n' "$needed" "$found" | sort --version-sort | head -n 1)" != "$needed" ]; then
        fail "Rust $needed or newer is needed; this is $found. Update it: rustup update stable"
    fi
}

has_postgres() {
    local initdb
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] && return
    done
    command -v initdb >/dev/null && command -v postgres >/dev/null
}

# libclang-cpp is another library, which comes with what else is built on LLVM.
has_libclang() {
    local pattern
    for pattern in /usr/lib/{llvm-*/lib,*}/libclang{.so*,-[0-9]*.so*}; do
        # A pattern that fits nothing stays as it is.
        [ -e "$pattern" ] && return
    done
    return 1
}

missing_packages() {
    command -v cc >/dev/null || echo gcc libc6-dev
    has_postgres || echo postgresql
    case $purpose in
        run) return ;;
        walk)
            command -v pkg-config >/dev/null || echo pkg-config
            pkg-config --exists libxml-2.0 2>/dev/null || echo libxml2-dev
            pkg-config --exists libcurl 2>/dev/null || echo libcurl4-openssl-dev
            has_libclang || echo libclang1
            return
            ;;
    esac
    command -v redis-server >/dev/null || echo redis-server
    command -v rabbitmq-server >/dev/null || echo rabbitmq-server
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3 python3-venv
    command -v node >/dev/null || echo nodejs
    # The package of somebody else's that has a newer Node.js brings npm along.
    command -v npm >/dev/null || echo npm
}

install_packages() {
    local log
    if ! command -v apt-get >/dev/null; then
        fail "these programs are missing (Debian's names): $*" "Install them with your system's package manager, then repeat."
    fi
    if ! "${as_root[@]}" true 2>/dev/null; then
        fail "these packages are missing: $*" "Run: sudo apt-get update && sudo apt-get install --no-install-recommends $*"
    fi

    echo "setup: installing $*"
    log=$(mktemp)
    # Old lists may serve; if they do not, the installation fails and says why.
    "${as_root[@]}" apt-get update >"$log" 2>&1 || echo "setup: apt-get update failed; going on with the lists at hand" >&2
    if ! keep_services_stopped "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        fail "apt-get could not install: $* (log: $log)"
    fi
    rm -f "$log"
}

# Keeps a freshly installed package's services from starting with the machine. Usage: leave_disabled PACKAGE
leave_disabled() {
    case $1 in
        postgresql | redis-server) "${as_root[@]}" update-rc.d "$1" disable ;;
        rabbitmq-server)
            "${as_root[@]}" update-rc.d "$1" disable
            # Erlang's port mapper has no init script.
            if command -v systemctl >/dev/null; then
                "${as_root[@]}" systemctl disable --quiet epmd.service epmd.socket
            fi
            ;;
    esac
}

# Runs an installation during which maintainer scripts may start nothing, and takes back what they enabled.
keep_services_stopped() {
    local policy=/usr/sbin/policy-rc.d wrote_policy=false status=0 package
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
        "${as_root[@]}" chmod 755 "$policy"
        wrote_policy=true
    fi
    "$@" || status=$?
    if $wrote_policy; then
        "${as_root[@]}" rm -f "$policy"
    fi
    if [ "$status" -eq 0 ]; then
        for package in "${packages[@]}"; do
            leave_disabled "$package"
        done
    fi
    return "$status"
}

check_rust
mapfile -t packages < <(missing_packages | tr ' ' '\n')
if [ ${#packages[@]} -gt 0 ]; then
    install_packages "${packages[@]}"
fi
