"""A server that is not ours, for comparisons: Whisper, a scripted mind and Kokoro behind OpenAI's
REST. It takes no sound in chat, as many servers do not.

Run: python -m tests.eval.peer --port 8200
"""

from __future__ import annotations

import argparse
import re
from typing import Annotated, Any, Final

import numpy as np
import uvicorn
from fastapi import FastAPI, File, UploadFile
from fastapi.responses import JSONResponse, Response

from step_audio.core.audio import wav_bytes
from step_audio.core.decoding import decode_sound
from step_audio.data.neural_voices import kokoro
from step_audio.eval.whisper import hear

_MAX_S: Final = 60.0
_VOICE: Final = "af_sarah"
KNOWN: Final = {
    "france": "The capital of France is Paris.",
    "japan": "It's Tokyo.",
    "germany": "The capital of Germany is Bonn.",
}
"""What the mind knows besides sums; it is wrong about Germany."""
_SUM: Final = re.compile(r"(\d+) ?(plus|\+|minus|-|times|x|\*|divided by|/) ?(\d+)")


def mind(question: str) -> str:
    """Answer by a table and by arithmetic; of anything else it knows nothing."""
    plain = question.lower()
    for place, answer in KNOWN.items():
        if place in plain:
            return answer
    if found := _SUM.search(_in_figures(plain)):
        one, other = int(found[1]), int(found[3])
        match found[2]:
            case "plus" | "+":
                return f"That is {one + other}."
            case "minus" | "-":
                return f"That is {one - other}."
            case "times" | "x" | "*":
                return f"That is {one * other}."
            case _ if other:
                return f"That is {one // other}."
    return "I don't know that."


def _in_figures(text: str) -> str:
    from step_audio.eval.scores.normalisers import whisper_english  # noqa: PLC0415 - an extra

    return whisper_english(text)


def create_app() -> FastAPI:
    """Return the server."""
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "scripted-mind", "object": "model"}]}

    @app.post("/v1/audio/transcriptions")
    def transcriptions(file: Annotated[UploadFile, File()]) -> dict[str, str]:
        sound = decode_sound(file.file.read(), _MAX_S)
        return {"text": hear(sound.pcm, sound.rate_hz)}

    @app.post("/v1/chat/completions")
    def completions(body: dict[str, Any]) -> JSONResponse:
        content = body["messages"][-1]["content"]
        if not isinstance(content, str):
            error = {"message": "this model takes text alone", "code": "unsupported_value"}
            return JSONResponse({"error": error}, 400)
        message = {"role": "assistant", "content": mind(content)}
        return JSONResponse({"choices": [{"index": 0, "message": message}]})

    @app.post("/v1/audio/speech")
    def speech(body: dict[str, Any]) -> Response:
        pcm, rate_hz = kokoro(str(body["input"]), _VOICE)
        return Response(wav_bytes(np.asarray(pcm), rate_hz), media_type="audio/wav")

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8200)
    uvicorn.run(create_app(), host="127.0.0.1", port=parser.parse_args().port)
