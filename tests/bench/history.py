"""Ids of a conversation's history: old questions as sound against old questions as words.

Forty turns of Chinese, as long as they take to say at the pace of the published recording (21
characters in 4.4 s), in the prompts of chat-130b and aqaa-130b as they ship. Prompts are made by
the same code as in service; words by the text tokenizer of the published stand-in, which gives
every character an id of its own. The published one joins characters: its words take fewer ids.

Run: python -m tests.bench.history
"""

from __future__ import annotations

import math
from typing import Final, Literal

from step_audio.core.config import load_profile
from step_audio.core.types import GROUP_MS, TextDelta, TokenGroup, Transcript
from step_audio.core.vocab import Vocab
from step_audio.core.weights import PUBLISHED
from step_audio.dialog.prompting.context_window import ContextWindow
from step_audio.dialog.prompting.conversation import Answer, Conversation, UserAudio
from step_audio.dialog.prompting.prompt import PromptBuilder
from step_audio.dialog.prompting.system_prompts import load_prompt
from step_audio.dialog.prompting.tool_syntax import tool_syntax_of
from tests.published.engines import tokenizer

History = Literal["all sound", "questions as sound", "words"]

TURNS: Final = (10, 20, 40)
PROFILES: Final = ("chat-130b", "aqaa-130b")
PACE: Final = 21 / 4.4
"""Characters a second."""
SAID: Final = (
    ("今天天气真的很好，我们去海边走走吗？", "好。今天天气真的很好，到海边走走真的很高兴。"),
    ("请你说说海洋馆，那天我们买了什么？", "那天我们到海洋馆，给妈妈买了个礼物。"),
    ("你会说四川话吗？", "会。我会说四川话，我会说粤语，我会说中文，我会说英语。"),
    ("请你用日语回答我，天气好吗？", "天气真的很好，你好，你好。"),
    ("我们之后买什么礼物给妈妈呢？", "买个海洋馆的礼物好不好呀？妈妈真的会很高兴。"),
)
"""Questions and answers in turn, in characters that the stand-in has."""


def groups_of(text: str) -> tuple[TokenGroup, ...]:
    """Return the sound of a text that is said at `PACE`."""
    characters = sum(char.isalpha() for char in text)
    count = math.ceil(characters / PACE * 1000 / GROUP_MS)
    return tuple(TokenGroup((0, 0), (0, 0, 0)) for _ in range(count))


def prompt_ids(profile: str, turns: int, history: History) -> int:
    """Return the ids of the prompt for the question of a turn, counted from 1."""
    shipped, vocab = load_profile(profile, {}), Vocab()
    window = ContextWindow(
        PromptBuilder(
            tokenizer(),
            vocab,
            dialect=tool_syntax_of(shipped.tools.dialect, shipped.tools.result_role),
            chat_headers=PUBLISHED.chat_headers,
        ),
        vocab,
        max_ids=PUBLISHED.context - shipped.sampling.max_tokens,
        recent_audio=100 if history == "all sound" else 0,
    )
    conversation, speaks = Conversation(), shipped.responder == "direct"
    for turn in range(turns):
        question, answer = SAID[turn % len(SAID)]
        conversation.add(UserAudio(f"q{turn}", groups_of(question)))
        if turn == turns - 1:
            break
        if history == "words":
            conversation.transcribe(f"q{turn}", Transcript(question))
        said = Answer(f"a{turn}")
        said.add(TextDelta(answer))
        for group in groups_of(answer) if speaks else ():
            said.add(group)
        conversation.add(said)
    system = load_prompt(shipped.dialog.answer_prompt)
    made = window.prompt(conversation, system)
    assert not made.left_out, "a history that was cut is not compared"
    return len(made.ids)


def history_ids(profile: str, turns: int, history: History) -> int:
    """Return what the history adds to the prompt for the question of a turn."""
    asked = SAID[(turns - 1) % len(SAID)][0]
    first = prompt_ids(profile, 1, "words")
    other = 5 * (len(groups_of(asked)) - len(groups_of(SAID[0][0])))
    return prompt_ids(profile, turns, history) - first - other


def main() -> None:
    """Print the table."""
    print("| profile | turn | all as sound | questions as sound | words | questions alone |")
    print("| --- | --- | --- | --- | --- | --- |")
    for profile in PROFILES:
        for turns in TURNS:
            whole, asked, words = (
                history_ids(profile, turns, history)
                for history in ("all sound", "questions as sound", "words")
            )
            answers = words - sum(len(SAID[n % len(SAID)][0]) for n in range(turns - 1))
            share = f"{(asked - answers) / (words - answers):.1f} : 1"
            print(f"| `{profile}` | {turns} | {whole} | {asked} | {words} | {share} |")


if __name__ == "__main__":
    main()
