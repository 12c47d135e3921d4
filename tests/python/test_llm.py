"""Language models: generation, exactness, plans, tokenizers, files that are wrong, the program."""

import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import SIMULATED, to_np
from llm_reference import random_weights, settings, write_folder

import cermet.core as mx

pytest.importorskip("tokenizers")
import cermet.llm as llm
from cermet.llm.__main__ import main

cpu_alone = pytest.mark.skipif(SIMULATED, reason="promised on the CPU, and slow on the simulator")
PROMPT = [5, 17, 80, 2, 2, 63, 44, 9, 31, 77, 12, 50, 5, 17, 80]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = settings("qwen3")
    return write_folder(tmp_path_factory.mktemp("model"), config, random_weights(config))


@pytest.fixture(scope="module")
def model(folder):
    return llm.load(folder)[0]


def greedy(model, prompt, count, **options):
    session = llm.Session(llm.Runner(model, **options))
    return list(session.generate(prompt, max_tokens=count))


# ---- The same bits whichever way ----


def all_logits(model, tokens, pieces):
    """Logits (length, vocabulary), tokens taken up in pieces of the given lengths."""
    runner = llm.Runner(model)
    cache = runner.cache()
    rows, begin = [], 0
    for length in pieces:
        rows.append(model(mx.array([tokens[begin : begin + length]]), cache)[0])
        begin += length
    assert begin == len(tokens)
    return to_np(mx.concatenate(rows))


