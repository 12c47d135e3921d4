"""Text to tokens and back, and dialogues to the text that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from cermet.llm.errors import ModelError
from cermet.llm.gguf import Fields
from cermet.llm.huggingface import read_json

# How GGUF's names for it cut a text into words, before bytes are paired.
_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = {
    "llama-bpe": _LETTERS + r"\p{N}{1,3}" + _REST,
    "qwen2": _LETTERS + r"\p{N}" + _REST,
}
_CONTROL, _USER, _BYTE = 3, 4, 6  # GGUF's types of tokens
# Names by which models end an answer, beside the token that ends a text.
_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<|eom_id|>", "<end_of_turn>", "<|endoftext|>")


class Tokenizer:
    """Text to tokens and back.

    Args:
        tokenizer: what does it.
        beginning: the token that a text begins with, or None.
        ends: the tokens that end an answer.
        template: how a dialogue is written, or None.
        end: the token that ends a text, or None.
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        *,
        beginning: int | None = None,
        end: int | None = None,
        ends: Sequence[int] = (),
        template: str | None = None,
    ):
        self.inner = tokenizer
        self.beginning = beginning
        by_name = [tokenizer.token_to_id(name) for name in _ENDS]
        self.ends = {i for i in (*ends, end, *by_name) if i is not None}
        name_of = lambda i: "" if i is None else tokenizer.id_to_token(i) or ""  # noqa: E731
        from cermet.llm.template import ChatTemplate  # late: a model is being read meanwhile

        self.template = (
            ChatTemplate(template, bos_token=name_of(beginning), eos_token=name_of(end))
            if template
            else None
        )

    def __len__(self) -> int:
        return self.inner.get_vocab_size()

    def encode(self, text: str, *, beginning: bool = True) -> list[int]:
        """The tokens of a text, with the one that a text begins with where the model has one.

        Raises:
            ModelError: the text has half of a character, a surrogate.
        """
        try:
            tokens = self.inner.encode(text, add_special_tokens=False).ids
        except TypeError:  # that is how the package says it
            if not isinstance(text, str):
                raise
            raise ModelError("the text has half of a character, a surrogate") from None
        first = [self.beginning] if beginning and self.beginning is not None else []
        return first + tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without those that control the model."""
        return self.inner.decode(list(tokens), skip_special_tokens=True)

    def chat(self, messages: Sequence[dict[str, Any]], *, answer: bool = True) -> list[int]:
        """The tokens of a dialogue.

        Args:
            messages: each with "role" (system, user or assistant) and "content".
            answer: whether the beginning of the assistant's next message follows.

        Raises:
            ModelError: the model has no template for dialogues, or it refuses the messages.
        """
        if self.template is None:
            raise ModelError("the model has no chat template: it continues texts alone")
        text = self.template(messages, answer)
        name = None if self.beginning is None else self.inner.id_to_token(self.beginning)
        return self.encode(text, beginning=not (name and text.startswith(name)))

    def stream(self) -> Detokenizer:
        """What gives the text of tokens that come one by one."""
        return Detokenizer(self)

    @staticmethod
    def from_folder(folder: str | Path) -> Tokenizer:
        """The tokenizer of a folder with tokenizer.json, and its configuration if that is there.

        Raises:
            ModelError: tokenizer.json is missing or not understood.
        """
        folder = Path(folder)
        file = folder / "tokenizer.json"
        if not file.exists():
            raise ModelError(f"'{folder}' has no tokenizer.json")
        try:
            inner = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001  (the package raises nothing more special)
            raise ModelError(f"'{file}' is not understood: {error}") from None
        settings = folder / "tokenizer_config.json"
        fields = read_json(settings) if settings.exists() else {}
        generation = folder / "generation_config.json"
        ends = (read_json(generation) if generation.exists() else {}).get("eos_token_id", [])

        def token(name: str) -> int | None:
            value = fields.get(name)
            value = value.get("content") if isinstance(value, dict) else value
            return None if value is None else inner.token_to_id(value)

        template = fields.get("chat_template")
        if isinstance(template, list):  # several, by name
            named = {t["name"]: t["template"] for t in template}
            template = named.get("default") or next(iter(named.values()), None)
        if (beside := folder / "chat_template.jinja").exists():
            template = beside.read_text(encoding="utf-8")
        first = inner.encode("", add_special_tokens=True).ids
        begins = fields.get("add_bos_token", bool(first) and first[0] == token("bos_token"))
        return Tokenizer(
            inner,
            beginning=token("bos_token") if begins else None,
            end=token("eos_token"),
            ends=[ends] if isinstance(ends, int) else ends,
            template=template,
        )

    @staticmethod
    def from_gguf(fields: Fields) -> Tokenizer:
        """The tokenizer that a GGUF file's fields describe.

        Raises:
            ModelError: it is of a kind that is not supported, or a field is missing.
        """
        get = lambda key, default=None: fields.get(f"tokenizer.ggml.{key}", default)  # noqa: E731
        kind, tokens = get("model"), get("tokens")
        if not tokens:
            raise ModelError(f"'{fields.path}' has no tokenizer")
        if kind == "gpt2":
            inner = _byte_pairs(fields.path, tokens, get("merges", []), get("pre", "default"))
        elif kind == "llama":
            scores = get("scores")
            if scores is None:
                raise ModelError(f"'{fields.path}' has no field tokenizer.ggml.scores")
            inner = _sentence_pieces(tokens, scores, get("add_space_prefix", True))
        else:
            raise ModelError(
                f"'{fields.path}' has a tokenizer of kind '{kind}', expected gpt2 or llama"
            )
        for token, type_ in zip(tokens, get("token_type", []), strict=False):
            if type_ in (_CONTROL, _USER):
                special = AddedToken(token, special=type_ == _CONTROL, normalized=False)
                (inner.add_special_tokens if type_ == _CONTROL else inner.add_tokens)([special])
        begins = get("add_bos_token", kind == "llama" or get("pre") == "llama-bpe")
        return Tokenizer(
            inner,
            beginning=get("bos_token_id") if begins else None,
            end=get("eos_token_id"),
            ends=[i for i in (get("eot_token_id"), get("eom_token_id")) if i is not None],
            template=fields.get("tokenizer.chat_template"),
        )


class Detokenizer:
    """Gives the text of tokens that come one by one, no piece of a character."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.tokens: list[int] = []  # those since a place where decoding may begin
        self.given = ""  # their text, as far as it has been given

    def add(self, token: int) -> str:
        """The text that a token completes."""
        self.tokens.append(token)
        text = self.tokenizer.decode(self.tokens)
        if text.endswith("\ufffd"):  # a character's first bytes
            return ""
        return self._give(text)

    def finish(self) -> str:
        """The text that is left, where the last character is not whole."""
        return self._give(self.tokenizer.decode(self.tokens))

    def _give(self, text: str) -> str:
        new = text[len(self.given) :]
        if len(self.tokens) > 16 and new:  # so that decoding stays short
            self.tokens = self.tokens[-4:]
            text = self.tokenizer.decode(self.tokens)
        self.given = text
        return new


