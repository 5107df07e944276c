"""Every option, declared once: flag, ``MA2L_*`` variable, YAML key, type, default and help.

A value comes from the first of flag, variable, file, profile and default that has one. Option names treat ``-`` and
``_`` alike, are never abbreviated, and end at the command: the first word that is not an option, or everything after
``--``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from ma2l.errors import ConfigError, Ma2lError, UsageError
from ma2l.records import dataclass, field, fields

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

    from ma2l.records import Field

DEFAULT_FILE = "ma2l.yaml"

MODES = ("auto", "ranktable", "torch", "dynamic-cluster", "mpirun")
PLATFORMS = ("modelarts", "volcano", "ascendjob", "bare")
SOCS = ("910", "910b", "a3")
BINDS = ("none", "cores", "numa")
HANG_ACTIONS = ("dump", "stop")


def _option(
    default: Any,
    text: str,
    value: str = "",
    choices: tuple[str, ...] = (),
    least: float | None = None,
    most: float | None = None,
    group: str = "Launching",
) -> Any:
    """Declare an option; ``value`` names its argument in help, and a bool takes none."""
    return field(
        default=default,
        metadata={"help": text, "value": value, "choices": choices, "least": least, "most": most, "group": group},
    )


@dataclass(frozen=True)
class Settings:
    """The options of one run, with defaults. Times are seconds."""

    mode: str = _option("auto", "how ranks find each other", "MODE", choices=MODES)
    per_node: bool = _option(False, "run CMD once per node instead of once per device")
    shim_msrun: bool = _option(False, "run CMD once per node; what it calls msrun is `ma2l msrun`")
    nnodes: int | None = _option(None, "number of nodes", "N", least=1, most=2**20)
    node_rank: int | None = _option(None, "rank of this node", "N", least=0, most=2**20)
    nproc_per_node: int | None = _option(None, "ranks on this node", "N", least=1, most=4096)
    master_addr: str | None = _option(None, "name or address of node 0", "HOST")
    master_port: int | None = _option(None, "port that node 0 listens on", "PORT", least=1, most=65535)
    cluster_timeout: int | None = _option(
        None, "longest wait for a dynamic cluster (default: MS_TOPO_TIMEOUT, else 600)", "S", least=1, most=10**9
    )
    chdir: str | None = _option(None, "directory for each rank; {rank} and {local_rank} are replaced", "DIR")
    bind: str = _option(
        "none", "CPUs of each rank: cores of its own, or its NPU's NUMA node, from the start", "HOW", choices=BINDS
    )
    hang_timeout: float | None = _option(
        None, "a rank that writes nothing for so long may hang: write down where all ranks stand (default: off; "
        "choose it below MA_HANG_DETECT_TIME)", "S", least=2, most=10**9,
    )  # fmt: skip
    hang_action: str = _option(
        "dump", "what follows: dump lets the run go on, stop ends it with exit code 252", "WHAT", choices=HANG_ACTIONS
    )
    stop_grace: float = _option(25.0, "time between SIGTERM and SIGKILL", "S", least=0, most=10**6)
    failure_grace: float | None = _option(
        None, "time between a rank's failure and SIGTERM (default: 0, with dying checkpoints 720)", "S",
        least=0, most=10**6,
    )  # fmt: skip

    doctor: bool = _option(False, "look at this node first, and do not start where something fails")
    wait_npu: float = _option(
        60.0, "longest wait for processes that still use this node's NPUs; 0 does not look", "S", least=0, most=10**9
    )

    max_restarts: int = _option(
        0, "how often a failed run on one node is started again here", "N", least=0, most=10**6, group="Restarts"
    )
    restart_on: str | None = _option(
        None, "exit codes that are worth it, such as 1,137,128-255 (default: all but 2,78,126,127)", "CODES",
        group="Restarts",
    )  # fmt: skip
    agent: str | None = _option(
        None, "the platform's agent that starts and kills ranks instead: taskd, or MODULE:NAME", "NAME",
        group="Restarts",
    )  # fmt: skip

    host: str | None = _option(None, "hosts and their ranks, for --mode mpirun; also -H", "a:8,b:8", group="OpenMPI")
    hostfile: str | None = _option(None, "the same in a file of `HOST slots=N` lines", "FILE", group="OpenMPI")
    mpi_args: str | None = _option(None, "further options for mpirun, quoted as for a shell", "TEXT", group="OpenMPI")
    keep_going: bool = _option(
        False, "let the other ranks of an mpirun go on when one fails; the exit code tells all the same",
        group="OpenMPI",
    )  # fmt: skip
    ssh_key_file: str | None = _option(
        None, "private key that all nodes have, for an mpirun over several nodes", "FILE", group="OpenMPI"
    )
    ssh_port: int = _option(
        22022, "port on which the other nodes let node 0 in", "PORT", least=1, most=65535, group="OpenMPI"
    )

    single_server: bool = _option(
        False, "every server is a job of its own, with ranks from 0 (default: SINGLESERVER_MODE)", group="Ais-Bench"
    )
    parameters: str | None = _option(
        None, "YAML list of label or name and value; each is appended to CMD as --name=value, as ModelArts does",
        "FILE", group="Ais-Bench",
    )  # fmt: skip

    results_dir: str | None = _option(
        None, "where ranks write their figures (default: train_url)", "DIR", group="Ais-Bench"
    )
    require_results: bool = _option(
        False, "a run that ends well without all of its ranks' figures exits with 65", group="Ais-Bench"
    )
    recorder: bool = _option(
        False, "let training code import ma2l_record, which writes such figures", group="Ais-Bench"
    )

    upload: str | None = _option(
        None, "send logs, outcome and results there at the end, after a failure too", "obs://BUCKET/PATH/", group="OBS"
    )
    upload_timeout: float = _option(
        600.0, "longest time for that; after a stop signal it is 10", "S", least=1, most=10**6, group="OBS"
    )
    obs_endpoint: str | None = _option(
        None, "where the store is (default: OBS_ENDPOINT, on ModelArts S3_ENDPOINT)", "https://HOST", group="OBS"
    )
    obs_hosts: str | None = _option(
        None, "addresses of names that no name server knows, in private clouds", "NAME=IP,...", group="OBS"
    )
    obs_ca_file: str | None = _option(None, "certificates to trust instead of the system's", "FILE", group="OBS")

    rank_table_file: str | None = _option(
        None, "rank table to use instead of the platform's", "FILE", group="Rank table"
    )
    rank_table_timeout: float = _option(
        1800.0, "longest wait for a complete rank table", "S", least=0, most=10**9, group="Rank table"
    )
    rank_table_settle: float = _option(
        10.0, "after an in-place restart: time for a table that was used before to change", "S", least=0, most=10**6,
        group="Rank table",
    )  # fmt: skip

    log_dir: str | None = _option(
        None, "where logs go (default: ma2l-log/RUN, on ModelArts its own)", "DIR", group="Logs"
    )
    console_ranks: str | None = _option(
        None, "global ranks shown here: all, none, first, last, 0,3-5", "RANKS", group="Logs"
    )

    quiet: bool = _option(False, "show warnings and errors alone", group="Logs")

    mock: str | None = _option(
        None, "pretend to be a job with that many NPUs; 0 forbids it", "[NODESx]DEVICES", group="Mock-Ascend"
    )
    mock_platform: str = _option("modelarts", "the platform to imitate", "NAME", choices=PLATFORMS, group="Mock-Ascend")
    mock_soc: str = _option("910b", "the NPU to imitate", "NAME", choices=SOCS, group="Mock-Ascend")
    mock_table_delay: float = _option(
        0.0, "time until the mock rank table is complete", "S", least=0, most=10**6, group="Mock-Ascend"
    )

    profile: str | None = _option(
        None, "defaults of that name, such as mindspeed, or the path of a YAML file with them", "NAME", group="General"
    )
    config: str | None = _option(
        None, f"YAML file with these options (default: ./{DEFAULT_FILE})", "FILE", group="General"
    )

    mode_of_profile: bool = False
    """No option: whether the mode is the profile's own, and nobody's who chose it for this command."""


FIELDS: dict[str, Field[Any]] = {option.name: option for option in fields(Settings) if option.metadata}

ALIASES = {"local_worker_num": "nproc_per_node", "cluster_time_out": "cluster_timeout"}
"""Names of msrun that differ from ours; torchrun's (nproc_per_node, nnodes, node_rank, ...) do not."""


