"""What goes wrong with a model's files."""

from __future__ import annotations


class ModelError(ValueError):
    """A file or folder is no model that can be run, with the reason."""
