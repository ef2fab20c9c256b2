"""Continuous batching: requests share steps, and none notices the others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from step_audio.core.errors import EngineError, InputError, StepAudioError, TokenError
from step_audio.core.types import BATCH, Form, GenerationRequest, SamplingParams
from step_audio.engine.batch import Batch, Forms, Generation, check_request
from step_audio.engine.decoder import Step1Decoder
from step_audio.engine.grammar import Grammar, Position
from step_audio.engine.step1 import Step1Config
from tests.fakes import VOCAB

FORMS = Forms(VOCAB, VOCAB.size + 8)
GREEDY = SamplingParams(temperature=0.0, max_tokens=24)


@dataclass
class Collected:
    """A sink that keeps everything; `room` ids at most."""

    room: int = 10**9
    ids: list[int] = field(default_factory=list)
    errors: list[StepAudioError | None] = field(default_factory=list)

    def has_room(self) -> bool:
        return len(self.ids) < self.room

    def put(self, token_id: int) -> None:
        self.ids.append(token_id)

    def end(self, error: StepAudioError | None = None) -> None:
        self.errors.append(error)


def request(
    prompt: list[int],
    sampling: SamplingParams = GREEDY,
    stop: frozenset[int] = frozenset(),
    form: Form | None = None,
) -> GenerationRequest:
    return GenerationRequest(tuple(prompt), sampling, stop, "test", form)


def add(batch: Batch, decoder: Step1Decoder, wanted: GenerationRequest) -> Generation:
    generation = Generation(wanted, Collected(), decoder.config, FORMS)
    batch.add(generation)
    return generation


def run(batch: Batch) -> None:
    while batch.can_step():
        batch.step()


def alone(decoder: Step1Decoder, wanted: GenerationRequest) -> list[int]:
    batch = Batch(decoder)
    generation = add(batch, decoder, wanted)
    run(batch)
    return ids_of(generation)


def ids_of(generation: Generation) -> list[int]:
    assert isinstance(generation.sink, Collected)
    assert generation.sink.errors == [None]
    return generation.sink.ids


def prompts(count: int) -> list[list[int]]:
    source = torch.Generator().manual_seed(9)
    return [torch.randint(512, (3 + 40 * n,), generator=source).tolist() for n in range(count)]


def test_greedy_ids_equal_the_reference(decoder: Step1Decoder, data: dict[str, Tensor]) -> None:
    prompt = data["greedy.prompt"].tolist()
    assert prompt + alone(decoder, request(prompt)) == data["greedy.ids"].tolist()


@pytest.mark.parametrize("piece", [1, 16, 1000])
def test_together_equals_alone(decoder: Step1Decoder, piece: int) -> None:
    batch = Batch(decoder, max_rows=3, prompt_piece=piece)
    sampled = SamplingParams(temperature=0.9, top_p=0.95, seed=4, max_tokens=20)
    wanted = [request(p, sampled if n % 2 else GREEDY) for n, p in enumerate(prompts(5))]
    running = [add(batch, decoder, w) for w in wanted]
    run(batch)
    for generation, w in zip(running, wanted, strict=True):
        assert ids_of(generation) == alone(decoder, w)


def test_requests_join_and_leave_between_steps(decoder: Step1Decoder) -> None:
    batch = Batch(decoder)
    first, second, third = (request(p) for p in prompts(3))
    a = add(batch, decoder, first)
    for _ in range(5):
        batch.step()
    b = add(batch, decoder, second)
    for _ in range(5):
        batch.step()
    a.cancelled = True
    c = add(batch, decoder, third)
    run(batch)
    assert ids_of(b) == alone(decoder, second)
    assert ids_of(c) == alone(decoder, third)
    assert ids_of(a) == alone(decoder, first)[: len(ids_of(a))]
    assert len(ids_of(a)) == 10  # cancelled: not one id more


def test_a_stop_id_ends_and_is_not_passed_on(decoder: Step1Decoder) -> None:
    free = alone(decoder, request([1, 2, 3]))
    stop = free[7]
    got = alone(decoder, request([1, 2, 3], stop=frozenset({stop})))
    assert got == free[: free.index(stop)]


@pytest.mark.parametrize("form", ["answer", "text", "speech"])
@pytest.mark.parametrize("window", [0, 10])
def test_only_what_continues_the_form_is_drawn(
    talker: Step1Decoder, form: Form, window: int
) -> None:
    ends = 0
    for seed in range(8):
        sampling = SamplingParams(3.0, seed=seed, max_tokens=90, repetition_window=window)
        got = alone(talker, request([1, 4], sampling, frozenset({VOCAB.eot}), form))
        place = Grammar(VOCAB, form).after(got)  # raises where an id breaks the form
        ends += len(got) < 90
        if form == "speech":
            assert all(VOCAB.is_audio(i) for i in got)
        if form == "text":
            assert not any(VOCAB.is_audio(i) for i in got)
            assert place not in (Position.ONE, Position.TWO, Position.THREE, Position.FOUR)
    assert ends or form != "text"


def test_without_a_form_the_same_model_garbles(talker: Step1Decoder) -> None:
    got = alone(talker, request([1, 4], SamplingParams(3.0, seed=0, max_tokens=90)))
    with pytest.raises(TokenError):
        Grammar(VOCAB).after(got)


def test_the_end_of_the_turn_ends_a_form_without_stop_ids(talker: Step1Decoder) -> None:
    ended = 0
    for seed in range(40):
        sampling = SamplingParams(50.0, seed=seed, max_tokens=400)
        got = alone(talker, request([1], sampling, form="answer"))
        assert VOCAB.eot not in got
        ended += len(got) < 400
    assert ended


def test_a_live_request_is_served_before_batch_jobs(decoder: Step1Decoder) -> None:
    batch = Batch(decoder, max_rows=2)
    jobs = [replace(request(p), priority=BATCH) for p in prompts(3)]
    running = [add(batch, decoder, job) for job in jobs]
    for _ in range(6):
        batch.step()
    live = request([9, 8, 7])
    urgent = add(batch, decoder, live)
    batch.step()
    assert len(ids_so_far(urgent)) >= 1  # it took the row of a job at once
    steps = 0
    while not urgent.sink.errors:  # type: ignore[attr-defined]
        batch.step()
        steps += 1
    assert steps <= live.sampling.max_tokens + 1
    run(batch)
    assert ids_of(urgent) == alone(decoder, live)
    for generation, job in zip(running, jobs, strict=True):
        assert ids_of(generation) == alone(decoder, job)


def test_a_warm_up_waits_for_whoever_waits_for_sound(decoder: Step1Decoder) -> None:
    batch = Batch(decoder, max_rows=1)
    warm = add(batch, decoder, request(prompts(3)[2], replace(GREEDY, max_tokens=0)))
    asked = add(batch, decoder, request([5, 6]))
    job = add(batch, decoder, replace(request([7, 6]), priority=BATCH))
    order = []
    while batch.can_step():
        batch.step()
        order += [g for g in (warm, asked, job) if g.sink.errors and g not in order]  # type: ignore[attr-defined]
    assert order == [asked, warm, job]


def ids_so_far(generation: Generation) -> list[int]:
    assert isinstance(generation.sink, Collected)
    return generation.sink.ids


def test_seeds_repeat_and_differ(decoder: Step1Decoder) -> None:
    def ids(seed: int | None) -> list[int]:
        return alone(decoder, request([1], SamplingParams(temperature=1.0, seed=seed)))

    sampling = SamplingParams(temperature=1.0, seed=3, max_tokens=30)
    assert alone(decoder, request([1], sampling)) == alone(decoder, request([1], sampling))
    short = [
        alone(decoder, request([1], replace(sampling, seed=s))) for s in (3, 4, -1, None, None)
    ]
    assert len({tuple(s) for s in short}) == 5


def test_repetition_aware_drawing_never_repeats_an_id_at_once(decoder: Step1Decoder) -> None:
    sampling = SamplingParams(temperature=0.0, max_tokens=60, repetition_window=10)
    wanted = [request([n] * 10, sampling) for n in range(1, 30)]
    changed = 0
    for asked in wanted:
        got = alone(decoder, asked)
        changed += got != alone(
            decoder, replace(asked, sampling=replace(sampling, repetition_window=0))
        )
        history = [*asked.prompt, *got]
        for n in range(11, len(history)):
            if history[n - 10 : n].count(history[n - 1]) >= 2:
                assert history[n] != history[n - 1]
    assert changed


def test_a_full_sink_rests_its_request_only(decoder: Step1Decoder) -> None:
    batch = Batch(decoder)
    slow, fast = add(batch, decoder, request([1, 2])), add(batch, decoder, request([5, 6]))
    assert isinstance(slow.sink, Collected)
    slow.sink.room = 4
    run(batch)
    assert len(slow.sink.ids) == 4
    assert ids_of(fast) == alone(decoder, request([5, 6]))
    slow.sink.room = 10**9
    run(batch)
    assert ids_of(slow) == alone(decoder, request([1, 2]))


def test_a_request_whose_reader_takes_nothing_gives_its_row_to_who_waits(
    decoder: Step1Decoder,
) -> None:
    """B13: dropped clients that may be resumed held their rows for the whole window."""
    wanted = [request(prompt) for prompt in prompts(3)]
    alone_ids = [alone(decoder, one) for one in wanted]
    batch = Batch(decoder, max_rows=1)
    stalled = [Generation(one, Collected(room=4), decoder.config, FORMS) for one in wanted[:2]]
    for generation in stalled:
        batch.add(generation)
    waiting = add(batch, decoder, wanted[2])
    run(batch)
    assert ids_of(waiting) == alone_ids[2]
    for generation in stalled:  # their clients come back: they go on where they stopped
        assert isinstance(generation.sink, Collected)
        assert generation.sink.ids == alone_ids[stalled.index(generation)][:4]
        generation.sink.room = 10**9
    run(batch)
    assert [ids_of(generation) for generation in stalled] == alone_ids[:2]


def test_a_known_prefix_is_not_computed_again(
    decoder: Step1Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = prompts(4)[3]
    follow_up = prompt + alone(decoder, request(prompt)) + [7, 8, 9]
    want = alone(decoder, request(follow_up))
    batch = Batch(decoder)
    add(batch, decoder, request(prompt))
    run(batch)
    fed: list[int] = []
    extend = decoder.extend

    def counted(ids: Tensor, caches: list[object]) -> Tensor:
        fed.append(ids.numel())
        return extend(ids, caches)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "extend", counted)
    again = add(batch, decoder, request(follow_up))
    run(batch)
    assert ids_of(again) == want
    assert fed[0] == 4  # the id that had not been fed, and the 3 new ones
    same = add(batch, decoder, request(follow_up))
    run(batch)
    assert ids_of(same) == want


def test_a_warm_up_fills_the_prefix_cache_and_draws_nothing(decoder: Step1Decoder) -> None:
    batch = Batch(decoder)
    prompt = prompts(3)[2]
    warm = add(batch, decoder, request(prompt, replace(GREEDY, max_tokens=0)))
    run(batch)
    assert ids_of(warm) == []
    found = batch.prefixes.find(prompt)
    assert found is not None
    assert found.length == len(prompt)
    assert ids_of_after(batch, decoder, prompt) == alone(decoder, request(prompt))


def test_a_request_goes_on_where_a_warm_up_of_its_session_stands(
    decoder: Step1Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = [*range(1, 101)]
    want = alone(decoder, request(prompt))
    batch = Batch(decoder, prompt_piece=30)
    quiet = replace(GREEDY, max_tokens=0)
    warm = add(batch, decoder, replace(request(prompt[:90], quiet), session="s"))
    other = add(batch, decoder, replace(request([7] * 90, quiet), session="t"))
    for _ in range(2):
        batch.step()
    fed: list[int] = []
    extend = decoder.extend

    def counted(ids: Tensor, caches: list[object]) -> Tensor:
        fed.append(ids.numel())
        return extend(ids, caches)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "extend", counted)
    asked = add(batch, decoder, replace(request(prompt), session="s"))
    batch.step()
    assert ids_of(warm) == []  # ended, and what it computed is kept
    assert not other.sink.errors  # type: ignore[attr-defined]
    run(batch)
    assert ids_of(asked) == want
    assert fed[:2] == [30, 10]  # 60 of 100 were known


def ids_of_after(batch: Batch, decoder: Step1Decoder, prompt: list[int]) -> list[int]:
    generation = add(batch, decoder, request(prompt))
    run(batch)
    return ids_of(generation)


def test_a_request_ends_where_the_context_ends(decoder: Step1Decoder) -> None:
    long = [1] * (decoder.config.max_seq_len - 5)
    assert len(alone(decoder, request(long))) == 5


def test_a_failing_row_leaves_the_others(
    decoder: Step1Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(decoder)
    bad, good = add(batch, decoder, request([1, 2])), add(batch, decoder, request([5, 6]))

    def broken(logits: Tensor) -> bool:
        raise RuntimeError("out of paper")

    monkeypatch.setattr(bad, "advance", broken)
    run(batch)
    assert isinstance(bad.sink, Collected)
    (error,) = bad.sink.errors
    assert isinstance(error, EngineError)
    assert "out of paper" in str(error)
    assert ids_of(good) == alone(decoder, request([5, 6]))


def test_a_failing_model_fails_its_requests_and_the_next_one_works(
    decoder: Step1Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(decoder)
    broken = add(batch, decoder, request([1, 2]))
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "extend", None)
        run(batch)
    assert isinstance(broken.sink, Collected)
    assert isinstance(broken.sink.errors[0], EngineError)
    assert ids_of_after(batch, decoder, [5, 6]) == alone(decoder, request([5, 6]))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (request([]), InputError, "the prompt is empty"),
        (request([1] * 512), InputError, "512 ids, this model takes at most 511"),
        (request([1, 512]), TokenError, "a prompt id is outside the vocabulary"),
        (request([-1]), TokenError, "a prompt id is outside the vocabulary"),
        (request([1], stop=frozenset({999})), TokenError, "a stop id is outside"),
        (request([1], form="speech"), InputError, "no audio ids to answer in the form 'speech'"),
        (request([1], SamplingParams(top_p=2.0)), InputError, "top_p"),
    ],
)
def test_requests_that_cannot_be_served_are_refused(
    config: Step1Config, bad: GenerationRequest, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_request(bad, config, Forms(VOCAB, config.vocab_size))
