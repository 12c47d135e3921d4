"""Turns what docstrings write in Sphinx's form, :class:`Linear` and Example::, into plain text."""

import re


def on_page_content(html: str, **_: object) -> str:
    """Drop the role in front of a name, and the second colon in front of a block."""
    return re.sub(r":(?:class|func|meth|mod):(?=<code>)", "", html).replace("::</p>", ":</p>")
