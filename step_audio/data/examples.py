"""The example of a published TTS prompt: a line of the voice that answers, said in its own manner.

The model reads the voice off the example. Shown somebody else, it would learn not to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from step_audio.data.manifest import SpokenUtterance
from step_audio.data.samples import Sample, SoundMissing
from step_audio.data.tags import Tags


class Examples:
    """Finds the example of a sample.

    Args:
        accepted: what may be learned from.
    """

    def __init__(self, accepted: Sequence[SpokenUtterance]) -> None:
        self._speakers = {utterance.id: utterance.speaker for utterance in accepted}
        self._plain: dict[str, dict[str, str]] = {}
        for utterance in accepted:
            if utterance.text and utterance.tags == Tags():
                self._plain.setdefault(utterance.speaker, {})[utterance.id] = utterance.text

    def fitted(self, sample: Sample) -> Sample:
        """Return a sample of the published TTS layout with an example of the voice that answers:
        its own where that fits, else a line drawn by the answer's id. Others come back unchanged.

        Raises:
            SoundMissing: the answer has no accepted sound, or its voice no other line.
        """
        if not sample.is_published_tts:
            return sample
        system, *shown, asked, answer = sample.turns
        said = answer[1][0]["audio"]
        speaker = self._speakers.get(said)
        if speaker is None:
            raise SoundMissing(said)
        plain = self._plain.get(speaker, {})
        if shown and shown[-1][1][0]["audio"] in plain:
            return sample
        names = [name for name in plain if name != said]
        if not names:
            raise SoundMissing(said, f"voice {speaker} has no other line to show as an example")
        name = names[int(said[:15], 16) % len(names)]
        example = [["human", [{"text": plain[name]}]], ["assistant", [{"audio": name}]]]
        return replace(sample, turns=[system, *example, asked, answer], context=3)
