"""How a rank table reaches a pod: the two ways of Kubernetes platforms, with their real (un)safety."""

from __future__ import annotations

import os
import time

_DATA = "..data"


def configmap(directory: str, name: str, text: str) -> None:
    """Publish ``text`` as a kubelet updates a ConfigMap volume: atomically, by renaming a symbolic link.

    ``<name>`` is a link to ``..data/<name>``, and ``..data`` is a link to a fresh ``..<timestamp>`` directory, which
    replaces and removes the previous one. A reader sees the old or the new content, whole. Whoever watches the *file*
    with inotify sees nothing, because the change happens to its directory.

    Source: ``pkg/volume/util/atomic_writer.go`` in kubernetes/kubernetes.
    """
    os.makedirs(directory, exist_ok=True)
    fresh = _fresh_directory(directory)
    with open(f"{directory}/{fresh}/{name}", "w", encoding="utf-8") as file:
        file.write(text)
    data, temporary = f"{directory}/{_DATA}", f"{directory}/{_DATA}_tmp"
    previous = os.readlink(data) if os.path.islink(data) else ""
    os.symlink(fresh, temporary)
    os.rename(temporary, data)
    if not os.path.islink(f"{directory}/{name}"):
        os.symlink(f"{_DATA}/{name}", f"{directory}/{name}")
    if previous:
        os.unlink(f"{directory}/{previous}/{name}")
        os.rmdir(f"{directory}/{previous}")


def operator_file(path: str, text: str) -> None:
    """Publish ``text`` as the Ascend Operator does on shared storage: truncate, then write, then the version file.

    A reader in between sees an empty or a cut file. Beside it lies ``version``, the time of the last write.

    Source: ``component/ascend-operator/pkg/ranktable/common`` in Ascend/mind-cluster.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)
    with open(f"{os.path.dirname(path)}/version", "w", encoding="utf-8") as file:
        file.write(str(int(time.time())))


def _fresh_directory(directory: str) -> str:
    while True:
        name = time.strftime("..%Y_%m_%d_%H_%M_%S.", time.gmtime()) + str(time.time_ns() % 10**9)
        try:
            os.mkdir(f"{directory}/{name}")
        except FileExistsError:  # two updates within one tick of a coarse clock
            continue
        return name
