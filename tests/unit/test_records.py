"""``ma2l.records`` beside the standard library's ``dataclasses``: the same classes, made by both, behave alike."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle
import pkgutil
import subprocess
import sys
from typing import Any

import pytest

import ma2l
from ma2l import records
from ma2l.cluster import Device

SOURCE = '''
from __future__ import annotations
from THIS import asdict, dataclass, field, fields, replace

@dataclass(frozen=True)
class Point:
    """With a comment below a field."""

    x: int
    """Right."""
    y: int = 2
    names: tuple[str, ...] = ()
    more: dict[str, int] = field(default_factory=dict)
    secret: str = field(default="s", repr=False)
    other: str | None = field(default=None, metadata={"help": "a word"})

    @property
    def double(self) -> int:
        return 2 * self.x

    def __str__(self) -> str:
        return f"<{self.x}>"

@dataclass(frozen=True)
class Further(Point):
    y: int = 3
    z: float = 0.5

@dataclass(frozen=True, eq=False)
class Itself:
    one: int

@dataclass(frozen=True)
class Single:
    one: object
'''


def made(module: str) -> dict[str, Any]:
    """The classes, and the functions of that module."""
    space: dict[str, Any] = {"__name__": __name__}
    exec(SOURCE.replace("THIS", module), space)
    return space


STANDARD, OURS = made("dataclasses"), made("ma2l.records")
CASES = [
    "Point(1)",
    "Point(x=1, y=5)",
    "Point(1, 2, ('a',), {'b': 1}, 'secret', 'other')",
    "Further(1)",
    "Further(1, z=2.5)",
    "Single(None)",
    "Point()",
    "Point(1, w=2)",
    "Point(1, x=1)",
    "Point(1, 2, (), {}, '', '', 7)",
    "Point(1) == Point(1, 2)",
    "Point(1) != Point(1, 3)",
    "Point(1) == Further(1, 2)",
    "Point(1) == 1",
    "Itself(1) == Itself(1)",
    "hash(Single((1, 2))) == hash(Single((1, 2)))",
    "hash(Point(1))",
    "len({Itself(1), Itself(1)})",
    "len({Single(1), Single(1)})",
    "str(Point(4)), Point(4).double",
    "setattr(Point(1), 'x', 2)",
    "setattr(Point(1), 'new', 2)",
    "delattr(Point(1), 'x')",
    "replace(Point(1), y=4)",
    "replace(Further(1), x=4, z=1.0)",
    "replace(Point(1), w=4)",
    "asdict(Further(1, more={'a': 1}))",
    "asdict(Single([Point(1), (Single(2), {'k': Single(3)})]))",
    "[(one.name, one.type, one.metadata.get('help')) for one in fields(Further)]",
    "[one.name for one in fields(Point(1))]",
    "Point(1).more is Point(1).more",
    "Point.y, Further.y, Point.names, hasattr(Point, 'more'), hasattr(Point, 'x')",
    "Point.__doc__, Point.__qualname__",
]


@pytest.mark.parametrize("expression", CASES)
def test_both_say_the_same(expression: str) -> None:
    def answer(space: dict[str, Any]) -> object:
        try:
            return repr(eval(expression, space))
        except (TypeError, AttributeError) as error:
            return isinstance(error, TypeError), str(error) * isinstance(error, AttributeError)

    assert answer(OURS) == answer(STANDARD)


def test_what_is_wrong_with_arguments_is_shown() -> None:
    with pytest.raises(TypeError, match=r"^Single\(one\) got 0 arguments and \['two'\]$"):
        OURS["Single"](two=2)


def test_objects_can_be_copied_and_pickled() -> None:
    device = Device(rank=3, device_id=1)
    assert copy.deepcopy(device) == device
    assert pickle.loads(pickle.dumps(device)) == device


def test_every_class_of_ma2l_is_one_that_the_standard_would_make_too() -> None:
    """No field without a default after one with a default, no default that objects would share."""
    found = 0
    for module in pkgutil.walk_packages(ma2l.__path__, "ma2l."):
        if module.name.endswith("__main__"):
            continue
        for one in vars(importlib.import_module(module.name)).values():
            if isinstance(one, type) and hasattr(one, "__fields__") and one.__module__ == module.name:
                found += 1
                assert not dataclasses.is_dataclass(one)
                known = records.fields(one)
                assert not any(isinstance(each.default, (list, dict, set)) for each in known), one
                given = [any(v is not records.MISSING for v in (f.default, f.default_factory)) for f in known]
                assert given == sorted(given), one
    assert found > 80


def test_the_start_path_does_without_the_standard_ones() -> None:
    """They import ``inspect``, which alone takes as long as the start of an interpreter."""
    heavy = "{'dataclasses', 'inspect', 'typing', 'logging', 'argparse', 'loguru'}"
    code = f"import sys, ma2l.cli.run, ma2l.run; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