@cpu_alone
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3"])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_prompt_in_pieces_has_the_same_bits(family, size, tmp_path):
    config = settings(family)
    model, _ = llm.load(write_folder(tmp_path, config, random_weights(config)))
    tokens = np.random.default_rng(0).integers(0, 96, 150).tolist()
    pieces = [size] * (150 // size) + [150 % size] * (150 % size > 0)
    at_once = all_logits(model, tokens, [150])
    np.testing.assert_array_equal(all_logits(model, tokens, pieces), at_once)


@cpu_alone
def test_compiled_steps_have_the_bits_of_a_prompt(model):
    tokens = np.random.default_rng(1).integers(0, 96, 140).tolist()
    at_once = all_logits(model, tokens, [140])
    runner = llm.Runner(model)
    for count in 1, 3:
        cache = runner.cache()
        rows = [runner.prompt(tokens[:8], cache)]
        for begin in range(8, 140, count):
            rows.append(runner.step(mx.array([tokens[begin : begin + count]]), cache)[0])
        np.testing.assert_array_equal(to_np(mx.concatenate(rows)), at_once[7:])


@cpu_alone
def test_a_batch_has_the_tokens_of_each_alone(model):
    rng = np.random.default_rng(2)
    prompts = [rng.integers(0, 96, n).tolist() for n in (3, 130, 1, 40, 12)]
    together = llm.generate_batch(model, prompts, max_tokens=20)
    assert together == [greedy(model, prompt, 20) for prompt in prompts]


@cpu_alone
def test_a_batch_has_the_logits_of_each_alone(model):
    rng = np.random.default_rng(3)
    prompts = [rng.integers(0, 96, n).tolist() for n in (3, 130, 7, 40, 12)]
    next_ = rng.integers(0, 96, (5, 1))
    runner = llm.Runner(model)
    caches = [runner.cache() for _ in prompts]
    for prompt, cache in zip(prompts, caches, strict=True):
        mx.eval(runner.prompt(prompt, cache))
    alone = []
    for prompt, token in zip(prompts, next_.tolist(), strict=True):
        cache = runner.cache()
        runner.prompt(prompt, cache)
        alone.append(to_np(runner.step(mx.array([token]), cache)))
    caches[0].join(*caches[1:])
    assert [c.nbytes for c in caches[1:]] == [0] * 4
    got = to_np(runner.step(mx.array(next_), caches[0]))
    np.testing.assert_array_equal(got, np.concatenate(alone))


@cpu_alone
def test_members_of_a_batch_come_and_go(model):
    batch = llm.Batch(llm.Runner(model))
    first = batch.add(PROMPT, max_tokens=30)
    for _ in range(5):
        batch.step()
    second = batch.add(PROMPT[:4], max_tokens=30)
    for _ in range(5):
        batch.step()
    batch.remove([first])
    for _ in range(5):
        batch.step()
    assert first.answer == greedy(model, PROMPT, 11)
    assert second.answer == greedy(model, PROMPT[:4], 11)


@cpu_alone
def test_a_prompt_in_pieces_beside_others_has_the_tokens_of_it_alone(model):
    batch = llm.Batch(llm.Runner(model))
    first = batch.add(PROMPT, max_tokens=100)
    longer = PROMPT * 12
    second = batch.begin(longer, max_tokens=20)
    while second.rest:
        batch.step()
        batch.take_up(second, 17)
    for _ in range(5):
        batch.step()
    assert second.answer == greedy(model, longer, 6)
    assert first.answer == greedy(model, PROMPT, len(first.answer))
    with pytest.raises(ValueError, match=r"Batch\.take_up: .* computed already"):
        batch.take_up(second, 1)


@cpu_alone
def test_a_batch_takes_no_more_memory_than_those_that_are_left_need(model):
    batch = llm.Batch(llm.Runner(model))
    short = batch.add(PROMPT)
    long = batch.add(PROMPT * 20)
    batch.step()
    before = batch._cache.nbytes
    batch.remove([long])
    assert before == 2 * 3 * batch._cache.nbytes  # 384 tokens of two, 128 of one
    for _ in range(130):
        batch.step()
    assert short.answer == greedy(model, PROMPT, 132)


@cpu_alone
def test_one_and_two_threads_have_the_same_bits(model):
    tokens = np.random.default_rng(4).integers(0, 96, 100).tolist()
    threads = mx.get_num_threads()
    try:
        mx.set_num_threads(1)
        one = all_logits(model, tokens, [60] + [1] * 40)
        mx.set_num_threads(2)
        two = all_logits(model, tokens, [60] + [1] * 40)
    finally:
        mx.set_num_threads(threads)
    np.testing.assert_array_equal(one, two)


def speculated(model, proposer, count, sampling=llm.Sampling(), prompt=PROMPT):  # noqa: B008
    session, note = llm.Session(llm.Runner(model)), llm.Statistics()
    tokens = session.generate(
        prompt, sampling, max_tokens=count, proposer=proposer, statistics=note
    )
    return list(tokens), note


@cpu_alone
def test_prompt_lookup_gives_the_same_tokens(model):
    prompt = PROMPT * 4
    want = greedy(model, prompt, 120)  # repeats itself, as small models do
    got, note = speculated(model, llm.PromptLookup(), 120, prompt=prompt)
    assert got == want
    assert note.steps < 119


@cpu_alone
@pytest.mark.parametrize("seed", [0, 1])
def test_a_draft_model_gives_the_same_tokens(model, seed, tmp_path):
    config = settings("qwen3")  # seed 0: the model itself, whose proposals are all right
    draft, _ = llm.load(write_folder(tmp_path, config, random_weights(config, seed)))
    got, note = speculated(model, llm.Draft(llm.Runner(draft)), 60)
    assert got == greedy(model, PROMPT, 60)
    assert note.steps == 8 if seed == 0 else note.steps <= 59


@cpu_alone
def test_speculation_gives_the_same_tokens_by_chance(model):
    sampling = llm.Sampling(
        temperature=0.7, top_k=20, top_p=0.9, min_p=0.01, repetition_penalty=1.2, seed=7
    )
    session = llm.Session(llm.Runner(model))
    want = list(session.generate(PROMPT, sampling, max_tokens=40))
    assert speculated(model, llm.Draft(llm.Runner(model)), 40, sampling)[0] == want


@cpu_alone
def test_a_step_that_fails_leaves_the_cache(model, monkeypatch):
    runner = llm.Runner(model)
    cache = runner.cache()
    mx.eval(runner.prompt(PROMPT, cache))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_compiled", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runner.step(mx.array([[3]]), cache)
    other = runner.cache()
    mx.eval(runner.prompt(PROMPT, other))
    a, b = (runner.step(mx.array([[3]]), c) for c in (cache, other))
    assert mx.array_equal(a, b)


def test_a_draft_model_with_other_tokens_is_refused(model, tmp_path):
    config = {**settings("qwen3"), "vocab_size": 90}
    draft, _ = llm.load(write_folder(tmp_path, config, random_weights(config)))
    with pytest.raises(llm.ModelError, match="draft model has 90 tokens, expected the 96"):
        speculated(model, llm.Draft(llm.Runner(draft)), 5)


# ---- Sessions and their files ----


@cpu_alone
def test_a_session_computes_only_what_is_new(model):
    session = llm.Session(llm.Runner(model))
    answer = list(session.generate(PROMPT, max_tokens=10))
    note = llm.Statistics()
    longer = [*PROMPT, *answer, 4, 8]
    again = list(session.generate(longer, max_tokens=10, statistics=note))
    assert note.kept_tokens == len(PROMPT) + 9  # the last one was given, not taken up
    assert again == greedy(model, longer, 10)
    other = [*PROMPT[:5], 1]
    assert list(session.generate(other, max_tokens=10, statistics=note)) == greedy(model, other, 10)
    assert note.kept_tokens == 5


@cpu_alone
def test_an_answer_broken_off_leaves_the_session_usable(model):
    session = llm.Session(llm.Runner(model))
    for i, _ in enumerate(session.generate(PROMPT, max_tokens=50)):
        if i == 3:
            break
    assert session.cache.lengths == [len(session.tokens)]
    assert list(session.generate(PROMPT, max_tokens=10)) == greedy(model, PROMPT, 10)


@cpu_alone
def test_a_prompt_cache_is_taken_up_again(model, tmp_path):
    session = llm.Session(llm.Runner(model))
    list(session.generate(PROMPT, max_tokens=3))
    llm.save_session(session, tmp_path / "cache.safetensors")
    other = llm.Session(llm.Runner(model))
    llm.load_session(other, tmp_path / "cache.safetensors")
    note = llm.Statistics()
    assert list(other.generate(PROMPT, max_tokens=20, statistics=note)) == greedy(model, PROMPT, 20)
    assert note.prompt_tokens == 1


def test_a_wrong_prompt_cache_is_refused(model, tmp_path):
    session = llm.Session(llm.Runner(model))
    with pytest.raises(llm.ModelError, match="no tokens"):
        llm.save_session(session, tmp_path / "x.safetensors")
    list(session.generate(PROMPT, max_tokens=1))
    llm.save_session(session, tmp_path / "cache.safetensors")
    config = settings("qwen3")
    other, _ = llm.load(write_folder(tmp_path / "other", config, random_weights(config, 5)))
    with pytest.raises(llm.ModelError, match="another model"):
        llm.load_session(llm.Session(llm.Runner(other)), tmp_path / "cache.safetensors")
    with pytest.raises(llm.ModelError, match="room for 4"):
        llm.load_session(llm.Session(llm.Runner(model), 4), tmp_path / "cache.safetensors")
    (tmp_path / "text").write_text("no cache")
    with pytest.raises(llm.ModelError, match="no prompt cache"):
        llm.load_session(session, tmp_path / "text")
    mx.save_safetensors(str(tmp_path / "plain.safetensors"), {"x": mx.zeros(3)})
    with pytest.raises(llm.ModelError, match="no prompt cache"):
        llm.load_session(session, tmp_path / "plain.safetensors")


# ---- Plans ----


@cpu_alone
@pytest.mark.parametrize("proposer", [None, llm.PromptLookup()], ids=["plain", "proposed"])
def test_a_token_is_written_into_the_cache_where_it_is(model, proposer):
    session = llm.Session(llm.Runner(model))
    places = []
    for i, _ in enumerate(session.generate(PROMPT, max_tokens=20, proposer=proposer)):
        if i % 5 == 4:  # between these, steps are given while others run
            mx.synchronize()
            memory = np.asarray(session.cache.values[0])
            places.append(memory.__array_interface__["data"][0])
            del memory
    assert len(places) == 4 and len(set(places)) == 1


@cpu_alone
def test_a_thousand_tokens_take_few_plans(tmp_path):
    config = {**settings("llama"), "max_position_embeddings": 2048}
    model, _ = llm.load(write_folder(tmp_path, config, random_weights(config)))
    session = llm.Session(llm.Runner(model))
    tokens = session.generate(PROMPT, max_tokens=1010)
    for _ in range(3):
        next(tokens)
    mx.synchronize()  # the next token is on its way
    before = mx.plan_counts()
    bytes_before = mx.get_active_memory() - session.cache.nbytes
    for _ in range(1000):
        next(tokens)
    mx.synchronize()
    after = mx.plan_counts()
    assert after["made"] - before["made"] <= 12
    assert after["expanded"] - before["expanded"] <= 24  # at most thrice each time memory grows
    # Memory grows by the cache alone; a block may be a quarter larger than what it is for.
    spare = session.cache.nbytes // 4 + (1 << 16)
    assert mx.get_active_memory() - session.cache.nbytes - bytes_before < spare


# ---- Sampling ----


def test_greedy_is_the_likeliest():
    logits = mx.array([0.1, 3.0, -1.0, 2.9])
    assert llm.Sampler(llm.Sampling(), 4)(logits).item() == 1


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"top_k": 2}, {1, 3}),
        ({"top_p": 0.6}, {1, 3}),
        ({"top_p": 0.3}, {1}),
        ({"min_p": 0.5}, {1, 3}),
        ({}, {0, 1, 2, 3}),
    ],
)
def test_restrictions_allow_what_they_say(options, allowed):
    logits = mx.log(mx.array([0.15, 0.4, 0.1, 0.35]))
    sampler = llm.Sampler(llm.Sampling(temperature=1.0, seed=3, **options), 4)
    assert {sampler(logits).item() for _ in range(200)} == allowed


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-7])
@pytest.mark.parametrize("penalty", [1.0, 1.0001])
def test_a_temperature_near_zero_takes_the_likeliest(temperature, penalty):
    sampler = llm.Sampler(llm.Sampling(temperature, repetition_penalty=penalty), 4)
    logits = mx.array([0.1, 3.0, -1.0, 2.9])
    assert [sampler(logits).item() for _ in range(5)] == [1] * 5


