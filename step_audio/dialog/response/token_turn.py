"""One turn of a model that takes and writes ids: Step-Audio's own, and nano."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from step_audio.core.errors import ToolError
from step_audio.core.ports import Services
from step_audio.core.types import Form, GenerationRequest, TextDelta
from step_audio.dialog.prompting.context_window import ContextWindow
from step_audio.dialog.prompting.conversation import Conversation
from step_audio.dialog.prompting.tool_syntax import MarkerSyntax, ToolSyntax
from step_audio.dialog.response.call_filter import CallFilter
from step_audio.dialog.response.degeneration import DegenerationGuard
from step_audio.dialog.response.options import AnswerOptions
from step_audio.dialog.response.parser import Parsed, TokenParser
from step_audio.dialog.response.token_stream import TokenTimeouts, generate
from step_audio.dialog.response.turn import TurnEvent
from step_audio.dialog.tool_calls.tool_choice import ToolChoice


class TokenTurn:
    """A `ModelTurn` by the id engine.

    Args:
        services: engine, vocabulary, text tokenizer.
        new_id: makes ids of requests and calls.
        context: makes prompts.
        patience: how long to wait for ids.
        dialect: how the checkpoint writes tools; nano's by default.
        form: "answer" for a model that speaks itself, "text" for one that only writes.
    """

    def __init__(
        self,
        services: Services,
        new_id: Callable[[], str],
        context: ContextWindow,
        *,
        patience: TokenTimeouts = TokenTimeouts(),  # noqa: B008 - frozen
        dialect: ToolSyntax | None = None,
        form: Form = "answer",
    ) -> None:
        self._services = services
        self._new_id = new_id
        self._context = context
        self._patience = patience
        self._dialect = dialect or MarkerSyntax()
        self._form = form

    def failure(self, error: ToolError) -> str:
        """Return what the model was taught to read of a call that failed."""
        return self._dialect.failure(error)

    async def generate(
        self,
        conversation: Conversation,
        options: AnswerOptions,
        until: str | None,
        choice: ToolChoice,
    ) -> AsyncGenerator[TurnEvent, None]:
        """Prompt, generate, parse; ended early when it has lost its way."""
        vocab, recorder = self._services.vocab, self._services.recorder
        prompt = self._context.prompt(
            conversation, options.system, until, options.tools, options.exchange
        )
        in_text = self._dialect.calls_in_text
        opening = choice.opening(self._dialect) if in_text else ""
        request = GenerationRequest(
            prompt=(*prompt.ids, *self._context.text(opening)) if opening else prompt.ids,
            sampling=options.sampling,
            stop_ids=vocab.stop_ids,
            request_id=self._new_id(),
            form=self._form,
            calls=None if in_text else choice.rule(self._context.text),
            transcripts=tuple(self._context.text(phrase) for phrase in options.heard_among),
            session=options.session,
        )
        parser = TokenParser(self._services.text_tokenizer, vocab, self._new_call_id)
        sieve = CallFilter(self._dialect, self._new_call_id) if in_text else None
        if sieve is not None and opening:
            sieve.push(TextDelta(opening))
        guard, usage = DegenerationGuard(vocab), options.usage
        usage.input_text += len(prompt.ids) - prompt.audio_ids
        usage.input_audio += prompt.audio_ids
        usage.left_out = prompt.left_out
        recorder.observe("prompt_ids", len(prompt.ids))
        recorder.observe("prompt_left_out_ids", prompt.left_out)
        clock, count = self._services.clock, 0
        asked_s = first_s = clock.now_s()
        async with aclosing(generate(self._services.engine, request, self._patience)) as ids:
            async for token_id in ids:
                if not count:
                    first_s = clock.now_s()
                    recorder.observe("first_token_s", first_s - asked_s)
                count += 1
                sounds = vocab.is_audio(token_id)
                usage.output_audio += sounds
                usage.output_text += not sounds
                events = _sifted(sieve, parser.push(token_id))
                for event in events:
                    yield event
                if sieve is not None and sieve.over:
                    break
                reason = guard.push(token_id, events)
                if reason is not None:
                    recorder.observe(f"answers_ended.{reason}", 1)
                    break
        for event in [*_sifted(sieve, parser.flush()), *(sieve.flush() if sieve else ())]:
            yield event
        usage.cut_off = count >= options.sampling.max_tokens
        if count > 1 and (took_s := clock.now_s() - first_s) > 0:
            recorder.observe("tokens_per_s", (count - 1) / took_s)
        recorder.observe("answer_anomalies", parser.counts.anomalies)
        if parser.counts.markers:
            recorder.observe("answer_markers", parser.counts.markers)

    def _new_call_id(self) -> str:
        return f"call_{self._new_id()}"


def _sifted(sieve: CallFilter | None, events: Iterable[Parsed]) -> list[Parsed]:
    """Return events with the calls taken out of their text, where calls stand there."""
    if sieve is None:
        return list(events)
    return [out for event in events for out in sieve.push(event)]
