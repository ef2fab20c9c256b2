"""Small sets in the published layouts, spoken by natural voices: questions that nano may know.

Run: python -m tests.eval.small_sets build/eval-sets
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Final

from step_audio.core.audio import write_wav
from tests.eval.spoken import say

VOICES: Final = ("af_heart", "am_michael", "bf_emma", "am_adam")
QUESTIONS: Final = (
    ("What is twelve plus thirty?", "42"),
    ("What is seven times eight?", "56"),
    ("What is the capital of France?", "Paris"),
    ("What is the capital of Japan?", "Tokyo"),
    ("How many feet are five meters?", "16.4"),
    ("What is ninety minus thirty three?", "57"),
    ("What is the capital of Germany?", "Berlin"),
    ("What is forty divided by five?", "8"),
    ("What is nineteen plus six?", "25"),
)
READ: Final = (
    "What time is it?",
    "What is the capital of Italy?",
    "What is twenty plus eleven?",
    "How far is it from here to the station?",
)


def llama_questions(folder: Path, count: int = len(QUESTIONS)) -> Path:
    """OpenAudioBench's layout of LLaMA Questions; one row names a sound that is not there."""
    subset = folder / "eval_datas" / "llama_questions"
    (subset / "audios").mkdir(parents=True, exist_ok=True)
    with (subset / "llama_questions.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("Questions", "Answer", "audio_filename"))
        for at, (question, answer) in enumerate(QUESTIONS[:count]):
            write_wav(subset / "audios" / f"{at}.wav", *say(question, VOICES[at % len(VOICES)]))
            out.writerow((question, answer, f"{at}.wav"))
        out.writerow(("Who wrote Hamlet?", "Shakespeare", "gone.wav"))
    return folder


def librispeech(folder: Path) -> Path:
    """LibriSpeech's layout: a transcript in capitals beside the sounds of a chapter."""
    chapter = folder / "LibriSpeech" / "test-clean" / "1" / "2"
    chapter.mkdir(parents=True, exist_ok=True)
    lines = []
    for at, text in enumerate(READ):
        key = f"1-2-{at:04d}"
        write_wav(chapter / f"{key}.flac", *say(text, VOICES[at % len(VOICES)]))
        lines.append(f"{key} {text.upper().rstrip('?')}")
    (chapter / "1-2.trans.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def seed_tts(folder: Path) -> Path:
    """SEED-TTS's layout, English alone: two texts to be read in the voice of two examples."""
    (folder / "en" / "prompt-wavs").mkdir(parents=True, exist_ok=True)
    lines = []
    prompt = "The weather is fine and we are going to the sea."
    texts = ("The capital of France is Paris.", "Twelve plus thirty is forty two.")
    for at, text in enumerate(texts):
        wav = f"prompt-wavs/{at}.wav"
        write_wav(folder / "en" / wav, *say(prompt, VOICES[at]))
        lines.append(f"utt{at}|{prompt}|{wav}|{text}")
    (folder / "en" / "meta.lst").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def stepeval(folder: Path) -> Path:
    """StepEval-Audio-360's layout: two conversations, one of two turns."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "audios").mkdir(exist_ok=True)
    rows = []
    for at, (category, several) in enumerate(
        (("Logical Reasoning", (0, 1)), ("Language Ability", (2,)))
    ):
        turns: list[dict[str, str | None]] = []
        for number in several:
            question = QUESTIONS[number][0]
            name = f"{at}_{number}.wav"
            write_wav(folder / "audios" / name, *say(question, VOICES[number % len(VOICES)]))
            turns.append({"role": "user", "text": question, "audio_filename": name})
            turns.append({"role": "assistant", "text": "", "audio_filename": None})
        rows.append({"conversation_id": str(at), "category": category, "conversation": turns[:-1]})
    with (folder / "data" / "test.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return folder


if __name__ == "__main__":
    for name, write in (
        ("llama-questions", llama_questions),
        ("librispeech", librispeech),
        ("seed-tts", seed_tts),
        ("stepeval-360", stepeval),
    ):
        print(write(Path(sys.argv[1]) / name))