def test_frequencies_are_the_probabilities():
    p = np.array([0.15, 0.4, 0.1, 0.35])
    for temperature in 1.0, 0.5:
        sampler = llm.Sampler(llm.Sampling(temperature=temperature, seed=1), 4)
        drawn = [sampler(mx.log(mx.array(p))).item() for _ in range(2000)]
        want = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        assert np.abs(np.bincount(drawn, minlength=4) / 2000 - want).max() < 0.04


def test_a_seed_gives_the_same_tokens_again(model):
    def tokens(seed):
        session = llm.Session(llm.Runner(model))
        return list(session.generate(PROMPT, llm.Sampling(1.0, seed=seed), max_tokens=15))

    assert tokens(3) == tokens(3) != tokens(4)


def test_a_penalty_keeps_from_repeating():
    sampler = llm.Sampler(llm.Sampling(repetition_penalty=2.0), 4, [1])
    logits = mx.array([0.1, 3.0, -1.0, 2.9])
    assert sampler(logits).item() == 3  # 3 / 2 < 2.9
    assert sampler(logits).item() == 1  # 2.9 / 2 < 3 / 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"top_k": -1},
        {"top_p": 0},
        {"min_p": 2},
        {"repetition_penalty": 0},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_wrong_sampling_is_refused(wrong):
    with pytest.raises(ValueError, match=f"Sampling: {next(iter(wrong))} is .* expected"):
        llm.Sampling(**wrong)


