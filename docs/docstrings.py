"""Turns what docstrings write in Sphinx's form, :class:`Linear` and Example::, into Markdown."""

import re
from typing import Any

import griffe


def markdown(text: str) -> str:
    """The text without the roles before names and the second colons before blocks.

    A line of one word is put in italics, since with one colon it would begin a section.
    """
    text = re.sub(r":(?:class|func|meth|mod):(?=`)", "", text)
    text = re.sub(r"^( *)(\w+)::$", r"\1*\2*:", text, flags=re.MULTILINE)
    return re.sub(r"::$", ":", text, flags=re.MULTILINE)


class Docstrings(griffe.Extension):
    """Does so with each object that is read. The core's own docstring is left to its first page."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.path == "cermet.core":
            obj.docstring = None
        elif obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_module_members(self, *, mod: griffe.Module, **_: Any) -> None:
        """A function that stubs give by its overloads alone is a member, too."""
        for name, overloads in mod.overloads.items():
            if name not in mod.members:
                function = overloads[0]
                mod.set_member(name, function)
                function.overloads = list(overloads)
