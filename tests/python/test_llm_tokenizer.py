"""Tokenizers made of a GGUF file's fields, chat templates, and text that comes token by token."""

import itertools
import re

import pytest

pytest.importorskip("tokenizers")
import cermet.llm as llm
from cermet.llm.gguf import Fields
from cermet.llm.template import ChatTemplate

TEXTS = [
    "Hello world",
    "It's 2024, isn't it?  Yes!\n\n  indented\tand tabbed   ",
    "Ünïcödé, 日本語 and 🙂 with\u00a0space",
    "",
]


def byte_names():
    """GPT-2's printable stand-ins of the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, extra = {}, 0
    for b in range(256):
        if b in printable:
            names[b] = chr(b)
        else:
            names[b] = chr(256 + extra)
            extra += 1
    return names


NAMES = byte_names()


def fields(**own):
    return Fields("x.gguf", {f"tokenizer.ggml.{name}": value for name, value in own.items()})


def byte_level(pre, merges=()):
    """A tokenizer of bytes, of which some pairs are merged."""
    tokens = [NAMES[b] for b in range(256)] + [m.replace(" ", "") for m in merges] + ["<|end|>"]
    types = [1] * (len(tokens) - 1) + [3]
    return llm.Tokenizer.from_gguf(
        fields(model="gpt2", pre=pre, tokens=tokens, token_type=types, merges=list(merges),
               eos_token_id=len(tokens) - 1)
    )  # fmt: skip


@pytest.mark.parametrize("pre", ["default", "smollm", "qwen2", "llama-bpe"])
@pytest.mark.parametrize("text", TEXTS)
def test_bytes_go_there_and_back(pre, text):
    tokenizer = byte_level(pre)
    tokens = tokenizer.encode(text)
    assert tokens == list(text.encode())
    assert tokenizer.decode(tokens) == text


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("default", ["12345", " 678"]),  # digits stay together
        ("smollm", ["1", "2", "3", "4", "5", " ", "6", "7", "8"]),
        ("qwen2", ["1", "2", "3", "4", "5", " ", "6", "7", "8"]),
        ("llama-bpe", ["123", "45", " ", "678"]),
    ],
)
def test_words_are_cut_by_the_models_rules(pre, words):
    inner = byte_level(pre).inner
    cut = [word for word, _ in inner.pre_tokenizer.pre_tokenize_str("12345 678")]
    assert cut == [word.replace(" ", NAMES[32]) for word in words]


def test_pairs_are_merged_in_their_order():
    tokenizer = byte_level("default", ["b c", "a b", "a bc"])
    assert [tokenizer.inner.id_to_token(t) for t in tokenizer.encode("abc")] == ["abc"]
    tokenizer = byte_level("default", ["a b", "b c", "a bc"])
    assert [tokenizer.inner.id_to_token(t) for t in tokenizer.encode("abc")] == ["ab", "c"]


def test_control_tokens_are_found_and_not_given():
    tokenizer = byte_level("qwen2")
    end = len(tokenizer) - 1
    assert tokenizer.encode("a<|end|>b") == [97, end, 98]
    assert tokenizer.decode([97, end, 98]) == "ab"
    assert end in tokenizer.ends


def test_half_of_a_character_is_refused():
    with pytest.raises(llm.ModelError, match="half of a character"):
        byte_level("qwen2").encode("a\ud800b")
    with pytest.raises(TypeError):
        byte_level("qwen2").encode(3)


# ---- Sentence pieces ----

PIECES = {"<unk>": 0, "<s>": 0, "</s>": 0, "\u2581": -1, "h": -9, "e": -9, "l": -9, "o": -9,
          "he": -3, "ll": -2, "hell": -4, "lo": -1.5, "\u2581hello": -6, "o\u2581": -5,
          **{f"<0x{b:02X}>": 0 for b in range(256)}}  # fmt: skip


def joined(text):
    """The pieces of a text: again and again the pair of neighbours is joined whose piece has the
    highest score, the first of equals."""
    parts = list("\u2581" + text.replace(" ", "\u2581"))
    while True:
        pairs = [a + b for a, b in itertools.pairwise(parts)]
        scores = [PIECES.get(p, float("-inf")) for p in pairs]
        if not scores or max(scores) == float("-inf"):
            break
        i = scores.index(max(scores))
        parts[i : i + 2] = [pairs[i]]
    out = []
    for part in parts:
        out += [part] if part in PIECES else [f"<0x{b:02X}>" for b in part.encode()]
    return out


def sentence_pieces():
    types = [2, 3, 3] + [1] * (len(PIECES) - 259) + [6] * 256
    return llm.Tokenizer.from_gguf(
        fields(model="llama", tokens=list(PIECES), scores=[float(s) for s in PIECES.values()],
               token_type=types, bos_token_id=1, eos_token_id=2)
    )  # fmt: skip


@pytest.mark.parametrize("text", ["hello", "hello hello", "lohell o", "hé llo", "🙂"])
def test_sentence_pieces(text):
    tokenizer = sentence_pieces()
    tokens = tokenizer.encode(text)
    assert tokens[0] == 1  # a text begins with <s>
    assert [tokenizer.inner.id_to_token(t) for t in tokens[1:]] == joined(text)
    assert tokenizer.decode(tokens) == text


# ---- What is refused ----


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({}, "no tokenizer"),
        ({"model": "bert", "tokens": ["a"]}, "kind 'bert', expected gpt2 or llama"),
        ({"model": "gpt2", "tokens": ["a"], "pre": "odd"}, "rules 'odd', expected default"),
        ({"model": "llama", "tokens": ["a"]}, r"no field tokenizer\.ggml\.scores"),
    ],
)
def test_unknown_tokenizers_are_refused(own, message):
    with pytest.raises(llm.ModelError, match=message):
        llm.Tokenizer.from_gguf(fields(**own))


# ---- Streams of text ----


def test_text_comes_in_whole_characters():
    tokenizer = byte_level("qwen2")
    text = "añ🙂" * 20 + "日本"
    stream = tokenizer.stream()
    pieces = [stream.add(t) for t in tokenizer.encode(text)]
    assert "".join(pieces) + stream.finish() == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_text_of_sentence_pieces_comes_as_a_whole():
    tokenizer = sentence_pieces()
    text = "hello lo he " * 12 + "hello"
    stream = tokenizer.stream()
    assert "".join(stream.add(t) for t in tokenizer.encode(text)) + stream.finish() == text


# ---- Templates ----

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_template_writes_a_dialogue():
    messages = [{"role": "user", "content": "Hi"}]
    text = "<|im_start|>user\nHi<|im_end|>\n"
    assert ChatTemplate(CHATML)(messages, False) == text
    assert ChatTemplate(CHATML)(messages, True) == text + "<|im_start|>assistant\n"
    assert ChatTemplate("{{ bos_token }}x", bos_token="<s>")([], False) == "<s>x"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('only users speak') }}", "only users speak"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ missing.field }}", "undefined"),
    ],
)
def test_a_template_that_fails(source, message):
    with pytest.raises(llm.ModelError, match=f"chat template fails: .*{re.escape(message)}"):
        ChatTemplate(source)([], False)


def test_what_is_no_template():
    with pytest.raises(llm.ModelError, match="chat template is wrong"):
        ChatTemplate("{% for %}")


def test_a_model_without_a_template():
    with pytest.raises(llm.ModelError, match="no chat template"):
        sentence_pieces().chat([{"role": "user", "content": "x"}])
