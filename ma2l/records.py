"""The part of the standard library's ``dataclasses`` that ma2l uses, at a fraction of its price.

The stages of a run hand frozen dataclasses to each other, thirty kinds of them before the first worker runs. The
standard module imports ``inspect`` and compiles six methods for every class, which was more than half of the time to
the first worker (``docs/architecture.md``, "Start time"). Here nothing is compiled: all classes share their methods. An
object takes twice as long to make; a class of which there are hundreds of thousands has an ``__init__`` of its own.

Names and meaning are the standard's, ``tests/unit/test_records.py`` holds the two against each other, and a type
checker sees the standard module itself.
"""

from __future__ import annotations

import operator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import MISSING as MISSING
    from dataclasses import Field as Field
    from dataclasses import asdict as asdict
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import fields as fields
    from dataclasses import replace as replace
else:
    MISSING = object()

    class Field:
        """One field of a class: its name, its default or what makes one, and what somebody else keeps with it."""

        def __init__(self, default, default_factory, shown, metadata):
            self.name = ""
            self.type = ""
            self.default = default
            self.default_factory = default_factory
            self.repr = shown
            self.metadata = metadata

    def field(*, default=MISSING, default_factory=MISSING, repr=True, metadata=None):  # noqa: A002 - the standard's names
        """A field that needs more than a type and a default."""
        return Field(default, default_factory, repr, metadata or {})

    def dataclass(*, frozen, init=True, eq=True):
        """Make the annotated names of a class the fields of its objects, which never change.

        Args:
            init: whether objects take their fields as arguments; else the class says how they are made.
            eq: whether objects with equal fields are equal; else each equals itself alone.
        """
        assert frozen, "nothing here may change once it is made"

        def finished(cls):
            listed = {known.name: known for base in cls.__mro__[:0:-1] for known in getattr(base, "__fields__", ())}
            for name, type_ in cls.__dict__.get("__annotations__", {}).items():  # noqa: RUF063 - no import
                given = cls.__dict__.get(name, MISSING)
                one = given if isinstance(given, Field) else field(default=given)
                one.name, one.type = name, type_
                listed[name] = one
                if one is given and one.default is not MISSING:
                    setattr(cls, name, one.default)
                elif one is given:
                    delattr(cls, name)
            cls.__fields__ = tuple(listed.values())
            cls.__match_args__ = tuple(listed)
            if init:
                cls.__names__ = frozenset(listed)
                cls.__defaults__ = {n: one.default for n, one in listed.items() if one.default is not MISSING}
                made_new = {name: one.default_factory for name, one in listed.items()}
                cls.__makers__ = {name: make for name, make in made_new.items() if make is not MISSING}
                cls.__init__ = _init
            cls.__setattr__, cls.__delattr__ = _refuse_to_set, _refuse_to_delete
            cls.__repr__ = _repr
            if eq:
                cls.__values__ = operator.attrgetter(*listed)
                cls.__eq__, cls.__hash__ = _eq, _hash
            return cls

        return finished

    def fields(record):
        """The fields of a class or of an object, in their order."""
        return record.__fields__

    def replace(record, **changes):
        """A copy in which some fields differ."""
        return record.__class__(**{**{one.name: getattr(record, one.name) for one in record.__fields__}, **changes})

    def asdict(record):
        """The fields by name, and the same of what they hold."""
        return {one.name: _plain(getattr(record, one.name)) for one in record.__fields__}

    def _plain(value):
        if hasattr(value, "__fields__"):
            return asdict(value)
        if isinstance(value, (list, tuple)):
            return type(value)(map(_plain, value))
        if isinstance(value, dict):
            return {_plain(name): _plain(one) for name, one in value.items()}
        return value

    def _init(self, *values, **named):
        given = dict(zip(self.__match_args__, values))
        given.update(named)
        made = {name: make() for name, make in self.__makers__.items() if name not in given}
        complete = {**self.__defaults__, **made, **given}
        if len(given) != len(values) + len(named) or complete.keys() != self.__names__:
            got = f"{len(values)} arguments and {list(named)}"  # no values: one may be a secret
            raise TypeError(f"{self.__class__.__qualname__}({', '.join(self.__match_args__)}) got {got}")
        self.__dict__.update(complete)

    def _repr(self):
        shown = (f"{one.name}={getattr(self, one.name)!r}" for one in self.__fields__ if one.repr)
        return f"{self.__class__.__qualname__}({', '.join(shown)})"

    def _eq(self, other):
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self.__values__(self) == other.__values__(other)

    def _hash(self):
        return hash(self.__values__(self))

    def _refuse_to_set(self, name, value):
        raise AttributeError(f"cannot assign to field {name!r}")

    def _refuse_to_delete(self, name):
        raise AttributeError(f"cannot delete field {name!r}")
