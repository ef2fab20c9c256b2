"""The vocoder of a deployment, and the threads that it works in. Shared by every session."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

from step_audio.core.ports import Services
from step_audio.core.types import LIVE, AudioChunk, TokenGroup, Voice, VoiceChange
from step_audio.dialog.response.pipeline import AnswerEvent, ResponsePipeline
from step_audio.dialog.response.responder import Response
from step_audio.dialog.workers import WorkerThreads


class SpeechOutput:
    """Speaks answers as they are written.

    Attributes:
        worker: the threads, for what else is done to the sound.
        rate_hz: of the sound.
    """

    def __init__(self, services: Services, streams: int, rng: random.Random) -> None:
        """Join the vocoder with its threads.

        Args:
            streams: so many may be in the vocoder at once.
            rng: draws a seed for each stream that brings none.
        """
        self.worker = WorkerThreads("vocoder", streams, services.recorder.observe)
        speech = services.speech_model
        self.rate_hz = speech.sample_rate_hz if speech else services.vocoder.sample_rate_hz
        self._services, self._rng = services, rng

    async def speak(
        self,
        response: AsyncGenerator[Response, None] | AsyncGenerator[TokenGroup | AudioChunk, None],
        voice: Voice | None,
        priority: int = LIVE,
        *,
        seed: int | None = None,
        singing: bool = False,
        manner: tuple[str, ...] = (),
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Yield a response with its groups as sound; closing it aborts the engine.

        Args:
            voice: None for an answer without sound.
            priority: `BATCH` for sound that nobody waits for.
            seed: of the vocoder's noise; None: drawn, so that no two answers share their noise.
            singing: whether the vocoder for singing begins; a `VoiceChange` may come later.
            manner: names of what the vocoder does itself at the beginning.

        Raises:
            StepAudioError: whatever broke the response.
        """
        clock, recorder = self._services.clock, self._services.recorder
        run = ResponsePipeline(
            response,
            self._services,
            VoiceChange(voice, singing, manner) if voice else None,
            self.worker,
            priority,
            seed=self._rng.getrandbits(32) if seed is None else seed,
        )
        start_s, silent = clock.now_s(), True
        async with aclosing(run.events()) as events:
            async for event in events:
                if silent and isinstance(event, AudioChunk):
                    recorder.observe("first_audio_s", clock.now_s() - start_s)
                    silent = False
                yield event

    def close(self) -> None:
        """Stop the threads."""
        self.worker.close()
