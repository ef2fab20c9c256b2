"""The law of continuous batching: whoever joins or leaves, each request is decoded as if alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from step_audio.core.types import BATCH, LIVE, Form, GenerationRequest, SamplingParams
from step_audio.engine.batch import Batch, Generation
from step_audio.engine.decoder import Step1Decoder
from tests.engine.test_batch import Collected, add, alone, ids_of
from tests.fakes import VOCAB

FORMS_DRAWN: tuple[Form | None, ...] = (None, "answer", "text", "speech")


@dataclass(frozen=True)
class Visit:
    """A request, the step before which it comes, and the step after which it is cancelled."""

    request: GenerationRequest
    comes: int
    leaves: int | None


SAMPLING = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.7, 2.0]),
    top_p=st.sampled_from([0.5, 1.0]),
    top_k=st.sampled_from([0, 20]),
    seed=st.integers(0, 99),
    max_tokens=st.integers(0, 25),
    repetition_window=st.sampled_from([0, 10]),
)
PROMPTS = st.one_of(
    st.lists(st.integers(0, 400), min_size=1, max_size=50),
    # Common beginnings, for the prefix cache.
    st.integers(1, 60).map(lambda length: list(range(length))),
)
VISITS = st.builds(
    Visit,
    st.builds(
        lambda prompt, sampling, form, priority, session: GenerationRequest(
            tuple(prompt),
            sampling,
            frozenset({VOCAB.eot}),
            "law",
            form,
            priority=priority,
            session=session,
        ),
        PROMPTS,
        SAMPLING,
        st.sampled_from(FORMS_DRAWN),
        st.sampled_from([LIVE, BATCH]),
        st.sampled_from(["", "a", "b"]),
    ),
    st.integers(0, 30),
    st.one_of(st.none(), st.integers(0, 40)),
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    visits=st.lists(VISITS, min_size=1, max_size=6),
    max_rows=st.integers(1, 4),
    piece=st.sampled_from([1, 7, 64]),
    prefix_bytes=st.sampled_from([0, 200_000, 2**28]),
)
def test_whoever_joins_and_leaves_each_request_is_decoded_as_if_alone(
    talker: Step1Decoder, visits: list[Visit], max_rows: int, piece: int, prefix_bytes: int
) -> None:
    batch = Batch(talker, max_rows=max_rows, prompt_piece=piece, prefix_bytes=prefix_bytes)
    running: dict[int, Generation] = {}
    for now in range(10_000):
        for number, visit in enumerate(visits):
            if visit.comes == now:
                running[number] = add(batch, talker, visit.request)
            if visit.leaves == now and number in running:
                running[number].cancelled = True
        if batch.can_step():
            batch.step()
        elif len(running) == len(visits):
            break
    for number, visit in enumerate(visits):
        want = alone(talker, visit.request)
        got = ids_of(running[number])
        assert got == (want[: len(got)] if running[number].cancelled else want)


def test_a_cancelled_request_gets_no_further_id(talker: Step1Decoder) -> None:
    batch = Batch(talker)
    asked = GenerationRequest((1, 2), SamplingParams(0.0, max_tokens=50), frozenset(), "x")
    goes, stays = add(batch, talker, asked), add(batch, talker, replace(asked, prompt=(3, 4)))
    for _ in range(8):
        batch.step()
    goes.cancelled = True
    assert isinstance(goes.sink, Collected)
    had = len(goes.sink.ids)
    batch.step()
    assert (len(goes.sink.ids), goes.sink.errors) == (had, [None])
    assert len(stays.sink.ids) > had - 1  # type: ignore[attr-defined]