def _byte_pairs(path: str, tokens: list[str], merges: list[str], words: str) -> Any:
    """Pairs of bytes (Sennrich et al. 2016; bytes as in GPT-2)."""
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    whole = words == "llama-bpe"  # a word that is a token is taken as it is
    inner = tokenizers.Tokenizer(
        models.BPE(vocabulary, pairs, fuse_unk=False, byte_fallback=False, ignore_merges=whole)
    )
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    cut: list[Any]
    if words in ("default", "gpt-2"):
        cut = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    elif words == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        cut = [digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    elif words in _WORDS:
        cut = [pre_tokenizers.Split(Regex(_WORDS[words]), "isolated"), as_bytes]
    else:
        raise ModelError(
            f"'{path}' cuts words by the rules '{words}', expected default, gpt-2, smollm, "
            f"{' or '.join(_WORDS)}"
        )
    if words == "qwen2":
        inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.Sequence(cut)
    inner.decoder = decoders.ByteLevel()
    return inner


def _sentence_pieces(tokens: list[str], scores: list[float], prefix: bool) -> Any:
    """Pieces of a text that are joined in the order of their scores (Kudo and Richardson 2018)."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    inner = tokenizers.Tokenizer(
        models.BPE(
            vocabulary,
            _merges(tokens, scores, vocabulary),
            fuse_unk=True,
            byte_fallback=True,
            unk_token=tokens[0],
        )
    )
    steps: list[Any] = [normalizers.Prepend("\u2581")] if prefix else []
    inner.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "\u2581")])
    after: list[Any] = [decoders.Strip(" ", 1, 0)] if prefix else []
    inner.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), *after]
    )
    return inner


def _merges(
    tokens: list[str], scores: list[float], vocabulary: dict[str, int]
) -> list[tuple[str, str]]:
    """The pairs that make up each piece, those of the highest score first."""

    def pairs() -> Iterator[tuple[float, int, int, tuple[str, str]]]:
        for i, token in enumerate(tokens):
            for cut in range(1, len(token)):
                left, right = vocabulary.get(token[:cut]), vocabulary.get(token[cut:])
                if left is not None and right is not None:
                    yield -scores[i], left, right, (token[:cut], token[cut:])

    return [pair for *_, pair in sorted(pairs())]
