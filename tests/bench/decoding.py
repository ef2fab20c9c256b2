"""Cost of decoding an upload in a process of its own. Run: python -m tests.bench.decoding

A wav of 3 s through `DecoderPool`: `p50_ms` from the bytes to the samples, `here_ms` of the
same in this process, `cpu_ms` what the server itself spends on it. `others`: the same of each other
container. No models.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from step_audio.core.audio import wav_bytes
from step_audio.core.decoder_pool import DecoderPool
from step_audio.core.decoding import decode_sound
from step_audio.core.types import DecodedSound
from tests.bench.measure import report, speechlike
from tests.sound_files import KINDS, sound_file

SECONDS, WARM_UP, PAUSE_S = 3.0, 10, 0.1
MAX_S = 60.0


def timed(
    decode: Callable[[bytes, float], DecodedSound], data: bytes, runs: int
) -> tuple[list[float], float]:
    """Return (times in ms, CPU time of this process in ms each); the pause is for the next fork."""
    times_ms: list[float] = []
    cpu_s = 0.0
    for number in range(WARM_UP + runs):
        time.sleep(PAUSE_S)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        decode(data, MAX_S)
        if number >= WARM_UP:
            times_ms.append((time.perf_counter() - began_s) * 1000)
            cpu_s += time.process_time() - began_cpu_s
    return times_ms, cpu_s * 1000 / runs


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="", help="none is loaded; taken for `make bench`")
    parser.add_argument("--runs", type=int, default=100)
    args = parser.parse_args()
    pool = DecoderPool()
    pool.start(lambda name, value: None)
    try:
        wav = wav_bytes(speechlike(SECONDS, 24_000), 24_000)
        times_ms, cpu_ms = timed(pool.decoded, wav, args.runs)
        here_ms, _ = timed(decode_sound, wav, args.runs)
        others = {}
        for kind in KINDS[1:]:
            pcm = speechlike(SECONDS, 48_000)[:, None]
            found, _ = timed(pool.decoded, sound_file(kind, pcm, 48_000), 10)
            others[kind] = round(float(np.median(found)), 1)
    finally:
        pool.close()
    print(json.dumps({"bench": "decoding.others", "p50_ms": others}))
    report("decoding", "none", times_ms, here_ms=float(np.median(here_ms)), cpu_ms=cpu_ms)


if __name__ == "__main__":
    main()
