"""openai for Python, unmodified, against REST: speech, transcripts, completions, voices.

Environment: REST_URL, REST_FOLDER (holds question.wav; each format is written there). The last
line of stdout is JSON.
"""

from __future__ import annotations

import base64
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import openai

TEXT = "Twelve plus 30 is 42."
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")


def speech(client: openai.OpenAI, folder: Path) -> None:
    """Write one file a format."""
    for name in FORMATS:
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=TEXT, response_format=name
        ) as response:
            response.stream_to_file(folder / f"python.{name}")
    whole = client.audio.speech.create(
        model="tts-1",
        voice="alloy",
        input=TEXT,
        response_format="flac",
        extra_body={"stream": False},
    )
    (folder / "python-whole.flac").write_bytes(whole.content)
    events = client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="nova", input=TEXT, response_format="pcm", stream_format="sse"
    )
    with events as response:
        parts = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data:")]
    assert parts[-1]["type"] == "speech.audio.done"
    assert sum(len(base64.b64decode(p["audio"])) for p in parts[:-1]) > 10_000


def first_bytes_ms(client: openai.OpenAI, runs: int = 5) -> float:
    """Return the median time to the first byte of a stream."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter()
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=TEXT, response_format="pcm"
        ) as response:
            next(response.iter_bytes(1))
            times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def transcripts(client: openai.OpenAI, question: Path) -> str:
    """Return what was heard; every format and the stream agree."""
    heard = client.audio.transcriptions.create(model="whisper-1", file=question).text
    verbose = client.audio.transcriptions.create(
        model="whisper-1", file=question, response_format="verbose_json"
    )
    assert verbose.text == heard
    assert verbose.duration > 0
    text = client.audio.transcriptions.create(
        model="whisper-1", file=question, response_format="text"
    )
    assert str(text).strip() == heard
    stream = client.audio.transcriptions.create(model="whisper-1", file=question, stream=True)
    assert [event.text for event in stream if event.type == "transcript.text.done"] == [heard]
    refused(
        lambda: client.audio.translations.create(model="whisper-1", file=question),
        "unsupported_operation",
    )
    return str(heard)


def completions(client: openai.OpenAI, question: Path) -> str:
    """Return the transcript of a spoken answer to a spoken question; whole, then streamed."""
    data = base64.b64encode(question.read_bytes()).decode()
    asked = [
        {
            "role": "user",
            "content": [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}],
        }
    ]
    answer = client.chat.completions.create(
        model="gpt-audio",
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
        messages=asked,
    )
    audio = answer.choices[0].message.audio
    assert base64.b64decode(audio.data)[:4] == b"RIFF"
    again = client.chat.completions.create(
        model="gpt-audio",
        messages=[*asked, {"role": "assistant", "audio": {"id": audio.id}}, *asked],
    )
    assert again.usage.total_tokens > 0
    chunks = client.chat.completions.create(
        model="gpt-audio",
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "pcm16"},
        messages=asked,
        stream=True,
    )
    deltas = [c.choices[0].delta.model_dump().get("audio") or {} for c in chunks if c.choices]
    assert sum(len(base64.b64decode(d["data"])) for d in deltas if d.get("data")) > 10_000
    assert "".join(d.get("transcript") or "" for d in deltas) == audio.transcript
    return str(audio.transcript)


def refused(call: Callable[[], object], code: str) -> None:
    """Check that a call is refused with this code."""
    found = None
    try:
        call()
    except openai.BadRequestError as error:
        found = error.code
    assert found == code


def voices(client: openai.OpenAI) -> list[str]:
    """Return the voices; an unknown one is an error in words."""
    listed = client.get("/audio/voices", cast_to=object)
    refused(
        lambda: client.audio.speech.create(model="tts-1", voice="nobody", input="Hi."),
        "voice_not_found",
    )
    return [voice["id"] for voice in listed["voices"]]


def main() -> None:
    """Do everything once."""
    folder = Path(os.environ["REST_FOLDER"])
    client = openai.OpenAI(
        base_url=os.environ["REST_URL"], api_key="none", max_retries=0, timeout=300
    )
    models = [model.id for model in client.models.list()]
    assert client.models.retrieve(models[0]).id == models[0]
    speech(client, folder)
    report = {
        "version": openai.__version__,
        "models": models,
        "voices": voices(client),
        "heard": transcripts(client, folder / "question.wav"),
        "said": completions(client, folder / "question.wav"),
        "first_byte_ms_p50": round(first_bytes_ms(client), 1),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
