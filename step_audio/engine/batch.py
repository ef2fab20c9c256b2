"""Continuous batching without threads or clocks: requests join and leave between steps.

One `step` runs at most one piece of one prompt, then one id for every running request, so a long
prompt delays the others by one piece only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from step_audio.core.errors import EngineError, InputError, StepAudioError, TokenError
from step_audio.core.types import CallRule, Form, GenerationRequest
from step_audio.core.vocab import Vocab
from step_audio.engine.decoder import KvCache, Step1Decoder
from step_audio.engine.grammar import Grammar, Position, State
from step_audio.engine.prefix import PrefixCache
from step_audio.engine.sampling import check_sampling, draw, forbid, range_mask, repeated_id
from step_audio.engine.step1 import Step1Config

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where the ids of one request go."""

    def has_room(self) -> bool: ...
    def put(self, token_id: int, /) -> None: ...
    def end(self, error: StepAudioError | None = None) -> None: ...


class Forms:
    """The grammar of each form of answer for one model, with its masks; shared by requests."""

    def __init__(self, vocab: Vocab | None, vocab_size: int) -> None:
        """Args: vocab is None for a model of which only ids are known: it has no forms."""
        known = vocab is not None and vocab.size <= vocab_size
        self._vocab, self._size = vocab if known else None, vocab_size
        self._masks: dict[tuple[Form, bool | None, bool, Position], Tensor] = {}

    def grammar(
        self,
        form: Form,
        calls: CallRule | None = None,
        transcripts: tuple[tuple[int, ...], ...] = (),
    ) -> Grammar:
        """Return the grammar of a form.

        Raises:
            InputError: this model has none, or no calls or transcripts.
        """
        if self._vocab is None:
            raise InputError(f"this model has no audio ids to answer in the form {form!r}")
        if calls is not None and calls.must and (self._vocab.call is None or form == "speech"):
            raise InputError(f"this model has no calls in the form {form!r}")
        if transcripts and (self._vocab.heard_open is None or form == "speech"):
            raise InputError(f"this model writes no transcripts in the form {form!r}")
        return Grammar(self._vocab, form, calls, transcripts)

    def mask(self, grammar: Grammar, place: State) -> Tensor:
        """Return what to add to (V,) logits in a place: 0 for what may follow, else -inf."""
        if not isinstance(place, Position):  # the names of one client's tools, some phrases
            return range_mask(grammar.allowed(place), self._size)
        must = grammar.calls.must if grammar.calls else None
        key = (grammar.form, must, bool(grammar.transcripts), place)
        found = self._masks.get(key)
        if found is None:
            found = self._masks[key] = range_mask(grammar.allowed(place), self._size)
        return found


def check_request(request: GenerationRequest, config: Step1Config, forms: Forms) -> None:
    """Raise unless a model of this config can serve the request.

    Raises:
        InputError: empty or too long prompt, sampling parameters or form impossible.
        TokenError: an id outside the vocabulary.
    """
    check_sampling(request.sampling)
    prompt, size = request.prompt, config.vocab_size
    if not prompt:
        raise InputError("the prompt is empty; send at least one id")
    most = config.max_seq_len - (1 if request.sampling.max_tokens else 0)
    if len(prompt) > most:
        raise InputError(
            f"the prompt has {len(prompt)} ids, this model takes at most {most}; drop old turns"
        )
    for what, ids in (("prompt", prompt), ("stop", request.stop_ids)):
        if ids and not (min(ids) >= 0 and max(ids) < size):
            raise TokenError(f"a {what} id is outside the vocabulary 0..{size - 1}")
    if request.form is not None:
        forms.grammar(request.form, request.calls, request.transcripts)


class Generation:
    """One request on its way: what the cache holds, what must still be fed."""

    def __init__(
        self, request: GenerationRequest, sink: Sink, config: Step1Config, forms: Forms
    ) -> None:
        self.request, self.sink = request, sink
        self._forms, form = forms, request.form
        self._grammar = (
            None if form is None else forms.grammar(form, request.calls, request.transcripts)
        )
        self._place: State = Position.START
        self.cancelled = False  # set from any thread; the next step drops the request
        self.ids = list(request.prompt)  # prompt and drawn ids
        self.cache: KvCache | None = None
        self.limit = min(request.sampling.max_tokens, config.max_seq_len - len(request.prompt))
        self._generator = torch.Generator()
        if request.sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(request.sampling.seed % 2**64)

    @property
    def is_warm_up(self) -> bool:
        """True for a request that only fills the prefix cache."""
        return self.limit == 0

    @property
    def rank(self) -> tuple[int, bool]:
        """Who goes first: the smaller; somebody who waits for sound before a warm-up."""
        return self.request.priority, self.is_warm_up

    @property
    def drawn(self) -> int:
        """Number of ids drawn and passed on."""
        return len(self.ids) - len(self.request.prompt)

    def pending(self) -> list[int]:
        """Return the ids not yet in the cache."""
        return self.ids[self.cache.length if self.cache else 0 :]

    def advance(self, logits: Tensor) -> bool:
        """Draw the next id from (V,) logits and pass it on; return True when that was the last."""
        if self._grammar is not None:
            logits = logits + self._forms.mask(self._grammar, self._place)
        banned = repeated_id(self.ids, self.request.sampling.repetition_window)
        if banned is not None:
            logits = forbid(logits, banned)
        token_id = draw(logits, self.request.sampling, self._generator)
        if token_id in self.request.stop_ids:
            return True
        if self._grammar is not None:
            self._place = self._grammar.follow(self._place, token_id)
            if self._place is Position.END:
                return True
        self.ids.append(token_id)
        self.sink.put(token_id)
        return self.drawn >= self.limit


