#!/bin/sh
# Installs podman, unless an engine runs here already, and mmdebstrap, which makes the base image (Debian, Ubuntu).
set -eu

install="$(dirname "$0")/../../.ci/install"

responding() {
    for engine in ${MA2L_ENGINE:-podman docker}; do
        if command -v "$engine" >/dev/null && "$engine" info >/dev/null 2>&1; then return; fi
    done
    return 1
}

if ! responding; then
    if [ "${MA2L_ENGINE:-podman}" != podman ]; then
        echo "cannot use $MA2L_ENGINE: it does not answer '$MA2L_ENGINE info'; start it, or unset MA2L_ENGINE" >&2
        exit 1
    fi
    engine=podman
    "$install" buildah podman runc netavark aardvark-dns iptables mmdebstrap
    podman info >/dev/null
elif ! command -v mmdebstrap >/dev/null && command -v apt-get >/dev/null; then
    "$install" mmdebstrap
fi
echo "container engine: $engine"
