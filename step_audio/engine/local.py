"""The embedded engine: Step1 on this machine behind the `Engine` port, in one worker thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator

import torch

from step_audio.core.errors import EngineError, EngineTimeout, Overloaded, StepAudioError
from step_audio.core.types import GenerationRequest, SamplingParams
from step_audio.core.vocab import Vocab
from step_audio.engine.batch import Batch, Forms, Generation, check_request
from step_audio.engine.decoder import Step1Decoder
from step_audio.engine.threads import choose_threads

log = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 10.0


class TokenStream:
    """Ids of one request on their way from the worker to the event loop that asked.

    At most `backlog` ids wait; then the request rests until its consumer has caught up.
    """

    def __init__(self, backlog: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[int | StepAudioError | None] = asyncio.Queue()
        self._backlog = backlog
        # Each counter has one writer: the worker, the consumer.
        self._sent = self._taken = 0

    def has_room(self) -> bool:
        """True while fewer than `backlog` ids wait. Called by the worker."""
        return self._sent - self._taken < self._backlog

    def put(self, token_id: int) -> None:
        """Pass an id on. Called by the worker."""
        self._sent += 1
        self._send(token_id)

    def end(self, error: StepAudioError | None = None) -> None:
        """Say that nothing follows. Called by the worker."""
        self._send(error)

    def _send(self, item: int | StepAudioError | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:  # the consumer's loop is closed: nobody listens any more
            log.debug("token dropped: event loop closed")

    async def get(self) -> int | None:
        """Return the next id, None at the end. Raises what the engine raised."""
        item = await self._items.get()
        if isinstance(item, StepAudioError):
            raise item
        self._taken += 1
        return item

    def was_full(self) -> bool:
        """True when the id just taken made room for a resting request."""
        return self._sent - self._taken == self._backlog - 1


class LocalEngine:
    """Implements `core.ports.Engine` over a loaded decoder."""

    def __init__(
        self,
        decoder: Step1Decoder,
        vocab: Vocab | None = None,
        *,
        max_streams: int = 4,
        max_waiting: int = 64,
        backlog: int = 512,
        first_token_timeout_s: float = 30.0,
        prefix_bytes: int = 64 * 2**20,
        threads: int = 1,
    ) -> None:
        """Prepare; the thread starts with the first request.

        Args:
            vocab: of the checkpoint; without one, requests cannot ask for a form.
            max_streams: requests decoded together; more wait.
            max_waiting: requests that may wait; more are refused.
            backlog: ids that may wait for a slow consumer.
            prefix_bytes: memory for the KV caches of finished sequences.
            threads: most CPU threads; a measurement at the start may choose fewer.
        """
        self._decoder, self._threads = decoder, threads
        self._config = decoder.config
        self._forms = Forms(vocab, decoder.config.vocab_size)
        self._batch = Batch(decoder, max_rows=max_streams, prefix_bytes=prefix_bytes)
        self._max_open = max_streams + max_waiting
        self._backlog, self._first_token_timeout_s = backlog, first_token_timeout_s
        self._open = 0
        self._wake = threading.Condition()
        self._arrived: list[Generation] = []
        self._closing = False
        self._thread: threading.Thread | None = None

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[int, None]:
        """Yield ids until a stop id (not yielded), `max_tokens` or the model's context ends.

        Closing the iterator aborts the request before the next step.

        Raises:
            InputError, TokenError: the request cannot be served.
            Overloaded: too many requests wait.
            EngineTimeout: no first id in time.
            EngineError: the engine broke or was closed.
        """
        check_request(request, self._config, self._forms)
        if self._open >= self._max_open:
            raise Overloaded(f"{self._open} requests are open; try again later")
        stream = TokenStream(self._backlog)
        generation = Generation(request, stream, self._config, self._forms)
        self._open += 1
        try:
            self._submit(generation)
            try:
                async with asyncio.timeout(self._first_token_timeout_s):
                    token_id = await stream.get()
            except TimeoutError:
                raise EngineTimeout("the local engine", self._first_token_timeout_s) from None
            while token_id is not None:
                if stream.was_full():
                    self._notify()
                yield token_id
                token_id = await stream.get()
        finally:
            self._open -= 1
            generation.cancelled = True
            self._notify()

    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        """Compute a prompt's beginning ahead of time, so that a request with it starts sooner.

        Raises:
            InputError, TokenError: no prompt of this model begins so.
        """
        request = GenerationRequest(
            prompt=prompt,
            sampling=SamplingParams(temperature=0.0, max_tokens=0),
            stop_ids=frozenset(),
            request_id="prefill",
            session=session,
        )
        try:
            async for _ in self.generate(request):
                raise AssertionError("a warm-up draws nothing")
        except (EngineError, Overloaded) as error:
            log.debug("nothing prefilled", extra={"error": error.code})

    async def ready(self) -> bool:
        """True when requests can be served."""
        return not self._closing and (self._thread is None or self._thread.is_alive())

    async def aclose(self) -> None:
        """End the worker; open requests get an EngineError."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _CLOSE_TIMEOUT_S)

    def _submit(self, generation: Generation) -> None:
        with self._wake:
            if self._closing:
                raise EngineError("the engine is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="step1", daemon=True)
                self._thread.start()
            self._arrived.append(generation)
            self._wake.notify()

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _run(self) -> None:
        """Worker: take what arrived, step, sleep when there is nothing to do."""
        error = EngineError("the engine is closed")
        try:
            choose_threads(self._try_step, self._threads)
            while self._collect():
                self._batch.step()
        except BaseException as broken:  # whatever ends this thread: nobody may hang on it
            log.exception("the engine's worker broke")
            error = EngineError(f"the engine's worker broke: {broken}")
        with self._wake:
            self._closing = True
            for generation in self._arrived:
                self._batch.add(generation)
        self._batch.fail_all(error)

    def _try_step(self) -> None:
        """Do what one id costs, for the measurement."""
        hidden = self._decoder.extend(
            torch.zeros(1, 1, dtype=torch.long), [self._decoder.new_cache()]
        )
        self._decoder.logits(hidden[:, -1])

    def _collect(self) -> bool:
        """Move arrivals into the batch; wait for work. Returns False to end the worker."""
        with self._wake:
            while True:
                for generation in self._arrived:
                    self._batch.add(generation)
                self._arrived.clear()
                if self._closing:
                    return False
                if self._batch.can_step():
                    return True
                self._wake.wait()
