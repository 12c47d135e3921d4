"""How a dialogue is written as one text: a model's own template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from cermet.llm.errors import ModelError


class ChatTemplate:
    """A chat template in Jinja, run in a sandbox: it comes from a file.

    Args:
        source: the template.
        tokens: what else it may name, such as ``bos_token``.

    Raises:
        ModelError: it is no template.
    """

    def __init__(self, source: str, **tokens: str):
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self.tokens = tokens
        try:
            self.template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ModelError(f"the model's chat template is wrong: {error}") from None

    def __call__(self, messages: Sequence[dict[str, Any]], answer: bool) -> str:
        """The text of the messages, and with ``answer`` the beginning of the next one.

        Raises:
            ModelError: the template refuses the messages, or fails.
        """
        try:
            return self.template.render(
                messages=list(messages), add_generation_prompt=answer, **self.tokens
            )
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise ModelError(f"the model's chat template fails: {error}") from None


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
