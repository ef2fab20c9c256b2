"""`data write|speak|segment|filter|pack|report`: a data set from texts to token shards."""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from step_audio.cli.parts import Load
from step_audio.core.config import load_profile
from step_audio.core.containers import KINDS, SOUND_ENDINGS
from step_audio.core.errors import InputError
from step_audio.core.json_lines import RowWriter
from step_audio.core.profile import Profile, ScriptedEngineSection, SpeechEndpointSection
from step_audio.core.weights import Weights, open_weights

if TYPE_CHECKING:
    from step_audio.core.ports import AudioTokenizer
    from step_audio.data.gates import UtteranceGate
    from step_audio.data.readers import LineReader
    from step_audio.data.recordings import Cutter
    from step_audio.data.samples import Groups
    from step_audio.data.write import Exchange


def write(args: argparse.Namespace, load: Load) -> int:
    """Write samples and the lines they need, from the grammar or a language model."""
    from step_audio.data import llm
    from step_audio.data.write import PUBLISHED, Layout
    from step_audio.data.write import write as write_texts
    from step_audio.nano.corpus.exchanges import grammar

    layout = PUBLISHED if args.layout == "published" else Layout()
    texts: Iterable[Exchange]
    lost: list[Any] = []
    held = ExitStack()
    if not args.url:
        _grammar_only(args)
    if args.url:
        if not (args.model and args.topics):
            raise InputError("a language model needs --model and --topics as well")
        lines_of = [line.strip() for line in _text(args.topics).splitlines()]
        topics = [line for line in lines_of if line and not line.startswith("#")]
        if not topics:
            raise InputError(f"{args.topics} names no topic; write one a line")
        failures = held.enter_context(RowWriter(args.folder / "text_failures.jsonl"))

        def note(row: Mapping[str, Any]) -> None:
            lost.append(row)
            failures.add(row)

        endpoint = llm.ChatEndpoint(args.url, args.model, read_key(args.key_file))
        each = -(-args.count // max(1, len(topics)))
        texts = itertools.islice(
            llm.exchanges(
                endpoint,
                topics,
                each,
                language=args.language,
                seed=args.seed,
                workers=args.workers,
                prompt=_text(args.prompt) if args.prompt else "",
                store=args.folder / "texts.jsonl",
                lost=note,
            ),
            args.count,
        )
    else:
        texts = grammar(args.count, args.seed, styles=args.styles, half=args.half)
    args.folder.mkdir(parents=True, exist_ok=True)
    with held:
        written = write_texts(
            args.folder, bar(texts, args.count, "texts"), args.tasks.split(","), layout
        )
    said = f"{args.folder}: {written.samples} new samples, {written.lines} new lines"
    print(said + (f", {written.repeated} samples in it already" if written.repeated else ""))
    if lost:
        print(f"  {len(lost)} questions lost, the last: {lost[-1]['why']} (text_failures.jsonl)")
    return 0


def _grammar_only(args: argparse.Namespace) -> None:
    """Raise InputError when something is asked for that the grammar does not do."""
    given = [
        flag
        for flag, value in (
            *(("--topics", args.topics), ("--model", args.model), ("--prompt", args.prompt)),
            ("--key-file", args.key_file),
        )
        if value
    ]
    if given:
        raise InputError(f"{', '.join(given)} need a language model: give its server by --url")
    if args.language != "en":
        raise InputError(
            f"the grammar writes English, not {args.language!r}; give a language model by --url"
        )


def speak(args: argparse.Namespace, load: Load) -> int:
    """Let somebody say the lines that are not said yet."""
    from step_audio.data.cluster import Cluster
    from step_audio.data.speak import speak as say
    from step_audio.data.speak import speak_on

    _need(args.folder)
    with ExitStack() as held:
        if args.ray:
            said, failed = speak_on(
                args.folder,
                held.enter_context(Cluster(args.ray)),
                functools.partial(make_reader, args),
                again=args.again,
                progress=lambda rows, total: bar(rows, total, "lines"),
            )
        else:
            said, failed = say(
                args.folder,
                _reader(args, load, held),
                workers=args.workers,
                again=args.again,
                progress=lambda rows, total: bar(rows, total, "lines"),
            )
    print(f"{args.folder}: {said} lines said, {failed} could not be (failures.jsonl)")
    return 0


def segment(args: argparse.Namespace, load: Load) -> int:
    """Add recordings, cut where somebody pauses."""
    from step_audio.data.recordings import Origin
    from step_audio.data.recordings import segment as cut

    found = [p for path in args.recordings for p in (sorted(path.rglob("*")) or [path])]
    files = [path for path in found if path.suffix.lower() in SOUND_ENDINGS]
    if not files:
        raise InputError(f"no sound file ({KINDS}) among the recordings")
    args.folder.mkdir(parents=True, exist_ok=True)
    added, failed = cut(
        args.folder,
        files,
        functools.partial(make_cutter, transcribe=args.transcribe),
        Origin(args.speaker, args.licence, args.language),
        workers=args.workers,
        progress=lambda rows, total: bar(rows, total, "recordings"),
    )
    print(f"{args.folder}: {added} new utterances from {len(files)} recordings")
    if failed:
        print(f"  {failed} recordings could not be read (recordings.jsonl)")
    return 0


def import_set(args: argparse.Namespace, load: Load) -> int:
    """Add recordings and conversations that others laid out; or a pack of tokens."""
    from step_audio.data import imports
    from step_audio.data.write import PUBLISHED, Layout

    if bool(args.hub) == (args.source is not None):
        raise InputError("give what to import: a file, a folder, or --hub NAME")
    if args.source is not None and args.source.suffix == ".parquet" and _is_tokens(args.source):
        from step_audio.data.parquet import read_parquet

        count = read_parquet(args.source, args.folder)
        print(f"{args.folder}: a pack of {count} sequences")
        return 0
    rows, base = (
        (imports.hub_rows(args.hub, args.split), args.folder)
        if args.hub
        else imports.read_source(args.source)
    )
    if not args.licence:
        raise InputError("give --licence: it is kept with every sound and what is made of it")
    counts = imports.import_rows(
        args.folder,
        bar(rows, None, "rows"),
        base,
        imports.ImportDefaults(args.speaker, args.licence, args.language),
        tasks=args.tasks.split(","),
        layout=PUBLISHED if args.layout == "published" else Layout(),
    )
    added = {name: counts.pop(name, 0) for name in ("utterances", "samples")}
    print(f"{args.folder}: {added['utterances']} new utterances, {added['samples']} new samples")
    for reason, count in counts.most_common():
        print(f"  {count} left out: {reason} ({imports.FAILURES})")
    return 0


def _is_tokens(path: Path) -> bool:
    """Return whether a parquet file holds a pack. Raises InputError: not readable."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InputError(
            "parquet needs the package pyarrow: pip install 'step-audio[train]'"
        ) from None
    try:
        names = set(parquet.read_schema(path).names)
    except (OSError, ArrowException) as error:
        raise InputError(f"{path} cannot be read as parquet: {error}") from None
    return bool(names & {"input_ids", "chosen_input_ids"})


def export_set(args: argparse.Namespace, load: Load) -> int:
    """Write a pack, or the sounds of a data set with their words, for other tools."""
    if (args.folder / "pack.json").is_file():
        if args.output.suffix != ".parquet":
            raise InputError(f"{args.output} must end in .parquet")
        try:
            from step_audio.data.parquet import write_parquet
        except ImportError:
            raise InputError(
                "parquet needs the package pyarrow: pip install 'step-audio[train]'"
            ) from None
        count = write_parquet(args.folder, args.output)
    else:
        from step_audio.data.imports import export_rows

        _need(args.folder)
        count = export_rows(args.folder, args.output)
    print(f"{args.output}: {count} rows")
    return 0


def filter_set(args: argparse.Namespace, load: Load) -> int:
    """Measure what is new and judge all of it."""
    from step_audio.data import filter as sieve
    from step_audio.data.cluster import Cluster
    from step_audio.data.gates import QUALITIES, with_bounds

    _need(args.folder)
    bounds = with_bounds(QUALITIES[args.quality], args.bound)
    model = args.speaker_model
    if model is None:
        weights = _weights(load_profile(args.profile))
        model = weights.folder / "tokenizer" / "campplus.onnx"
        model = model if model.is_file() else None
    make = functools.partial(make_gate, args.recogniser, model, mos=args.dnsmos)
    with ExitStack() as held:
        measured = sieve.measure(
            args.folder,
            make,
            workers=args.workers,
            cluster=held.enter_context(Cluster(args.ray)) if args.ray else None,
            progress=lambda rows, total: bar(rows, total, "utterances"),
        )
    counts = sieve.judge(args.folder, bounds)
    print(f"{args.folder}: {measured} measured, {counts.pop('passed', 0)} of all passed")
    for gate, count in counts.most_common():
        print(f"  {count} rejected by {gate}")
    return 0


def pack(args: argparse.Namespace, load: Load) -> int:
    """Turn samples and accepted sounds into token shards."""
    from step_audio.data.cluster import Cluster
    from step_audio.data.examples import Examples
    from step_audio.data.filter import accepted
    from step_audio.data.gates import QUALITIES, with_bounds
    from step_audio.data.pack import LEFT_OUT, read_samples, tokens
    from step_audio.data.pack import pack as pack_samples
    from step_audio.dialog.prompting.prompt import PromptBuilder
    from step_audio.engine.text import hash_of_text_tokenizer, load_text_tokenizer
    from step_audio.nano.tools.specs import SPECS

    _need(args.folder)
    text_run, groups_run = _rhythm(args.interleave)
    profile = load_profile(args.profile)
    if isinstance(profile.engine, ScriptedEngineSection | SpeechEndpointSection):
        raise InputError(f"profile {args.profile} has no model, and so no text tokenizer")
    weights = _weights(profile)
    samples = read_samples(args.folder)
    needed = {line for sample in samples for line in sample.lines()}
    bounds = with_bounds(QUALITIES[args.quality], args.bound)
    utterances = [u for u in accepted(args.folder, bounds) if u.id in needed]
    groups: Groups = {}
    if utterances:
        with ExitStack() as held:
            groups = tokens(
                args.folder,
                utterances,
                functools.partial(load_audio_tokenizer, load, profile),
                tokenizer_id(weights),
                progress=lambda rows, total: bar(rows, total, "tokens"),
                cluster=held.enter_context(Cluster(args.ray)) if args.ray else None,
            )
    vocab = weights.facts.vocab
    lm = weights.folder / profile.engine.folder
    counts = pack_samples(
        samples,
        groups,
        PromptBuilder.of_profile(
            load_text_tokenizer(lm),
            vocab,
            dialect=profile.tools.dialect,
            result_role=profile.tools.result_role,
            chat_headers=weights.facts.chat_headers,
            speech_headers=weights.facts.speech_headers,
            text_run=text_run,
            group_run=groups_run,
        ),
        vocab,
        args.output,
        tasks=[task for task in args.tasks.split(",") if task],
        begin=args.begin,
        seed=args.seed,
        examples=Examples(utterances),
        text_tokenizer=hash_of_text_tokenizer(lm),
        tools=tuple(SPECS.values()),
        spell=spelling_of(lm),
    )
    left = {why: counts.pop(why) for why in LEFT_OUT if why in counts}
    print(f"{args.output}: {', '.join(f'{n} {task}' for task, n in sorted(counts.items()))}")
    for why, count in left.items():
        print(f"  {count} left out: {LEFT_OUT[why]}")
    return 0


def spelling_of(lm: Path) -> Callable[[str], str]:
    """Return how texts are written for a model that reads them aloud, as serving does it."""
    from step_audio.dialog.speakable.pronunciation import FILE, read_pronunciations

    return read_pronunciations(lm / FILE).spelled if (lm / FILE).is_file() else str


def report(args: argparse.Namespace, load: Load) -> int:
    """Write the report of a data set."""
    from step_audio.data.report import report as write_report

    _need(args.folder)
    page = write_report(args.folder)
    print(page.read_text(encoding="utf-8"))
    return 0


def make_cutter(*, transcribe: bool) -> Cutter:
    """Return what cuts recordings; its arguments are plain, so that processes can pass them."""
    from step_audio.data.recordings import Cutter
    from tokenizer.silero import SileroTurnDetector

    hear = None
    if transcribe:
        from step_audio.nano.exam.judge import open_judge

        hear = open_judge().hear
    return Cutter(SileroTurnDetector(), hear)


def make_gate(recogniser: str, speaker_model: Path | None, *, mos: bool) -> UtteranceGate:
    """Return what measures utterances; its arguments are plain, so that processes can pass them."""
    from step_audio.data.gates import UtteranceGate
    from tokenizer.silero import SileroTurnDetector

    hear = embed = quality = None
    if recogniser != "none":
        from step_audio.nano.exam import judge

        made = judge.domain_judge() if recogniser == "domain" else judge.open_judge()
        hear = made.hear
    if speaker_model is not None:
        from step_audio.voices.speaker_encoder import SpeakerEncoder

        embed = SpeakerEncoder(speaker_model).embed
    if mos:
        from step_audio.eval.mos import dnsmos

        def quality(pcm: Any, rate_hz: int) -> float | None:
            return dnsmos([(pcm, rate_hz)])

    return UtteranceGate(SileroTurnDetector(), hear, embed, quality, language="en")


def make_reader(args: argparse.Namespace) -> LineReader:
    """Return who reads in a process of a cluster, which keeps it until it ends."""
    from step_audio.runtime import Runtime

    return _reader(args, Runtime, ExitStack())


def load_audio_tokenizer(load: Load, profile: Profile) -> AudioTokenizer:
    """Return a profile's audio tokenizer; its arguments are plain, as above."""
    return load(profile).audio_tokenizer()


def _reader(args: argparse.Namespace, load: Load, held: ExitStack) -> LineReader:
    """Return who reads; what has to be closed afterwards goes on the stack."""
    from step_audio.data import readers

    voices = {"user": args.user_voices.split(","), "assistant": args.voices.split(",")}
    voices = {role: [name for name in names if name] for role, names in voices.items()}
    if args.by == "machine":
        return readers.MachineReader((voices["assistant"] or ["flite-rms"])[0])
    if args.by == "endpoint":
        if not (args.url and args.model):
            raise InputError("--by endpoint needs --url and --model")
        key = read_key(args.key_file)
        return readers.EndpointReader(args.url, args.model, voices, tagged=args.tagged, key=key)
    parts = load(load_profile(args.profile))
    services = parts.services()
    voices = {role: names or [services.default_voice] for role, names in voices.items()}
    sampling = parts.settings().reading
    reader = readers.ProfileReader(services, voices, sampling, clone=args.by == "clone")
    held.callback(reader.close)
    return reader


def read_key(path: Path | None) -> str:
    """Return an endpoint's key from a file, "" without one. Raises InputError: not readable."""
    return "" if path is None else _text(path).strip()


def bar(rows: Iterable[Any], total: int | None, what: str) -> Iterable[Any]:
    """Return the same rows behind a progress bar."""
    from tqdm import tqdm

    shown: Iterable[Any] = tqdm(rows, total=total, desc=what, mininterval=1.0)
    return shown


def _rhythm(text: str) -> tuple[int, int]:
    """Return text ids and groups of `10:15`, whose second number counts audio ids."""
    first, _, second = text.partition(":")
    if not (first.isdigit() and second.isdigit() and int(first) and int(second)):
        raise InputError(f"--interleave is {text!r}, expected text ids:audio ids such as 10:15")
    if int(second) % 5:
        raise InputError(f"{second} audio ids are not whole groups; give a multiple of 5")
    return int(first), int(second) // 5


def _weights(profile: Profile) -> Weights:
    return open_weights(profile.weights, profile.origin)


def tokenizer_id(weights: Weights) -> str:
    """Return what changes when the audio tokenizer does."""
    return " ".join(
        f"{name}={file.sha256}"
        for name, file in sorted(weights.files.items())
        if name.startswith("tokenizer/")
    )


def _need(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"no data set at {folder}; begin with data write or data segment")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
