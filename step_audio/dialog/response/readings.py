"""Written texts of a deployment -> the sentences that its speech model is given."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

from step_audio.core.profile import LanguageCode
from step_audio.core.types import TextOptions
from step_audio.dialog.speakable.reader import SentenceReader, SpokenSentence, check_text
from step_audio.dialog.speakable.sentences import sentences
from step_audio.dialog.workers import WorkerThreads


class Readings:
    """Reads texts as the deployment's options say, in a thread of its own."""

    def __init__(
        self,
        languages: tuple[LanguageCode, ...] = (),
        options: TextOptions = TextOptions(),  # noqa: B008 - frozen
        worker: WorkerThreads | None = None,
    ) -> None:
        """Args: `worker` is the thread that texts are read in; None for the caller's."""
        self._languages, self._options, self._worker = languages, options, worker

    def sentence_reader(
        self, options: TextOptions | None = None, instructions: str = ""
    ) -> SentenceReader:
        """Return the reader of one text; by default with the options of the deployment."""
        return SentenceReader(options or self._options, self._languages, instructions)

    def answer_reader(self) -> SentenceReader:
        """Return the reader of an answer: it has no style tags, and nobody to refuse it to."""
        return self.sentence_reader(replace(self._options, style_tags=False, unreadable="skip"))

    async def sentence(self, reader: SentenceReader, written: str) -> list[SpokenSentence]:
        """Return what is read of one written sentence. Raises UnreadableText."""
        if self._worker is None:
            return reader.read(written)
        return await self._worker.run(lambda: reader.read(written))

    async def check(self, text: str, options: TextOptions | None = None) -> list[str]:
        """Return what is to be said of the parts of a text that are left out.

        Raises:
            UnreadableText: a sentence in letters that the model was not taught.
        """

        def checked() -> list[str]:
            return check_text(text, options or self._options, self._languages)

        return checked() if self._worker is None else await self._worker.run(checked)

    async def whole(
        self, text: str, reader: SentenceReader
    ) -> AsyncGenerator[SpokenSentence, None]:
        """Yield what is read of a whole text. Raises UnreadableText."""
        async for spoken in self.piece(text, reader):
            yield spoken
        for spoken in reader.end():
            yield spoken

    async def piece(
        self, text: str, reader: SentenceReader
    ) -> AsyncGenerator[SpokenSentence, None]:
        """Yield what is read of the next sentences of a reader's text. Raises UnreadableText."""
        for written in sentences(text):
            for spoken in await self.sentence(reader, written):
                yield spoken