class Batch:
    """All requests of one model. One thread only; `Generation.cancelled` may come from others."""

    def __init__(
        self,
        decoder: Step1Decoder,
        *,
        max_rows: int = 4,
        prompt_piece: int = 128,
        prefix_bytes: int = 64 * 2**20,
    ) -> None:
        self._decoder = decoder
        self._max_rows, self._prompt_piece = max_rows, prompt_piece
        self.prefixes = PrefixCache(prefix_bytes)
        self._waiting: list[Generation] = []
        self._active: list[Generation] = []

    def add(self, generation: Generation) -> None:
        """Queue a request behind those of its rank and before those of a lower one."""
        self._waiting.append(generation)
        self._waiting.sort(key=lambda g: g.rank)  # stable: first come, first served

    def can_step(self) -> bool:
        """True when `step` would do something."""
        everything = self._active + self._waiting
        return (
            any(g.cancelled for g in everything)
            or any(g.sink.has_room() for g in self._active)
            or bool(self._waiting and len(self._active) < self._max_rows)
            or self._to_rest() is not None
        )

    def step(self) -> None:
        """Drop the cancelled, admit the waiting, feed one piece of prompt, draw one id each."""
        for generation in [g for g in self._waiting if g.cancelled]:
            self._waiting.remove(generation)
            generation.sink.end()
        for generation in [g for g in self._active if g.cancelled]:
            self._finish(generation)
        self._admit_waiting()
        prompts = [g for g in self._active if not g.drawn]
        if prompts:
            self._feed_prompt(min(prompts, key=lambda g: g.rank))
        ready = [g for g in self._active if g not in prompts and g.sink.has_room()]
        if ready:
            self._decode(ready)

    def fail_all(self, error: StepAudioError) -> None:
        """End every request with an error."""
        for generation in self._active + self._waiting:
            generation.sink.end(error)
        self._active, self._waiting = [], []

    def _admit_waiting(self) -> None:
        while (resting := self._to_rest()) is not None:
            # It goes on later where it stopped: ids, cache and generator are its own.
            asks = self._asks()
            assert asks is not None
            self._waiting.remove(asks)
            self._active.remove(resting)
            self._admit(asks)
            self.add(resting)
        while self._waiting and len(self._active) < self._max_rows:
            self._admit(self._waiting.pop(0))

    def _to_rest(self) -> Generation | None:
        """Return the running request that has to make room for another one, if any.

        One whose reader takes nothing makes room for anybody: a client that is gone, or slow, must
        not keep a row that others wait for. Else one makes room for a more urgent one.
        """
        asks = self._asks()
        if asks is None or len(self._active) < self._max_rows:
            return None
        stalled = [g for g in self._active if not g.sink.has_room()]
        if stalled:
            return max(stalled, key=lambda g: g.request.priority)
        last = max(self._active, key=lambda g: g.request.priority)
        return last if last.request.priority > asks.request.priority else None

    def _asks(self) -> Generation | None:
        """Return the first waiting request that could use a row now."""
        return next((g for g in self._waiting if g.sink.has_room()), None)

    def _admit(self, generation: Generation) -> None:
        self._active.append(generation)
        if generation.cache is not None:
            return
        self._end_warm_ups(generation.request.session)
        prompt = generation.request.prompt
        # The last position is always computed anew: its logits are needed.
        known = prompt if generation.is_warm_up else prompt[:-1]
        generation.cache = self.prefixes.find(known, room=len(prompt)) or self._decoder.new_cache()

    def _end_warm_ups(self, session: str) -> None:
        """Keep what the warm-ups of a session have computed: its next request goes on there."""
        others = self._active[:-1]
        for warm_up in [g for g in others if g.is_warm_up and session == g.request.session != ""]:
            self._finish(warm_up)

    def _feed_prompt(self, generation: Generation) -> None:
        piece = generation.pending()[: self._prompt_piece]
        with self._blame([generation]):
            hidden = self._extend([piece], [generation]) if piece else None
            if generation.pending():
                return
            if generation.is_warm_up or hidden is None:
                self._finish(generation)
                return
            self._advance(generation, self._decoder.logits(hidden[:, -1])[0])

    def _decode(self, rows: Sequence[Generation]) -> None:
        with self._blame(rows):
            hidden = self._extend([[g.ids[-1]] for g in rows], rows)
            logits = self._decoder.logits(hidden[:, -1])
            for row, generation in enumerate(rows):
                self._advance(generation, logits[row])

    def _extend(self, ids: list[list[int]], rows: Sequence[Generation]) -> Tensor:
        caches = [g.cache for g in rows if g.cache is not None]
        return self._decoder.extend(torch.tensor(ids), caches)

    def _advance(self, generation: Generation, logits: Tensor) -> None:
        with self._blame([generation]):
            if generation.advance(logits):
                self._finish(generation)

    def _finish(self, generation: Generation) -> None:
        self._active.remove(generation)
        cache = generation.cache
        if cache is not None:
            self.prefixes.store(generation.ids[: cache.length], cache)
        generation.sink.end()

    @contextmanager
    def _blame(self, rows: Sequence[Generation]) -> Iterator[None]:
        """End these requests when the work fails; the engine goes on with the others."""
        try:
            yield
        except Exception as error:
            log.exception("engine step failed", extra={"rows": len(rows)})
            for generation in rows:
                if generation in self._active:
                    self._active.remove(generation)
                    failure = EngineError(f"the engine failed while generating: {error}")
                    generation.sink.end(failure)