# ---- Prompts ----


def test_wrong_prompts_are_refused(model):
    session = llm.Session(llm.Runner(model), 8)
    for prompt, message in (([], "empty"), ([96], "outside"), (list(range(8)), "room for 8")):
        with pytest.raises(llm.ModelError, match=message):
            next(session.generate(prompt))
    assert len(list(session.generate([1, 2, 3]))) == 5  # as many as there is room for


# ---- Files that are wrong ----


def test_what_is_wrong_with_a_folder(tmp_path, folder):
    def changed(name, **fields):
        new = tmp_path / name
        config = {**settings("qwen3"), **fields}
        write_folder(new, config, random_weights(settings("qwen3")))
        return new

    with pytest.raises(llm.ModelError, match="does not exist"):
        llm.load(tmp_path / "nothing")
    with pytest.raises(llm.ModelError, match=r"no config\.json"):
        llm.load(tmp_path)
    with pytest.raises(llm.ModelError, match="type gpt2, expected one of llama, mistral"):
        llm.load(changed("other", model_type="gpt2"))
    with pytest.raises(llm.ModelError, match=r"does not fit .* lm_head\.weight"):
        llm.load(changed("larger", vocab_size=97))
    with pytest.raises(llm.ModelError, match=r"does not fit .*layers\.2"):
        llm.load(changed("deeper", num_hidden_layers=3))
    with pytest.raises(llm.ModelError, match="scales rotary positions by 'dynamic'"):
        llm.load(changed("scaled", rope_scaling={"type": "dynamic", "factor": 2.0}))
    new = changed("lacking")
    config = json.loads((new / "config.json").read_text())
    del config["hidden_size"]
    (new / "config.json").write_text(json.dumps(config))
    with pytest.raises(llm.ModelError, match="no field hidden_size"):
        llm.load(new)
    new = changed("weightless")
    os.remove(new / "model.safetensors")
    with pytest.raises(llm.ModelError, match=r"no \.safetensors file"):
        llm.load(new)
    new = changed("speechless")
    os.remove(new / "tokenizer.json")
    with pytest.raises(llm.ModelError, match=r"no tokenizer\.json"):
        llm.load(new)


