"""The LM behind one or more vLLM servers: implements `core.ports.Engine` over HTTP.

Until the first id has come, a request that fails is asked again elsewhere; afterwards a failure
ends it with an error, because a second answer could not continue the first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Final

from step_audio.core.errors import (
    EngineError,
    EngineFull,
    EngineGone,
    EngineLost,
    EngineOverloaded,
    EngineRefused,
    EngineTimeout,
    EngineUnavailable,
    EngineUnreachable,
    InputError,
    TokenError,
)
from step_audio.core.ports import TextTokenizer
from step_audio.core.types import GenerationRequest, SamplingParams
from step_audio.core.vocab import Vocab
from step_audio.engine.fleet import Fleet
from step_audio.engine.grammar import Grammar
from step_audio.engine.rules import Rules, write_rules
from step_audio.engine.spelled import SpelledIds
from step_audio.engine.vllm_server import Abilities, VllmServer, connection

_LOG = logging.getLogger(__name__)

_AHEAD: Final = 1
"""Priority of what is computed ahead of time: behind whoever waits, before batches."""
_AGAIN_S: Final = 0.1
_ABOUT_THE_REQUEST: Final = frozenset({400, 413, 422})


class VllmEngine:
    """Ids from the least loaded server, a session's own one preferred."""

    def __init__(
        self,
        addresses: Sequence[str],
        model: str,
        vocab: Vocab,
        *,
        first_token_timeout_s: float = 5.0,
        next_token_timeout_s: float = 10.0,
        api_key: str | None = None,
        text_tokenizer: TextTokenizer | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is sent before the first request or `ready`.

        Args:
            addresses: of servers with the same model, such as `http://10.0.0.2:8000`.
            model: the name they serve it under.
            vocab: of the checkpoint.
            first_token_timeout_s: for all attempts together.
            next_token_timeout_s: silence after which an answer is given up.
            text_tokenizer: finds the ids of servers that return text only.
        """
        self._client = connection(api_key)
        self._servers = {at: VllmServer(at, model, self._client) for at in addresses}
        self._fleet = Fleet(addresses, now_s)
        self._abilities: dict[str, Abilities] = {}
        self._probing = {at: asyncio.Lock() for at in addresses}
        self._vocab, self._text_tokenizer, self._now_s = vocab, text_tokenizer, now_s
        self._first_s, self._next_s = first_token_timeout_s, next_token_timeout_s

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[int, None]:
        """Yield ids until a stop id (not yielded), `max_tokens` or the model's context ends.

        Closing the iterator closes the connection, which aborts the request.

        Raises:
            InputError, TokenError: the request cannot be served.
            EngineUnavailable: no server gave a first id; of its subclasses the one that says why.
            EngineRefused: a server refused the request.
            EngineLost: a server broke off, or fell silent, after the first id.
        """
        self._check(request)
        if self._client.is_closed:
            raise EngineError("the engine is closed")
        if request.sampling.max_tokens == 0:
            await self.prefill(request.prompt, request.session)
            return
        stops = self._stops(request)
        address, ids, pieces = await self._begin(request)
        async with aclosing(pieces):
            while True:
                for token_id in ids:
                    if token_id in stops:
                        return
                    yield token_id
                try:
                    async with asyncio.timeout(self._next_s):
                        ids = await anext(pieces)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    self._fleet.failed(address)
                    raise EngineLost(address, f"no id for {self._next_s:.1f} s") from None
                except EngineLost:
                    self._fleet.failed(address)
                    raise

    async def prefill(self, prompt: tuple[int, ...], session: str) -> None:
        """Let a prompt's beginning into the prefix cache of the session's server.

        Raises:
            InputError, TokenError: no prompt of this model begins so.
        """
        sampling = SamplingParams(temperature=0.0, max_tokens=1)
        request = GenerationRequest(
            prompt, sampling, frozenset(), "prefill", priority=_AHEAD, session=session
        )
        self._check(request)
        if self._client.is_closed:
            return
        address = self._fleet.order(session)[0]
        try:
            async with asyncio.timeout(self._first_s):
                abilities = await self._able(address)
                with self._fleet.serving(address), self._trusting(address, abilities):
                    await self._servers[address].complete(self._ask(request, abilities))
            self._fleet.worked(address, session)
        except EngineLost as lost:
            self._fleet.failed(address)
            _LOG.debug("nothing prefilled", extra={"where": address, "error": lost.why})
        except (EngineError, TimeoutError) as error:
            _LOG.debug("nothing prefilled", extra={"where": address, "error": str(error)})

    async def log_likelihood(self, prompt: Sequence[int], begin: int) -> float:
        """Return the mean log-probability of a prompt's ids from `begin` on, in nats.

        Raises:
            InputError, TokenError: no such prompt, or nothing behind `begin`.
            EngineError: no server answers, or one without log-probabilities.
        """
        sampling = SamplingParams(temperature=0.0, max_tokens=1)
        request = GenerationRequest(tuple(prompt), sampling, frozenset(), "likelihood")
        self._check(request)
        if not 0 < begin < len(prompt):
            raise InputError(f"nothing to judge behind id {begin} of {len(prompt)}")
        address = self._fleet.order("")[0]
        abilities = await self._able(address)
        ask = self._ask(request, abilities) | {"prompt_logprobs": 0}
        with self._fleet.serving(address), self._trusting(address, abilities):
            found = await self._servers[address].prompt_log_probabilities(ask)
        if len(found) != len(prompt):
            raise EngineError("the engine gives no log-probabilities of prompts")
        return sum(found[begin:]) / (len(prompt) - begin)

    async def ready(self) -> bool:
        """True when at least one server is healthy and serves the model; asks them all."""
        return any(await asyncio.gather(*map(self._ready, self._servers)))

    async def aclose(self) -> None:
        """Close every connection; open requests get an error."""
        await self._client.aclose()

    def _check(self, request: GenerationRequest) -> None:
        """Refuse what no server may see: an id beyond the vocabulary stops vLLM for everybody."""
        if not request.prompt:
            raise InputError("the prompt is empty; send at least one id")
        for what, ids in (("prompt", request.prompt), ("stop", request.stop_ids)):
            if ids and not (min(ids) >= 0 and max(ids) < self._vocab.size):
                raise TokenError(f"a {what} id is outside the vocabulary 0..{self._vocab.size - 1}")

    async def _begin(
        self, request: GenerationRequest
    ) -> tuple[str, tuple[int, ...], AsyncGenerator[tuple[int, ...], None]]:
        """Return who answers, its first ids, and what gives the rest."""
        start_s = self._now_s()
        untried = self._fleet.order(request.session)
        last_chance = [untried[0]]
        attempt, misfit = 0, None
        losses: list[EngineLost | TimeoutError] = []
        while untried or last_chance:
            # Everybody in turn, then the best one once more: its connection may just have broken.
            address = untried.pop(0) if untried else last_chance.pop()
            left_s = self._first_s - (self._now_s() - start_s)
            pieces = self._pieces(address, request, attempt)
            attempt += 1
            try:
                async with asyncio.timeout(left_s / (len(untried) + 1)):
                    ids = await anext(pieces, ())
            except TimeoutError as late:
                why = "no id in time"
                losses.append(late)
                last_chance = [other for other in last_chance if other != address]
            except EngineLost as lost:
                why = lost.why
                losses.append(lost)
            except EngineRefused as refused:
                if refused.status in _ABOUT_THE_REQUEST:
                    raise
                # About the server: its key, or the models it has. Another one may be right.
                why, misfit = refused.why, refused
                last_chance = [other for other in last_chance if other != address]
            except BaseException:
                await pieces.aclose()
                raise
            else:
                self._fleet.worked(address, request.session)
                return address, ids, pieces
            await pieces.aclose()
            self._fleet.failed(address)
            _LOG.warning("engine failed", extra={"where": address, "why": why, "attempt": attempt})
            if not untried and last_chance:
                await asyncio.sleep(_AGAIN_S)
        if misfit is not None:
            raise misfit
        raise _unavailable(losses, self._now_s() - start_s) from losses[-1]

    async def _pieces(
        self, address: str, request: GenerationRequest, attempt: int
    ) -> AsyncGenerator[tuple[int, ...], None]:
        """Yield the ids of one attempt at one server, as they come."""
        abilities = await self._able(address)
        ask = self._ask(request, abilities)
        ask["request_id"] = f"{request.request_id}-{attempt}"
        spelled = self._spelled(abilities)
        with self._fleet.serving(address), self._trusting(address, abilities):
            async with aclosing(self._servers[address].stream(ask)) as pieces:
                async for piece in pieces:
                    if spelled is None:
                        ids = piece.ids or ()
                    else:
                        ids = (
                            *spelled.push(piece.text),
                            *(spelled.flush() if piece.finished else ()),
                        )
                    if not all(map(self._vocab.knows, ids)):
                        raise EngineLost(address, "an id outside the vocabulary")
                    if ids:
                        yield ids

    def _ask(self, request: GenerationRequest, abilities: Abilities) -> dict[str, Any]:
        """Return the body of a request. Raises InputError: the prompt is too long."""
        sampling, vocab = request.sampling, self._vocab
        room = abilities.max_len - len(request.prompt)
        if room < 1:
            raise InputError(
                f"the prompt has {len(request.prompt)} ids, this model takes at most"
                f" {abilities.max_len - 1}; drop old turns"
            )
        stops = sorted(self._stops(request))
        ask: dict[str, Any] = {
            "prompt": list(request.prompt),
            "max_tokens": min(sampling.max_tokens, room),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            # Said although they are the usual ones: a folder's generation_config may differ.
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "seed": sampling.seed,
            "stop_token_ids": stops,
            "return_token_ids": True,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
        }
        if abilities.priority and request.priority:
            ask["priority"] = request.priority
        if abilities.rules:
            grammar = self._grammar(request)
            ask["vllm_xargs"] = write_rules(Rules(grammar, sampling.repetition_window)) or None
        elif request.form == "speech":
            ask["allowed_token_ids"] = [*stops, *range(vocab.audio_base, vocab.size)]
        return ask

    def _stops(self, request: GenerationRequest) -> frozenset[int]:
        """Return the ids that end the answer; in a form those that end any."""
        formed = frozenset() if request.form is None else self._vocab.stop_ids
        return request.stop_ids | formed

    def _grammar(self, request: GenerationRequest) -> Grammar | None:
        if request.form is None:
            return None
        return Grammar(self._vocab, request.form, request.calls, request.transcripts)

    def _spelled(self, abilities: Abilities) -> SpelledIds | None:
        if abilities.ids:
            return None
        if self._text_tokenizer is None:
            raise EngineError("the engine returns text only, and no text tokenizer is there")
        return SpelledIds(self._text_tokenizer, self._vocab)

    async def _able(self, address: str) -> Abilities:
        """Return what a server can do; asked once, and again when it may be another one."""
        async with self._probing[address]:  # one asks for all
            if address not in self._abilities:
                abilities = await self._servers[address].probe(self._vocab.bot)
                if not abilities.rules:
                    _LOG.warning("engine without the speech rules", extra={"where": address})
                self._abilities[address] = abilities
            return self._abilities[address]

    async def _ready(self, address: str) -> bool:
        if not await self._servers[address].healthy():
            return False
        try:
            async with asyncio.timeout(self._first_s):
                await self._able(address)
        except (EngineError, TimeoutError) as error:
            _LOG.warning("engine not ready", extra={"where": address, "error": str(error)})
            return False
        self._fleet.worked(address)
        return True

    @contextmanager
    def _trusting(self, address: str, abilities: Abilities) -> Iterator[None]:
        """Forget what a server can do when it breaks off or refuses: it may be another one by now.

        One that is late or full is the one it was. To probe it again would cost it four requests
        more for each that failed.
        """
        try:
            yield
        except (EngineGone, EngineRefused) as error:
            about_request = isinstance(error, EngineRefused) and error.status in _ABOUT_THE_REQUEST
            if not about_request and self._abilities.get(address) is abilities:
                del self._abilities[address]
            raise


def _unavailable(losses: Sequence[EngineLost | TimeoutError], waited_s: float) -> EngineUnavailable:
    """Return what a client is told when every attempt failed: what it can act on comes first."""
    if any(isinstance(loss, EngineFull) for loss in losses):
        return EngineOverloaded(waited_s)
    if all(isinstance(loss, EngineGone) for loss in losses):
        return EngineUnreachable(waited_s)
    if any(isinstance(loss, TimeoutError) for loss in losses):
        return EngineTimeout("the engine", waited_s)
    return EngineUnavailable("the engine fails at every request; see the server's log", waited_s)
