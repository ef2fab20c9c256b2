"""Open English from WordNet's files and CMUdict's."""

from pathlib import Path

import pytest

from step_audio.core.errors import InputError
from step_audio.nano.corpus.open_english import example_sentences, open_texts, read_cmudict

CMUDICT = """'bout B AW1 T
a AH0
cat K AE1 T # animal
cat(2) K AE2 T
sat S AE1 T
she SH IY1
mat M AE1 T
on AA1 N
the DH AH0
"""
NOUNS = """  1 This software and database is being provided
00001740 03 n 01 cat 0 000 | a pet; "the cat sat on  the mat"; "she sat, on a mat"
00001741 03 n 01 dog 0 000 | another; "a dog sat"; "the cat"; "the cat sat 3 times"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cmudict.dict").write_text(CMUDICT)
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text(NOUNS if part == "noun" else "")
    return tmp_path


def test_only_sentences_whose_words_are_known(folder: Path) -> None:
    entries = read_cmudict(folder / "cmudict.dict")
    assert entries["cat"] == "K1T"
    assert "'bout" not in entries
    wanted = ["She sat, on a mat.", "The cat sat on the mat."]
    assert example_sentences(entries, folder) == wanted
    texts = list(open_texts(entries, 1, folder))
    assert set(wanted) <= set(texts)
    assert texts == list(open_texts(entries, 1, folder))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make nano-voices"):
        read_cmudict(tmp_path / "cmudict.dict")
    with pytest.raises(InputError, match="wordnet-base"):
        example_sentences({}, tmp_path)