@pytest.mark.parametrize("name", ["jinja2", "tokenizers"])
def test_without_the_extra_the_package_is_named(name):
    code = f"import sys; sys.modules['{name}'] = None; import cermet.llm"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    need = f"cermet.llm needs the package {name}: python -m pip install 'cermet[llm]'"
    assert done.returncode == 1 and last == f"ImportError: {need}"


def test_too_large_for_memory(folder):
    mx.eval(llm.load(folder)[0].parameters())
    limit = mx.set_memory_limit(mx.get_active_memory() + 1000)
    try:
        with pytest.raises(llm.ModelError, match=r"needs .* GiB, and .* are there"):
            llm.load(folder)
    finally:
        mx.set_memory_limit(limit)


def test_what_is_wrong_with_a_gguf_file(tmp_path):
    path = str(tmp_path / "x.gguf")
    mx.save_gguf(path, {"w": mx.zeros((2, 32))}, {"general.architecture": "bert"})
    with pytest.raises(llm.ModelError, match="architecture bert, expected one of llama"):
        llm.load(path)
    mx.save_gguf(path, {"w": mx.zeros((2, 32))}, {"general.architecture": "llama"})
    with pytest.raises(llm.ModelError, match=r"no tensor token_embd\.weight"):
        llm.load(path)
    mx.save_gguf(path, {"token_embd.weight": mx.zeros((2, 32))}, {"general.architecture": "llama"})
    with pytest.raises(llm.ModelError, match=r"no field llama\.attention\.head_count"):
        llm.load(path)
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(llm.ModelError, match="no whole GGUF file"):
        llm.load(path)


# ---- The program ----


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """A model with a chat template."""
    config = {**settings("qwen3"), "max_position_embeddings": 100000}
    path = write_folder(tmp_path_factory.mktemp("talker"), config, random_weights(config))
    (path / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    return path


def run(folder, command, *arguments):
    return main([command, "--model", str(folder), *arguments])


def test_the_program_generates(folder, model, capsys):
    assert run(folder, "generate", "--max-tokens", "12", "ABC") == 0
    captured = capsys.readouterr()
    tokenizer = llm.Tokenizer.from_folder(folder)
    want = tokenizer.decode(greedy(model, tokenizer.encode("ABC"), 12))
    assert captured.out == want + "\n"
    assert "prompt 4 tokens" in captured.err
    assert run(folder, "generate", "--max-tokens", "12", "--lookup", "4", "--quiet", "ABC") == 0
    assert capsys.readouterr() == (want + "\n", "")


def test_the_program_keeps_a_prompt_cache(folder, tmp_path, capsys):
    cache = str(tmp_path / "cache.safetensors")
    arguments = ["generate", "--max-tokens", "5", "--prompt-cache", cache, "ABC"]
    assert run(folder, *arguments) == 0
    first = capsys.readouterr()
    assert run(folder, *arguments) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "prompt 1 tokens and 3 kept" in again.err


def test_the_program_measures(folder, capsys):
    options = "--prompt-tokens", "20", "--answer-tokens", "8", "--runs", "1"
    assert run(folder, "bench", *options) == 0
    out = capsys.readouterr().out
    assert "prompt of 20" in out and "answer of 8" in out


def test_the_program_says_what_is_wrong(tmp_path, capsys):
    assert run(tmp_path / "nothing", "generate", "x") == 1
    assert capsys.readouterr().err == f"error: '{tmp_path / 'nothing'}' does not exist\n"


def test_the_program_chats(talker, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("AB\n\nCD\n"))
    assert run(talker, "chat", "--max-tokens", "4") == 0
    captured = capsys.readouterr()
    assert captured.out.count("> ") >= 4
    assert captured.err.count("answer 4 tokens") == 2
    assert "kept" in captured.err  # the history was not computed again


@cpu_alone
def test_an_interrupt_stops_the_answer_and_not_the_chat(talker):
    options = "--model", str(talker), "--quiet", "--max-tokens", "100000"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "cermet.llm", "chat", *options], **pipes
    ) as program:
        for _ in range(2):
            program.stdin.write(b"AB\n")
            while len(program.stdout.read(1).strip(b"> ")) == 0:  # the answer has begun
                pass
            program.send_signal(signal.SIGINT)
            program.stdout.readline()  # its rest
        program.stdin.close()
        program.stdout.read()
        assert program.wait(60) == 0