SHORT = {"-H": "--host"}
"""Mpirun's own."""


def split(words: Sequence[str], verb_options: Sequence[str] = ()) -> tuple[dict[str, str], tuple[str, ...]]:
    """Separate options from the command.

    Args:
        words: the command line after the program name (and verb).
        verb_options: names of further options, with a value each, that only this verb has.

    Returns:
        Options by name, as text (a flag without value is ``true``), and the command, untouched; where help
        is asked for, ``help`` alone.

    Raises:
        UsageError: unknown option, or one without its value.
    """
    options: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word in ("--help", "-h"):
            return {"help": "true"}, ()
        text, equals, value = word.partition("=")
        name = text[2:] if text.startswith("--") and text[2:] in verb_options else _known(text, verb_options)
        if equals:
            options[name] = value
        elif name in FIELDS and _kind(name) == "bool":
            options[name] = "true"
        elif not rest:
            raise UsageError(f"use {text}", "its value is missing", f"write {text} VALUE")
        else:
            options[name] = rest.pop(0)
    return options, tuple(rest)


def split_anywhere(words: Sequence[str], verb_options: Sequence[str] = ()) -> tuple[dict[str, str], tuple[str, ...]]:
    """As ``split``, for verbs that take no command: options may stand behind the other words too."""
    options, rest = split(words, verb_options)
    places = []
    while rest and "help" not in options:
        places.append(rest[0])
        more, rest = split(rest[1:], verb_options)
        options.update(more)
    return options, tuple(places)


