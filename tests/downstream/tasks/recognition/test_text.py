"""Texts to tokens and back, and what normalisation makes of the world's scripts."""

from __future__ import annotations

import csv
import unicodedata

import pytest
from places import SHARED_DATA

from downstream.tasks.recognition.text import Vocabulary, characters_of, normalise, superb_vocabulary
from upstream.errors import UserError

LIBRISPEECH = SHARED_DATA / "librispeech_samples"


def librispeech_texts() -> list[str]:
    """What the transcript files hold, not the manifest's copy of it."""
    files = sorted(LIBRISPEECH.rglob("*.trans.txt"))
    return [line.split(maxsplit=1)[1] for file in files for line in file.read_text().splitlines()]


needs_librispeech = pytest.mark.skipif(not LIBRISPEECH.is_dir(), reason="no LibriSpeech samples")


def test_superb_has_32_tokens_in_s3prls_order() -> None:
    vocabulary = superb_vocabulary()
    assert " ".join(vocabulary.tokens) == (
        "<s> <pad> </s> <unk> | E T A O N I H S R D L U M C W F G Y P B V K ' X J Q Z"
    )
    assert len(vocabulary) == len(set(vocabulary.tokens)) == 32
    assert (vocabulary.blank, vocabulary.end, vocabulary.unknown) == (0, 2, 3)


def test_a_target_of_superb_by_hand() -> None:
    assert superb_vocabulary().encode("AT SEA").tolist() == [7, 6, 4, 12, 5, 7, 4, 2]  # A T | S E A | </s>


def test_superbs_targets_are_s3prls() -> None:
    """s3prl puts blanks between characters, bars between words and one at the end; its dictionary encodes that."""
    s3prl = pytest.importorskip("s3prl.downstream.asr.dictionary")
    vocabulary = superb_vocabulary()
    theirs = s3prl.Dictionary()
    for token in vocabulary.tokens[4:]:
        theirs.add_symbol(token)
    texts = librispeech_texts()[:20] if LIBRISPEECH.is_dir() else []
    for text in ["A", "IT'S A QUIZ", "JOAN  OF ARC", "CAFÉ", "", *texts]:
        line = " ".join("|".join(text.split())) + " |"
        expected = theirs.encode_line(line, line_tokenizer=str.split, add_if_not_exist=False).tolist()
        assert vocabulary.encode(text).tolist() == expected, text


@needs_librispeech
def test_librispeech_stays_as_it_is_and_returns_whole() -> None:
    vocabulary, texts = superb_vocabulary(), librispeech_texts()
    assert len(texts) > 100
    for text in texts:
        assert normalise(text) == text
        assert vocabulary.decode(vocabulary.encode(text).tolist()) == text
        assert vocabulary.unknown not in vocabulary.encode(text)


@needs_librispeech
def test_the_manifest_says_what_the_transcripts_say() -> None:
    """So that the two ways to read these samples give the same targets."""
    with (LIBRISPEECH / "manifest.csv").open(encoding="utf-8") as file:
        assert {row["text"] for row in csv.DictReader(file)} <= set(librispeech_texts())


def test_decoding_drops_what_is_not_spoken() -> None:
    vocabulary = superb_vocabulary()
    classes = [4, 4, 0, 7, 3, 6, 1, 4, 0, 4, 12, 12, 4, 2]  # | | <s> A <unk> T <pad> | <s> | S S | </s>
    assert vocabulary.decode(classes) == "AT SS"
    assert vocabulary.decode([]) == vocabulary.decode([0, 4, 2]) == ""


def test_special_tokens_of_one_character_are_not_spoken() -> None:
    """A text with the blank's own sign must not train the network to say the blank."""
    vocabulary = Vocabulary(("-", "?", "|", "A"), unknown=1)
    assert vocabulary.encode("A-A").tolist() == [3, 1, 3]
    assert vocabulary.decode([3, 0, 1, 2, 3]) == "A A"
    assert vocabulary.spells("AA")
    assert not any(vocabulary.spells(word) for word in ("A-", "A|A", "?", "B"))


