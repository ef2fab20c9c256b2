"""A data set's samples as questions for the model of a profile, in the prompts that it serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from step_audio.cli.data import spelling_of, tokenizer_id
from step_audio.cli.parts import CommandParts, Load
from step_audio.core.config import load_profile
from step_audio.core.errors import InputError, TokenError
from step_audio.core.ports import Services
from step_audio.core.profile import Profile, ScriptedEngineSection, SpeechEndpointSection
from step_audio.core.weights import Weights, open_weights

if TYPE_CHECKING:
    from step_audio.data.examples import Examples
    from step_audio.data.samples import Groups, Sample
    from step_audio.dialog.prompting.prompt import PromptBuilder
    from step_audio.eval.answer_judge import AnswerJudge
    from step_audio.train.rejection import Asked


@dataclass(frozen=True, slots=True)
class Questions:
    """What training by answers of a profile's own model needs.

    Attributes:
        lm: folder of its language model among the weights.
        asked: the questions.
    """

    profile: Profile
    parts: CommandParts
    services: Services
    weights: Weights
    lm: Path
    builder: PromptBuilder
    asked: list[Asked]

    def judge(self, recogniser: str) -> AnswerJudge:
        """Return the judge of answers; `recogniser` is "open", "domain", or "none" for text."""
        from step_audio.eval.answer_judge import AnswerJudge

        services, hear = self.services, None
        if recogniser != "none":
            from step_audio.nano.exam import judge

            hear = (judge.domain_judge() if recogniser == "domain" else judge.open_judge()).hear
        voice = services.voices.get(services.default_voice)
        return AnswerJudge(services.text_tokenizer, services.vocab, hear, services.vocoder, voice)


def questions_of(
    folder: Path, profile_name: str, load: Load, *, tasks: str, count: int, whole: bool = False
) -> Questions:
    """Return a data set's questions to a profile's model.

    Args:
        folder: the data set.
        tasks: of the samples to ask, with commas.
        count: questions at most.
        whole: ask every turn of a conversation, not the first one alone.

    Raises:
        InputError: the profile has no model, or no question can be asked.
    """
    from step_audio.data.examples import Examples
    from step_audio.data.filter import accepted
    from step_audio.data.gates import ALL
    from step_audio.data.pack import read_samples, tokens
    from step_audio.dialog.prompting.prompt import PromptBuilder

    profile = load_profile(profile_name)
    if isinstance(profile.engine, ScriptedEngineSection | SpeechEndpointSection):
        raise InputError(f"profile {profile_name} has no model that could improve")
    weights = open_weights(profile.weights, profile.origin)
    parts = load(profile)
    services = parts.services()
    samples = [s for s in read_samples(folder) if s.task in tasks.split(",")]
    needed = {line for sample in samples for line in sample.lines()}
    spoken = [u for u in accepted(folder, ALL) if u.id in needed] if needed else []
    groups = tokens(folder, spoken, parts.audio_tokenizer, tokenizer_id(weights))
    builder = PromptBuilder.of_profile(
        services.text_tokenizer,
        services.vocab,
        dialect=profile.tools.dialect,
        result_role=profile.tools.result_role,
        chat_headers=services.chat_headers,
        speech_headers=services.speech_headers,
    )
    lm = weights.folder / profile.engine.folder
    found = asked_of(
        samples,
        groups,
        builder,
        count,
        Examples(spoken),
        eot=services.vocab.eot,
        whole=whole,
        spell=spelling_of(lm),
    )
    asked = list(found)
    return Questions(profile, parts, services, weights, lm, builder, asked)


def asked_of(
    samples: Sequence[Sample],
    groups: Groups,
    builder: PromptBuilder,
    count: int,
    examples: Examples | None = None,
    *,
    eot: int,
    whole: bool = False,
    spell: Callable[[str], str] = str,
) -> Iterator[Asked]:
    """Yield the first learned turn of samples as a question with its right answer.

    Args:
        eot: id that ends a turn.
        whole: of conversations also the later ones; where the candidates part is drawn by the id.
        spell: how a text that is read aloud is written for the model.

    Raises:
        InputError: no question can be asked.
    """
    from step_audio.data.pack import sample_turns
    from step_audio.data.samples import SoundMissing
    from step_audio.nano.tools.specs import SPECS
    from step_audio.train.rejection import Asked

    made = 0
    for sample in samples:
        if made == count:
            return
        try:
            tools = tuple(SPECS.values())
            shown, turns = sample_turns(sample, groups, builder, examples, tools, spell=spell)
            context = shown.context + len(turns) - len(shown.turns)
            answered = [
                at for at, turn in enumerate(turns) if turn.role == "assistant" and at >= context
            ]
            if not answered:
                continue
            headers = builder.speech if sample.is_published_tts else builder.chat
            prompts = [headers(turns[:at]) for at in answered[: None if whole else 1]]
            right = [builder.content(turns[at].parts) for at in answered]
        except (SoundMissing, TokenError):
            continue
        made += 1
        later = _between(prompts, right, eot) if whole else ()
        parts_at = int(sample.id[:8], 16) % (len(later) + 1)
        yield Asked(sample.id, tuple(prompts[0]), tuple(right[0]), later, parts_at)
    if not made:
        raise InputError("no question can be asked: samples or accepted sounds are missing")


def _between(
    prompts: Sequence[Sequence[int]], right: Sequence[Sequence[int]], eot: int
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Return what stands between answers, and the right one behind it, of each later turn."""
    found = []
    for at in range(1, len(prompts)):
        before = [*prompts[at - 1], *right[at - 1], eot]
        if list(prompts[at][: len(before)]) != before:
            break  # the history shows an answer otherwise than it was given
        found.append((tuple(prompts[at][len(before) :]), tuple(right[at])))
    return tuple(found)
