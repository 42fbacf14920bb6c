#!/bin/sh
# Imports archives of images into containerd, each once in the life of a node. Callers at the same time wait for the
# first; what is imported already costs nothing.
#
# --local: ctr takes the archive apart itself, which takes a third less time than handing it to containerd whole.
# --discard-unpacked-layers: layers are kept once, unpacked, as kind's containerd keeps what it pulls.
set -eu
for set in "$@"; do
    (
        flock 9
        stamp="/var/lib/containerd/slipway-$set"
        if [ ! -e "$stamp" ]; then
            ctr --namespace k8s.io images import --local --discard-unpacked-layers "/kind/images/$set.tar" >/dev/null
            touch "$stamp"
        fi
    ) 9>"/run/slipway-import-$set.lock"
done