def test_characters_of_texts() -> None:
    vocabulary = characters_of(["ΑΒ Α'", "ЯΓ", ""])
    assert vocabulary.tokens == ("<blank>", "<unk>", "|", "'", "Α", "Β", "Γ", "Я")
    encoded = vocabulary.encode("ΑΒ  ЖЯ")
    assert encoded.tolist() == [4, 5, 2, 1, 7]  # neither a closing separator nor an end
    assert vocabulary.decode(encoded.tolist()) == "ΑΒ Я"
    assert vocabulary.encode("").tolist() == []


def test_the_vocabulary_does_not_depend_on_the_order_of_texts() -> None:
    assert characters_of(["QUIZ", "JAM"]) == characters_of(["JAM", "QUIZ"])


def test_an_unknown_character_without_a_token_for_it_is_refused() -> None:
    with pytest.raises(UserError, match="'Ü' in 'FÜR'"):
        Vocabulary(("-", "|", "F", "R")).encode("FÜR")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don’t  stop—now!", "DON'T STOP NOW"),
        ("it`s „1999“, O‘Neill", "IT'S 1999 O'NEILL"),
        ("Cafe\u0301 Stra\u00dfe", "CAFÉ STRAßE"),  # decomposed é; ß has no capital of one letter
        ("Phở ngon lắm, kho\u0302ng?", "PHỞ NGON LẮM KHÔNG"),
        ("ο λόγος, Ο ΛΟΓΟΣ", "Ο ΛΌΓΟΣ Ο ΛΟΓΟΣ"),  # a final sigma is a sigma
        ("ﬁnd diﬀerent oﬃce", "FIND DIFFERENT OFFICE"),  # ligatures of printing types
        ("ĳs en Ĳs", "ĲS EN ĲS"),
        ("co\u00adoperate\ufeff", "COOPERATE"),
        ("Жить-то, ёлка", "ЖИТЬ ТО ЁЛКА"),
        ("¿Qué? ¡Ñandú!", "QUÉ ÑANDÚ"),
        ("你好,世界。", "你好 世界"),
        ("नमस्ते, दुनिया!", "नमस्ते दुनिया"),  # vowel signs and virama are marks
        ("مَرْحَبًا، كيف؟", "مَرْحَبًا كيف"),
        ("สวัสดี ครับ", "สวัสดี ครับ"),
        ("50 % & more_or|less", "50 MORE OR LESS"),
        ("\t—\n", ""),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalise(text) == expected
    assert normalise(expected) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ılık", "ilik"),  # Turkish: lukewarm, marrow
        ("Maße", "Masse"),
        ("և", "եւ"),
        ("τῷ", "τωι"),  # an iota below
        ("hâlâ", "hala"),
        ("и\u0306", "и"),  # й, decomposed
    ],
)
def test_words_that_differ_stay_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
    for form in (normalise(one), normalise(other)):
        assert normalise(form) == form
        assert len(form.split()) == 1


@pytest.mark.parametrize("word", ["straße", "λόγος", "τῷ", "ǰan", "ΐδιος", "ḟind", "dž", "ёж", "ế", "ꭰꭱ"])
def test_case_and_the_form_of_letters_make_no_difference(word: str) -> None:
    capitals = "".join(letter.upper() if letter != "ß" else "ẞ" for letter in unicodedata.normalize("NFD", word))
    for form in ("NFC", "NFD"):
        assert normalise(unicodedata.normalize(form, word)) == normalise(unicodedata.normalize(form, word.title()))
        if "ῷ" not in word:  # its iota is a letter where Python writes it in capitals
            assert normalise(unicodedata.normalize(form, capitals)) == normalise(word)


def test_letters_become_one_where_they_differ_in_case_alone() -> None:
    """Of all letters of Unicode: two that are scored as one have one form in full case folding, too."""
    classes: dict[str, set[str]] = {}
    for letter in filter(str.isalpha, map(chr, range(0x110000))):
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", letter).casefold())
        classes.setdefault(normalise(letter), set()).add(folded)
    assert [folded for folded in classes.values() if len(folded) > 1] == []


def test_case_may_stay() -> None:
    assert normalise("Frau Müller’s Katze.", upper=False) == "Frau Müller's Katze"
