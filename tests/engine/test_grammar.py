"""The automaton: what it lets through parses cleanly, and text can never pose as sound."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_audio.core.errors import InputError, TokenError
from step_audio.core.types import CallRule, Form, TokenGroup
from step_audio.core.vocab import Vocab
from step_audio.dialog.prompting.layout import interleave
from step_audio.dialog.response.parser import TokenParser
from step_audio.engine.grammar import TABLE, Grammar, Kind, Position, State, from_args, to_args
from tests.fakes import VOCAB, ByteTokenizer, group, numbered, text_ids

GRAMMAR = Grammar(VOCAB)
PUBLISHED = Grammar(Vocab())
GROUPS = [group(n) for n in range(7)]
FORMS: tuple[Form, ...] = get_args(Form)


def members(grammar: Grammar, place: State) -> set[int]:
    return {i for low, high in grammar.allowed(place) for i in range(low, high)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("vocab", [VOCAB, replace(VOCAB, call=None, heard_open=None)])
def test_the_ranges_hold_exactly_the_ids_that_may_follow(form: Form, vocab: Vocab) -> None:
    grammar = Grammar(vocab, form)
    for place in Position:
        ranges = grammar.allowed(place)
        assert all(low < high for low, high in ranges)
        assert all(a[1] < b[0] for a, b in pairwise(ranges))
        for token_id in range(-2, vocab.size + 3):
            try:
                grammar.follow(place, token_id)
            except TokenError:
                assert token_id not in members(grammar, place)
            else:
                assert token_id in members(grammar, place)


@pytest.mark.parametrize("form", FORMS)
def test_something_may_always_follow_until_the_end(form: Form) -> None:
    grammar, seen = Grammar(VOCAB, form), set[State]()
    ahead: set[State] = {Position.START}
    while ahead:
        place = ahead.pop()
        seen.add(place)
        if place is Position.END:
            assert grammar.allowed(place) == ()
            continue
        assert grammar.allowed(place)
        reached = {grammar.follow(place, i) for i in members(grammar, place)}
        ahead |= reached - seen
    assert Position.END in seen


@given(data=st.data(), form=st.sampled_from(FORMS))
def test_what_is_let_through_parses_without_an_anomaly(data: st.DataObject, form: Form) -> None:
    # Letters only: half a UTF-8 character is the text tokenizer's matter.
    grammar = Grammar(VOCAB, form)
    drawable = {300 + byte for byte in range(97, 123)} | {6, 7, 8, 3}
    parser = TokenParser(ByteTokenizer(), VOCAB, numbered("call"))
    place: State = Position.START
    groups = 0
    for _ in range(data.draw(st.integers(0, 60))):
        ids = sorted(i for i in members(grammar, place) if i in drawable or VOCAB.is_audio(i))
        token_id = data.draw(st.sampled_from(ids))
        place = grammar.follow(place, token_id)
        if place is Position.END:
            break
        groups += sum(isinstance(e, TokenGroup) for e in parser.push(token_id))
    inside: dict[State, int] = {
        Position.ONE: 1,
        Position.TWO: 2,
        Position.THREE: 3,
        Position.FOUR: 4,
    }
    open_ids = inside.get(place, 0)
    calls = list(parser.flush())
    nameless = place is Position.NAME and not calls
    assert parser.counts.anomalies == open_ids + nameless
    assert parser.counts.groups == groups


def test_a_call_names_a_tool() -> None:
    assert VOCAB.eot not in members(GRAMMAR, GRAMMAR.after([8]))
    assert VOCAB.eot in members(GRAMMAR, GRAMMAR.after([8, *text_ids("now")]))


def test_the_layouts_that_models_learn_from_are_let_through() -> None:
    heard = [6, *text_ids("what time is it"), 7]
    for ids in (
        [*heard, *interleave(text_ids("It is noon in Rome today."), GROUPS, VOCAB)],
        [*heard, 8, *text_ids('get_time {"city":"Rome"}')],
        text_ids("only text"),
        VOCAB.ids(GROUPS),
    ):
        assert GRAMMAR.after([*ids, VOCAB.eot]) is Position.END
    assert Grammar(VOCAB, "speech").after([*VOCAB.ids(GROUPS), VOCAB.eot]) is Position.END
    assert Grammar(VOCAB, "text").after([*text_ids("yes"), VOCAB.eot]) is Position.END


def test_a_group_is_never_left_before_its_fifth_id() -> None:
    one = VOCAB.group_ids(group(1))
    for length in range(1, 5):
        place = GRAMMAR.after(one[:length])
        others = (*text_ids("a"), VOCAB.eot, VOCAB.call, VOCAB.heard_open)
        assert all(i not in members(GRAMMAR, place) for i in others)
        assert one[length] in members(GRAMMAR, place)
    assert GRAMMAR.after(one) is Position.ANSWER


def test_ids_of_control_and_ids_beyond_the_vocabulary_are_never_drawn() -> None:
    for place in Position:
        ids = members(PUBLISHED, place)
        assert not {0 - 1, 1, 4, PUBLISHED.vocab.size, PUBLISHED.vocab.size + 4000} & ids


def test_every_row_of_the_table_is_reachable_and_total() -> None:
    assert {place for place, _ in TABLE} | {Position.END} == set(Position)
    assert {kind for _, kind in TABLE} == set(Kind)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("vocab", [VOCAB, Vocab()])
def test_a_grammar_crosses_the_wire_as_plain_values(form: Form, vocab: Vocab) -> None:
    grammar = Grammar(replace(vocab, hears_semantic=True), form)
    args = to_args(grammar)
    assert all(isinstance(value, str | int) for value in args.values())
    assert from_args(args, vocab.size) == grammar


def test_a_request_without_a_form_has_no_grammar() -> None:
    assert from_args({"eot": 3}, 100) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "song"}, "form is 'song', expected one of answer, text, speech"),
        ({"eot": None}, "eot is None"),
        ({"eot": True}, "eot is True"),
        ({"call": -1}, "call is -1"),
        ({"bot": "4"}, "bot is '4'"),
        ({"audio_base": 70000}, "audio ids end at 75120"),
        ({"audio_base": 10**9}, "audio_base is 1000000000, expected an id below 74752"),
    ],
)
def test_values_that_make_no_grammar_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_args({**to_args(PUBLISHED), **change}, 74752)


HEARD = [6, *text_ids("what time is it"), 7]
OPENINGS = tuple(
    tuple(text_ids(f"{name}{rest}")) for name in ("look", "lamp") for rest in (' {"', " {}")
)
MUST = Grammar(VOCAB, calls=CallRule(must=True, openings=OPENINGS))
NEVER = Grammar(VOCAB, calls=CallRule(must=False))


def test_a_turn_that_must_call_hears_and_calls_and_does_nothing_else() -> None:
    for heard in ([], HEARD):
        place = MUST.after(heard)
        assert VOCAB.call in members(MUST, place)
        assert members(MUST, place) <= {VOCAB.call, VOCAB.heard_open}
        assert MUST.after([*heard, 8, *text_ids('lamp {"on":true}'), VOCAB.eot]) is Position.END


def test_only_the_given_tools_can_be_called() -> None:
    place = MUST.after([8])
    assert members(MUST, place) == {text_ids("l")[0]}
    assert members(MUST, MUST.after([8, *text_ids("l")])) == {text_ids("o")[0], text_ids("a")[0]}
    assert members(MUST, MUST.after([8, *text_ids("look {")])) == set(text_ids('"}'))
    with pytest.raises(TokenError, match="may not follow"):
        MUST.after([8, *text_ids("lend")])
    assert MUST.after([8, *text_ids("look {}")]) is Position.CALL
    free = Grammar(VOCAB, calls=CallRule(must=True))
    assert free.after([8, *text_ids("anything")]) is Position.CALL


def test_a_turn_that_must_not_call_has_no_way_to() -> None:
    for place in Position:
        assert VOCAB.call not in members(NEVER, place)
    assert NEVER.after([*HEARD, *text_ids("noon"), VOCAB.eot]) is Position.END


def test_something_may_always_follow_where_a_call_is_due() -> None:
    seen, ahead = set[State](), {MUST.after([])}
    while ahead:
        place = ahead.pop()
        seen.add(place)
        reached = {MUST.follow(place, i) for i in members(MUST, place)}
        assert reached or place is Position.END
        ahead |= reached - seen
    assert Position.END in seen
    assert Position.ANSWER not in seen


@pytest.mark.parametrize("calls", [MUST.calls, NEVER.calls, CallRule(must=True)])
def test_a_rule_for_calls_crosses_the_wire(calls: CallRule) -> None:
    grammar = Grammar(VOCAB, "text", calls)
    args = to_args(grammar)
    assert all(isinstance(value, str | int) for value in args.values())
    assert from_args(args, VOCAB.size) == grammar


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calls": "perhaps"}, "calls is 'perhaps', expected must or never"),
        ({"calls": "must", "openings": "1,x"}, "openings"),
        ({"calls": "must", "openings": "1,,2"}, "openings"),
        ({"calls": "must", "openings": "99999999"}, "openings"),
        ({"calls": "must", "openings": "8"}, "openings"),
        ({"calls": "must", "openings": 7}, "openings"),
        ({"calls": "must", "call": None}, "no marker for calls"),
    ],
)
def test_a_rule_for_calls_that_makes_no_sense_is_refused(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        from_args({**to_args(GRAMMAR), **change}, VOCAB.size)


def test_markers_around_speech_may_stand_where_text_may_and_another_id_ends_the_turn() -> None:
    vocab = Vocab(audio_base=1000, eos=2, audio_start=6120, audio_end=6121)
    grammar = Grammar(vocab, "answer")
    assert grammar.after([6120, 1000, 1001, 2024, 2025, 2026, 6121, 50, 2]) is Position.END
    start = grammar.allowed(Position.START)
    assert any(low <= 6120 < high for low, high in start)
    assert any(low <= 2 < high for low, high in start)
    assert not any(low <= 2024 < high for low, high in start)
    read = from_args(to_args(grammar), 6200)
    assert read is not None
    assert read.vocab == vocab
    speech = Grammar(vocab, "speech").allowed(Position.ANSWER)
    assert not any(low <= 6120 < high for low, high in speech)


PHRASES = tuple(tuple(text_ids(phrase)) for phrase in ("stop", "sto", "mm hmm", "right"))
DICTATED = Grammar(VOCAB, "text", transcripts=PHRASES)


@given(data=st.data())
def test_a_transcript_may_have_to_be_one_of_some_phrases(data: st.DataObject) -> None:
    place, drawn = DICTATED.after([VOCAB.heard_open or 0]), list[int]()
    assert members(DICTATED, Position.START) == {VOCAB.heard_open}
    while place is not Position.ANSWER:
        choices = members(DICTATED, place)
        for token_id in choices:
            DICTATED.follow(place, token_id)
        with pytest.raises(TokenError):
            DICTATED.follow(place, max(choices) + 1)
        drawn.append(data.draw(st.sampled_from(sorted(choices))))
        place = DICTATED.follow(place, drawn[-1])
    assert tuple(drawn[:-1]) in PHRASES
    assert drawn[-1] == VOCAB.heard_close


def test_phrases_cross_the_wire() -> None:
    again = from_args(to_args(DICTATED), VOCAB.size)
    assert again is not None
    assert again.transcripts == PHRASES


def test_phrases_need_a_marker_for_transcripts() -> None:
    args = {**to_args(DICTATED)}
    del args["heard_open"]
    with pytest.raises(InputError, match="marker"):
        from_args(args, VOCAB.size)
    with pytest.raises(InputError, match="transcripts"):
        from_args({**to_args(DICTATED), "transcripts": "x"}, VOCAB.size)
