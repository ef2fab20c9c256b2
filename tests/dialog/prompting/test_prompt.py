from dataclasses import replace

import pytest

from step_audio.core.errors import ProfileError, TokenError
from step_audio.core.vocab import Vocab
from step_audio.dialog.prompting.prompt import (
    Audio,
    Call,
    Heard,
    Part,
    PromptBuilder,
    Spoken,
    Text,
    Turn,
)
from step_audio.dialog.prompting.system_prompts import load_prompt
from tests.fakes import VOCAB, ByteTokenizer, group, text_ids

PUBLISHED = Vocab()
BUILDER = PromptBuilder(ByteTokenizer(), VOCAB)


@pytest.mark.parametrize("name", ["missing", "../core/audio", "Answer", ""])
def test_a_prompt_that_is_not_there_is_refused_with_the_known_names(name: str) -> None:
    with pytest.raises(ProfileError, match="answer"):
        load_prompt(name)


def test_a_spoken_turn_is_transcript_then_ten_text_and_fifteen_audio_ids() -> None:
    groups = tuple(group(n) for n in range(4))
    ids = BUILDER.content((Heard("hi"), Spoken("twelve plus", groups)))
    answer = text_ids("twelve plus")
    assert ids == [
        VOCAB.heard_open,
        *text_ids("hi"),
        VOCAB.heard_close,
        *answer[:10],
        *VOCAB.ids(groups[:3]),
        *answer[10:],
        *VOCAB.ids(groups[3:]),
    ]


def test_mask_marks_what_the_assistant_wrote_and_nothing_else() -> None:
    answer = (Heard("hi"), Call("get_time", "{}"))
    turns = [
        Turn("system", (Text("assistant"),)),
        Turn("human", (Audio((group(1),)),)),
        Turn("assistant", answer),
        Turn("tool", (Text('{"time":"noon"}'),)),
        Turn("assistant", (Spoken("noon", (group(2),)),)),
    ]
    ids, mask = BUILDER.training_sequence(turns)
    written = [i for i, marked in zip(ids, mask, strict=True) if marked]
    assert written == [
        *BUILDER.content(answer),
        VOCAB.eot,
        *BUILDER.content((Spoken("noon", (group(2),)),)),
        VOCAB.eot,
    ]


def test_history_is_not_learned_from() -> None:
    turns = [
        Turn("human", (Text("a"),)),
        Turn("assistant", (Text("b"),)),
        Turn("human", (Text("c"),)),
        Turn("assistant", (Text("d"),)),
    ]
    ids, mask = BUILDER.training_sequence(turns, context=2)
    written = [i for i, marked in zip(ids, mask, strict=True) if marked]
    assert written == [*text_ids("d"), VOCAB.eot]


def test_training_ids_start_with_the_prompt_that_serving_sends() -> None:
    question = [Turn("system", (Text("assistant"),)), Turn("human", (Audio((group(1),)),))]
    ids, mask = BUILDER.training_sequence([*question, Turn("assistant", (Heard("hi"),))])
    prompt = BUILDER.chat(question)
    assert ids[: len(prompt)] == prompt
    assert mask.index(True) == len(prompt)


@pytest.mark.parametrize("part", [Heard("hi"), Call("get_time", "{}")])
def test_a_marker_the_checkpoint_does_not_know_is_refused(part: Part) -> None:
    with pytest.raises(TokenError, match="marker"):
        PromptBuilder(ByteTokenizer(), PUBLISHED).content((part,))


def test_only_questions_are_shown_without_semantic_codes() -> None:
    builder = PromptBuilder(ByteTokenizer(), replace(VOCAB, hears_semantic=False))
    heard = builder.content((Audio((group(1),)),), "human")
    assert heard == [VOCAB.linguistic_id(code) for code in group(1).linguistic]
    assert builder.content((Audio((group(1),)),), "assistant") == VOCAB.ids((group(1),))