def load(flags: Mapping[str, str], environ: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Merge flags, variables, file, profile and defaults.

    Args:
        flags: options from ``split``.
        environ: the environment.

    Returns:
        The settings, and for every value that is not a default where it came from (``--mode``, ``MA2L_MODE``,
        ``ma2l.yaml``).

    Raises:
        UsageError: a wrong flag value.
        ConfigError: a wrong variable or file.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, text in flags.items():
        flag = "--" + name.replace("_", "-")
        values[name] = _parse(name, text, flag, UsageError)
        origins[name] = flag
    for name in FIELDS:
        variable = "MA2L_" + name.upper()
        if name not in values and environ.get(variable):
            values[name] = _parse(name, environ[variable], variable, ConfigError)
            origins[name] = variable
    path = values.get("config") or (DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else None)
    if path:
        from ma2l.settings_file import read

        _add(read(path, "configuration", FIELDS.keys() - {"config"}, ALIASES), path, values, origins)
        origins["config"] = path
    if "profile" in values:
        from ma2l import profiles

        values["profile"] = profiles.find(values["profile"])
        _add(profiles.options(values["profile"]), values["profile"], values, origins)
    return Settings(**values, mode_of_profile="mode" in origins and origins["mode"] == values.get("profile")), origins


def _add(more: Mapping[str, object], path: str, values: dict[str, Any], origins: dict[str, str]) -> None:
    """Take what a file says of options that nothing stronger has set."""
    for name, raw in more.items():
        if name not in values:
            values[name] = _parse(name, raw, f"{path}: {name}", ConfigError)
            origins[name] = path


_OF_RANKS = ("MA2L_RUN_ID", "MA2L_RESTART_COUNT", "MA2L_SERVER", "MA2L_MOCKED")
"""What every rank and run script gets, which may call ma2l again."""
_NO_OPTIONS = (
    "MA2L_ASCEND_DIR", "MA2L_BOOT_DIR", "MA2L_ENTRYPOINT", "MA2L_PRE_START", "MA2L_PRE_START_DONE",
    "MA2L_PRE_START_STRICT", "MA2L_PRE_START_TIMEOUT", "MA2L_PYTHON", "MA2L_SECRETS", "MA2L_SSH_KEY_FILE",
    "MA2L_UPGRADE_DIR", "MA2L_UPGRADE_FORCE", "MA2L_WORKER_LD_PRELOAD",
)  # fmt: skip
"""What the entrypoint and its hooks obey or hand down."""


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """Lines about variables that look like one of ours with a typing error; they would be ignored silently."""
    known = [*(f"MA2L_{name.upper()}" for name in FIELDS), *_NO_OPTIONS]
    unknown = [name for name in environ if name.startswith("MA2L_") and name not in (*known, *_OF_RANKS)]
    pairs = [(name, nearest(name, known, 0.85)) for name in unknown]
    return [f"{name} is no variable of ma2l; did you mean {near}?" for name, near in pairs if near]


def _known(text: str, verb_options: Sequence[str]) -> str:
    text = SHORT.get(text, text)
    name = text[2:].replace("-", "_")
    if text.startswith("--") and (name in FIELDS or name in ALIASES):
        return ALIASES.get(name, name)
    near = nearest(name if text.startswith("--") else text[1:], (*FIELDS, *ALIASES, *verb_options))
    hint = f"did you mean --{near.replace('_', '-')}? " if near else ""
    raise UsageError(f"use the option {text}", "ma2l has none of that name", f"{hint}see ma2l --help")


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """What somebody who mistyped may have meant; empty when nothing is close."""
    import difflib  # only where somebody mistyped

    return "".join(difflib.get_close_matches(name, list(names), 1, cutoff))


def _kind(name: str) -> str:
    """The option's type as annotated: str, int, float or bool."""
    return str(FIELDS[name].type).split(" ")[0]


_TRUTH = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


def _parse(name: str, raw: object, where: str, mistake: type[Ma2lError]) -> Any:
    """Turn one raw value into the option's type, or say which values are allowed."""
    kind, meta = _kind(name), FIELDS[name].metadata
    if not isinstance(raw, str):
        raise mistake(f"use {where}", f"{raw!r} is not a single value", "write one value")
    if kind == "bool":
        if raw.lower() not in _TRUTH:
            raise mistake(f"use {where} = {raw!r}", "it is not a truth value", "write true or false")
        return _TRUTH[raw.lower()]
    if kind in ("int", "float"):
        return _number(raw, kind, meta["least"], meta["most"], where, mistake)
    if meta["choices"] and raw not in meta["choices"]:
        near = nearest(raw, meta["choices"])
        hint = f"did you mean {near}? " if near else ""
        raise mistake(f"use {where} = {raw!r}", "no such value", f"{hint}choose one of {', '.join(meta['choices'])}")
    if not raw:
        raise mistake(f"use {where}", "its value is empty", f"write a {meta['value']} or leave the option out")
    if not _is_argument(raw):
        raise mistake(f"use {where} = {raw!r}", "no file or host can be called so", f"write a {meta['value']}")
    return raw


def _is_argument(text: str) -> bool:
    """Whether the kernel would take the text: a file can escape characters into it that no command line can hold."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _number(
    text: str, kind: str, least: float | None, most: float | None, where: str, mistake: type[Ma2lError]
) -> int | float:
    wanted = "a whole number" if kind == "int" else "a number"
    allowed = f"write {wanted} from {least:.0f} to {most:.0f}"
    try:
        value = _plain(int if kind == "int" else float, text)
    except ValueError:
        raise mistake(f"use {where} = {text!r}", f"it is not {wanted}", allowed) from None
    if least is not None and most is not None and not least <= value <= most:  # NaN fails this too
        raise mistake(f"use {where} = {text!r}", "it is out of range", allowed)
    return value


def _plain(kind: type[int] | type[float], text: str) -> int | float:
    """The number, without what Python allows beyond ordinary notation (``1_000``, digits of other scripts)."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return kind(text)
