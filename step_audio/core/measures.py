"""Every value that the `Recorder` port may be given: its name, kind and meaning.

Producers observe by name; what follows a dot in an observed name are the values of the measure's
labels: `observe("guard_stops.origin", 1)`, `observe("requests./v1/models.200", 1)`. Times are
seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

LATENCY_S: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 2.0, 4.0, 8.0)
SHORT_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
DEPTHS: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
RATES: Final = (5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 120.0, 200.0, 400.0, 800.0)
IDS: Final = (64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0)
SLOW_S: Final = (0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
DURATIONS_S: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure.

    Attributes:
        kind: a counter adds what is observed, a gauge takes it, a histogram sorts it into buckets.
        exported: name outside of the process, without the project's prefix.
        about: one sentence.
        labels: what the parts after a dot are, in this order.
        buckets: upper bounds of a histogram's buckets.
    """

    kind: Kind
    exported: str
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _times(
    exported: str,
    about: str,
    buckets: tuple[float, ...] = LATENCY_S,
    labels: tuple[str, ...] = (),
) -> Measure:
    return Measure("histogram", exported, about, labels, buckets)


MEASURES: Final[dict[str, Measure]] = {
    # One turn, as the client's side of the socket sees it.
    "turn_first_audio_s": _times(
        "turn_first_audio_seconds",
        "From the end of the user's turn (silence window excluded) to the first sound sent.",
    ),
    "endpoint_delay_s": _times(
        "endpoint_delay_seconds", "From the last speech heard to the decision that it was over."
    ),
    "barge_in_silence_s": _times(
        "barge_in_silence_seconds",
        "From the user's speech during an answer to the last sound of that answer sent.",
        SHORT_S,
    ),
    "start_delay_s": _times(
        "answer_start_delay_seconds",
        "How long an answer's first sound was held, so that no gap followed.",
        SHORT_S,
    ),
    "underruns": Measure(
        "counter", "underruns_total", "Answers' sound that came after playback had run dry."
    ),
    "underrun_s": _times("underrun_seconds", "How long playback was dry each time."),
    "turns": Measure("counter", "turns_total", "Responses ended, by status.", ("status",)),
    "turn_rtf": Measure(
        "histogram",
        "turn_real_time_factor",
        "Time from a response's first sound to its last, over the length of its sound.",
        buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5),
    ),
    # The parts.
    "first_audio_s": _times(
        "answer_first_audio_seconds", "From asking for an answer to its first sound."
    ),
    "tokens_per_s": Measure(
        "histogram", "engine_tokens_per_second", "Ids per second of one request.", buckets=RATES
    ),
    "first_token_s": _times(
        "engine_first_token_seconds", "From a request to its first id from the engine."
    ),
    "answer_anomalies": Measure(
        "counter", "answer_anomalies_total", "Ids that fit no place in an answer."
    ),
    "answers_ended": Measure(
        "counter", "answers_ended_early_total", "Answers that had lost their way.", ("reason",)
    ),
    "prompt_ids": Measure("histogram", "prompt_ids", "Ids of a prompt.", buckets=IDS),
    "prompt_left_out_ids": Measure(
        "histogram", "prompt_left_out_ids", "Ids of a conversation without room.", buckets=IDS
    ),
    "answer_markers": Measure(
        "counter", "answer_markers_total", "Marker ids around speech in answers, passed over."
    ),
    "interruptions": Measure(
        "counter",
        "interruptions_total",
        "Short sounds over an answer, by what became of it (ended, resumed).",
        ("end",),
    ),
    "speculations": Measure(
        "counter",
        "speculations_total",
        "Answers begun in a pause, by what became of them.",
        ("end",),
    ),
    "speculation_saved_s": _times(
        "speculation_saved_seconds", "Head start that a committed speculation had."
    ),
    "queue_depth": Measure(
        "histogram", "queue_depth", "Entries found waiting, by queue.", ("queue",), DEPTHS
    ),
    # Sound that is sent in as files.
    "decode_s": _times(
        "decode_seconds",
        "Time to decode an uploaded sound file, the wait in line included.",
        SHORT_S,
    ),
    "decoder_deaths": Measure(
        "counter",
        "decoder_deaths_total",
        "Files at which the decoder died (crashed, failed) or was ended (memory, time).",
        ("reason",),
    ),
    "decoder_restarts": Measure(
        "counter",
        "decoder_restarts_total",
        "Times that the process from which decoders come was lost and started again.",
    ),
    "sound_warnings": Measure(
        "counter", "sound_warnings_total", "Sound files of which something was skipped."
    ),
    "speculation_wasted_ids": Measure(
        "counter",
        "speculation_wasted_ids_total",
        "Ids or tokens, read and written, of answers begun in a pause that were thrown away.",
    ),
    "recognition_s": _times(
        "recognition_seconds", "Time a speech recognizer took for what was left of a question."
    ),
    "recognition_wait_s": _times(
        "recognition_wait_seconds", "How long an answer waited for the words of its question."
    ),
    "recognition_passes": Measure(
        "counter",
        "recognition_passes_total",
        "Passes of the speech recognizer: live (somebody speaks), question, recording.",
        ("over",),
    ),
    # Tools.
    "tool_choices": Measure(
        "counter",
        "tool_choices_total",
        "Calls that clients required (met, unmet) or forbade and the model made (dropped).",
        ("end",),
    ),
    "tool_rounds": Measure(
        "counter",
        "tool_rounds_total",
        "Answers that asked for tools until they had to end without (ended).",
        ("end",),
    ),
    "tool_calls": Measure(
        "counter", "tool_calls_total", "Calls of server-side tools, by how they ended.", ("end",)
    ),
    "tool_s": _times("tool_seconds", "Time a server-side tool took."),
    # Sessions.
    "sessions": Measure("gauge", "sessions", "Realtime sessions that are open."),
    "session_s": _times("session_duration_seconds", "Length of a session.", DURATIONS_S),
    "session_limit": Measure("gauge", "session_limit", "Sessions that admission allows now."),
    "resumes": Measure(
        "counter", "resumes_total", "Sessions taken up again after a drop.", ("end",)
    ),
    "guard_stops": Measure(
        "counter", "guard_stops_total", "Requests and messages refused, by reason.", ("reason",)
    ),
    # REST, by the route's pattern.
    "requests": Measure(
        "counter", "requests_total", "Requests under /v1, by route and status.", ("route", "status")
    ),
    "request_s": _times(
        "request_duration_seconds", "From a request to the end of its response.", SLOW_S, ("route",)
    ),
    "first_byte_s": _times(
        "request_first_byte_seconds",
        "From a request to the first byte of its body; for speech, to its first sound.",
        labels=("route",),
    ),
    "speech_characters": Measure(
        "counter", "speech_characters_total", "Characters that were asked to be read aloud."
    ),
    "transcribed_s": Measure(
        "counter", "transcribed_seconds_total", "Seconds of sound that were sent to be transcribed."
    ),
}
