"""What checks look at: options, environment, command, this host below a root directory. Each thing is asked once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property

from ma2l.ascend import devices, hccn, holders, npu_smi, tool
from ma2l.ascend.holders import Holder
from ma2l.ascend.npu_smi import Chip
from ma2l.ascend.tool import Printed
from ma2l.errors import Ma2lError
from ma2l.linux.wait import Waiter
from ma2l.platforms import tables, topology
from ma2l.platforms.topology import Topology
from ma2l.settings import Settings

_MOST = 2**20


class Scene:
    """One node and what is asked of it.

    Args:
        command: what is to be run; may be empty.
        waiter: for waits, all of which are short here.
        root: directory in the place of ``/``, for tests.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        command: tuple[str, ...] = (),
        waiter: Waiter | None = None,
        root: str = "",
    ) -> None:
        self.settings = settings
        self.environ = environ
        self.command = command
        self.root = root
        self._waiter = waiter

    @cached_property
    def waiter(self) -> Waiter:
        """Owns this process's signals from the first use on."""
        return self._waiter or Waiter()

    @cached_property
    def device_ids(self) -> tuple[int, ...]:
        """Physical ids of the device files."""
        return devices.device_files(f"{self.root}/dev")

    @cached_property
    def chips(self) -> tuple[Chip, ...] | str:
        """What npu-smi lists, or why it lists nothing."""
        return npu_smi.query(self.environ)

    @cached_property
    def npus(self) -> tuple[int, ...]:
        """Physical ids of this node's NPUs, by device files, else by npu-smi."""
        if self.device_ids or isinstance(self.chips, str):
            return self.device_ids
        return tuple(sorted(chip.physical_id for chip in self.chips if chip.physical_id is not None))

    @cached_property
    def board(self) -> Printed:
        """``npu-smi info -t board`` of the first NPU."""
        first = self.chips[0].npu if not isinstance(self.chips, str) else 0
        return tool.run("npu-smi", ("info", "-t", "board", "-i", str(first)), self.environ)

    @cached_property
    def device_ips(self) -> Mapping[int, str]:
        """Addresses of the NPUs' own ports, as configured here."""
        return hccn.device_ips(self.npus, self.environ, f"{self.root}/etc/hccn.conf")

    @cached_property
    def holders(self) -> tuple[Holder, ...]:
        """Processes that have these NPUs open."""
        return holders.find(self.npus, self.environ, dev=f"{self.root}/dev", proc=f"{self.root}/proc")

    @cached_property
    def topology(self) -> Topology | Ma2lError:
        """Who takes part, as a run would find it, or why it would not; an incomplete table is not waited for."""
        from ma2l.records import replace

        try:
            return topology.find(replace(self.settings, rank_table_timeout=0.0), self.environ, self.waiter, None)
        except Ma2lError as error:
            return error

    @cached_property
    def announced(self) -> tables.Announced | None:
        """The rank table that is to be expected."""
        return tables.announced(self.settings.rank_table_file, self.environ)

    @property
    def of_mindspore(self) -> bool:
        """Whether the job meets through MindSpore's scheduler."""
        return self.settings.mode == "dynamic-cluster" or bool(self.environ.get("MS_ROLE"))

    def read(self, path: str) -> str:
        """A text file of this host; empty where it cannot be read."""
        try:
            with open(self.root + path, encoding="utf-8", errors="replace") as file:
                return file.read(_MOST)
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether this host has it."""
        return os.path.exists(self.root + path)
