"""Recognition sets, and SEED-TTS, whose texts are read aloud.

Sources: LibriSpeech (openslr 12), AISHELL-1 (openslr 33), AISHELL-2, WenetSpeech; their layouts as
Kimi-Audio-Evalkit downloads them. SEED-TTS-eval: BytedanceSpeech/seed-tts-eval.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from step_audio.core.errors import InputError
from step_audio.eval.sets.files import SetFiles, lines_of
from step_audio.eval.sets.items import Item, LoadedSet, Sound, UserTurn
from step_audio.eval.sets.tables import ENDINGS, Row, Table, read_table, sound_of, text_of

WENETSPEECH: Final = {"audio": ("audio",), "text": ("text", "sentence", "transcript")}
SEED_LISTS: Final = {"en/meta.lst": "en", "zh/meta.lst": "zh", "zh/hardcase.lst": "hard"}


def librispeech(files: SetFiles) -> LoadedSet:
    """test-clean and test-other: flac files beside SPK-CHAP.trans.txt."""
    loaded = LoadedSet()
    for name in files.names(".trans.txt"):
        parts = PurePosixPath(name).parts
        split = next((part for part in parts if part.startswith(("test-", "dev-"))), "")
        for at, line in lines_of(files.text(name)):
            key, _, text = line.partition(" ")
            sound = files.sound(f"{key}.flac", name)
            _keep(loaded, f"{name}, line {at}", _spoken(key, sound, text.strip(), "en", split))
    return _checked(loaded, files, "SPLIT/SPK/CHAP/SPK-CHAP.trans.txt")


def aishell_1(files: SetFiles) -> LoadedSet:
    """wav/test/SPK/*.wav; the transcript of all splits has spaces between the words."""
    loaded = LoadedSet()
    names = files.names("aishell_transcript_v0.8.txt")
    spoken = {PurePosixPath(wav).stem: wav for wav in files.names(".wav")}
    tested = {key for key, wav in spoken.items() if "test" in PurePosixPath(wav).parts}
    for name in names:
        for at, line in lines_of(files.text(name)):
            key, _, text = line.partition(" ")
            # BAC009S0764W0121: S0764 to S0916 are the speakers of the test.
            if key in spoken and key not in tested:
                continue
            if key not in spoken and not "S0764" <= key[6:11] <= "S0916":
                continue
            sound = files.sound(f"{key}.wav", name)
            said = "".join(text.split())
            _keep(loaded, f"{name}, line {at}", _spoken(key, sound, said, "zh"))
    return _checked(loaded, files, "transcript/aishell_transcript_v0.8.txt")


def aishell_2(files: SetFiles) -> LoadedSet:
    """test/wav.scp and test/trans.txt, `ID<TAB>value` a line; a channel a folder (iOS)."""
    loaded = LoadedSet()
    for name in files.names("trans.txt"):
        folder = PurePosixPath(name).parent
        if name.endswith(".trans.txt") or folder.name == "dev":
            continue
        scp = str(folder / "wav.scp")
        paths = dict(_pair(line) for _, line in lines_of(files.text(scp)))
        channel = folder.parent.name
        for at, line in lines_of(files.text(name)):
            key, text = _pair(line)
            sound = files.sound(paths.get(key) or f"{key}.wav", name)
            said = "".join(text.split())
            _keep(loaded, f"{name}, line {at}", _spoken(key, sound, said, "zh", channel))
    return _checked(loaded, files, "test/trans.txt with test/wav.scp")


def wenetspeech(files: SetFiles) -> LoadedSet:
    """The hub's parquet of TEST_NET and TEST_MEETING."""
    loaded = LoadedSet()
    for name in files.names(*ENDINGS):
        loaded.add(_segments(files, read_table(files, name)))
    return _checked(loaded, files, "TEST_NET or TEST_MEETING as parquet")


def _segments(files: SetFiles, table: Table) -> LoadedSet:
    audio = table.column("the sound", WENETSPEECH["audio"])
    text = table.column("the words", WENETSPEECH["text"])
    path = PurePosixPath(table.name)
    split = next((part for part in path.parts if part.upper().startswith("TEST")), path.stem)

    def make(row: Row, at: int) -> Item:
        return Item(
            id=f"{split}:{at}",
            task="transcribe",
            scoring="cer_zh",
            turns=(UserTurn(sound=sound_of(files, table.name, row, audio)),),
            reference=(text_of(row, text, required=True),),
            category=split,
            language="zh",
        )

    return table.items(make)


def seed_tts(files: SetFiles) -> LoadedSet:
    """Lists of `utt|prompt text|prompt wav|text to say[|truth wav]`, also of three or two fields:
    `utt|text|prompt wav` and `utt|text`."""
    loaded = LoadedSet()
    for ending, category in SEED_LISTS.items():
        for name in (n for n in files.names(".lst") if f"/{n}".endswith(f"/{ending}")):
            for at, line in lines_of(files.text(name)):
                item = _seed_item(files, name, [cell.strip() for cell in line.split("|")], category)
                if item is None:
                    loaded.broken.append(f"{name}, line {at}: not two to five fields with a text")
                else:
                    loaded.items.append(item)
    return _checked(loaded, files, ", ".join(SEED_LISTS))


def _seed_item(files: SetFiles, name: str, cells: list[str], category: str) -> Item | None:
    match cells:
        case [utt, prompt, wav, text] | [utt, prompt, wav, text, _]:
            pass
        case [utt, text, wav]:
            prompt = ""
        case [utt, text]:
            prompt = wav = ""
        case _:
            return None
    if not utt or not text:
        return None
    language = "en" if category == "en" else "zh"
    return Item(
        id=f"{category}:{utt}",
        task="speak",
        scoring=f"seed_{language}",
        turns=(UserTurn(text, files.sound(wav, name) if wav else None),),
        reference=(text,),
        category=category,
        language=language,
        facts={"prompt_text": prompt},
    )


def _keep(loaded: LoadedSet, place: str, item: Item) -> None:
    """Add one line of a transcript, or count it as broken."""
    if item.id and item.reference[0]:
        loaded.items.append(item)
    else:
        loaded.broken.append(f"{place}: no words")


def _spoken(key: str, sound: Sound, text: str, language: str, category: str = "") -> Item:
    scoring = "cer_zh" if language == "zh" else "wer_en"
    turns = (UserTurn(sound=sound),)
    return Item(key, "transcribe", scoring, turns, (text,), category, language)


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.replace("\t", " ", 1).partition(" ")
    return key, value.strip()


def _checked(loaded: LoadedSet, files: SetFiles, wanted: str) -> LoadedSet:
    if not loaded.items and not loaded.broken:
        raise InputError(f"{files.folder} holds no {wanted}; download the set first")
    return loaded
