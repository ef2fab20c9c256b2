"""Rows of logits inside vLLM follow the same rules as the local engine's."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.types import GenerationRequest, SamplingParams
from step_audio.engine.batch import Forms, Generation
from step_audio.engine.grammar import Grammar
from step_audio.engine.rules import Rules
from step_audio.engine.step1 import Step1Config
from step_audio.vllm_plugin.rows import RuledRow
from tests.fakes import VOCAB

CONFIG = Step1Config(
    hidden_size=8,
    intermediate_size=8,
    num_attention_heads=1,
    num_attention_groups=1,
    num_hidden_layers=1,
    vocab_size=VOCAB.size,
)


class Ids(list[int]):
    """A sink."""

    def has_room(self) -> bool:
        return True

    def put(self, token_id: int, /) -> None:
        self.append(token_id)

    def end(self, error: Exception | None = None) -> None:
        assert error is None


@given(
    seed=st.integers(0, 10_000),
    form=st.sampled_from(["answer", "text", "speech", None]),
    window=st.sampled_from([0, 3, 10]),
)
def test_greedy_ids_equal_those_of_the_local_engine(
    seed: int, form: str | None, window: int
) -> None:
    sampling = SamplingParams(temperature=0, max_tokens=12, repetition_window=window)
    request = GenerationRequest(
        (4, 301, 301),
        sampling,
        frozenset({VOCAB.eot}),
        "r",
        form=form,  # type: ignore[arg-type]
    )
    local: Ids = Ids()
    generation = Generation(request, local, CONFIG, Forms(VOCAB, CONFIG.vocab_size))
    grammar = Grammar(VOCAB, request.form) if request.form else None
    row = RuledRow(Rules(grammar, window))
    drawn: list[int] = []
    random = torch.Generator().manual_seed(seed)
    # Few ids, often the same: repetitions happen.
    kinds = torch.tensor([3, 6, 7, 8, 300, 301, 1000, 1001, 2024, 2025])
    for _ in range(12):
        logits = torch.zeros(VOCAB.size)
        logits[kinds] = torch.randn(len(kinds), generator=random) + 5
        ended = generation.advance(logits.clone())
        choice = int(row(request.prompt, drawn, logits.clone()).argmax())
        if ended and len(local) == len(drawn):
            assert choice == VOCAB.eot
            return
        drawn.append(choice)
        assert drawn == local


def test_an_id_from_elsewhere_lets_the_turn_end_and_makes_no_empty_row() -> None:
    row = RuledRow(Rules(Grammar(VOCAB, "speech")))
    logits = row((4,), [300], torch.zeros(VOCAB.size))
    assert (logits > -torch.inf).nonzero().flatten().tolist() == [VOCAB.eot]
    logits = row((4,), [300, VOCAB.eot, 1000], torch.zeros(VOCAB.size))
    assert (logits > -torch.inf).nonzero().flatten().tolist() == [VOCAB.eot]


def test_a_row_is_not_changed_in_place() -> None:
    row = RuledRow(Rules(Grammar(VOCAB, "answer"), 3))
    logits = torch.zeros(VOCAB.size)
    row((4, 300, 300), [300], logits)
    assert (logits == 0).all()
