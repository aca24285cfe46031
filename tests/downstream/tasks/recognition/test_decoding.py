"""Decoding against every path there is, written out."""

from __future__ import annotations

import gzip
import itertools
import math
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from downstream.tasks.recognition.decoding import BeamSearch, greedy
from downstream.tasks.recognition.lexicon import refuse_other_forms
from downstream.tasks.recognition.text import Vocabulary, superb_vocabulary
from upstream.errors import UserError

LETTERS = Vocabulary(("-", "|", "A", "B"), closing=True)
OPEN = Vocabulary(("-", "|", "A", "B"))  # not taught to end an utterance in a separator

# Bigrams in base-10 logarithms: after A comes B; a sentence may end after either.
BIGRAMS = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-99\t<s>\t-0.3
-1.0\t</s>
-2.0\t<unk>
-0.7\tA\t-0.2
-0.7\tB\t-0.2

\\2-grams:
-0.1\t<s> A
-0.05\tA B
-0.4\tB </s>

\\end\\
"""


@pytest.fixture
def search() -> type[BeamSearch]:
    pytest.importorskip("flashlight.lib.text")
    return BeamSearch


def random_log_posteriors(frames: int, seed: int, tokens: int = 4, sharpness: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(frames, tokens, generator=generator)).log_softmax(dim=-1)


def frames_of(vocabulary: Vocabulary, path: str, certainty: float = 0.9) -> Tensor:
    """Log posteriors of a path, a character a frame, that is as probable as that in every frame."""
    tokens = [vocabulary.tokens.index(character) for character in path]
    rest = (1 - certainty) / (len(vocabulary) - 1)
    posteriors = torch.full((len(path), len(vocabulary)), rest)
    posteriors[torch.arange(len(path)), tokens] = certainty
    return posteriors.log()


def test_greedy_by_hand() -> None:
    vocabulary = superb_vocabulary()
    path = [7, 7, 0, 7, 4, 4, 0, 6, 6, 4, 2, 2]  # A A <s> A | | <s> T T | </s> </s>
    assert greedy(torch.nn.functional.one_hot(torch.tensor(path), 32).float(), vocabulary) == "AA T"
    assert greedy(torch.zeros(0, 32), vocabulary) == ""


@pytest.mark.parametrize("seed", range(10))
def test_without_lexicon_the_best_path_is_the_greedy_one(search: type[BeamSearch], seed: int) -> None:
    peaked = random_log_posteriors(40, seed, sharpness=4)
    assert search(OPEN, beam=1)(peaked) == greedy(peaked, OPEN)
    assert search(OPEN, beam=20)(peaked) == greedy(peaked, OPEN)


def test_adding_paths_finds_what_no_single_path_shows(search: type[BeamSearch]) -> None:
    """Two frames, P(blank) = 0.6, P(A) = 0.4: the best path says nothing (0.36), all paths together say A (0.64)."""
    frames = torch.tensor([[0.6, 1e-9, 0.4, 1e-9]] * 2).log()
    assert greedy(frames, OPEN) == search(OPEN)(frames) == ""
    assert search(OPEN, log_add=True)(frames) == "A"


@pytest.mark.parametrize("seed", range(8))
def test_adding_paths_finds_the_most_probable_labelling(search: type[BeamSearch], seed: int) -> None:
    """Against the forward algorithm on every labelling of A and B, the separator being next to impossible."""
    frames = random_log_posteriors(5, seed)
    frames[:, 1] = -30.0
    labellings = [labels for size in range(6) for labels in itertools.product((2, 3), repeat=size)]

    def loss(labels: tuple[int, ...]) -> float:
        sizes = torch.tensor(5), torch.tensor(len(labels))
        target = torch.tensor(labels, dtype=torch.int64)
        return float(torch.nn.functional.ctc_loss(frames, target, *sizes, reduction="sum"))

    best = min(labellings, key=loss)
    assert search(OPEN, beam=500, threshold=1000, log_add=True)(frames) == OPEN.decode(best)


def best_words_of_all_paths(frames: Tensor, words: list[str], word_score: float) -> str:
    """The best path that says words, each closed by a separator: 4^T of them are looked at."""
    best, text = -math.inf, ""
    for path in itertools.product(range(4), repeat=len(frames)):
        said = "".join(LETTERS.tokens[token] for token, _ in itertools.groupby(path) if token != LETTERS.blank)
        spoken = said.replace("|", " ").split()
        if not all(word in words for word in spoken) or (spoken and not said.endswith("|")):
            continue
        score = sum(float(frames[time, token]) for time, token in enumerate(path)) + word_score * len(spoken)
        if score > best:
            best, text = score, " ".join(spoken)
    return text


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("word_score", [-1.0, 1.5])
def test_a_lexicon_gives_the_best_path_of_its_words(search: type[BeamSearch], seed: int, word_score: float) -> None:
    words = ["A", "BA", "ABB"]
    frames = random_log_posteriors(6, seed)
    found = search(LETTERS, words=words, beam=500, threshold=1000, word_score=word_score)(frames)
    assert found == best_words_of_all_paths(frames, words, word_score)


def test_those_words_are_not_always_greedys() -> None:
    """So that the comparison above says something."""
    frames = [random_log_posteriors(6, seed) for seed in range(6)]
    texts = [best_words_of_all_paths(each, ["A", "BA", "ABB"], 1.5) for each in frames]
    assert any(text != greedy(each, LETTERS) for text, each in zip(texts, frames, strict=True))
    assert any(len(text.split()) > 1 for text in texts)


@pytest.mark.parametrize("vocabulary", [OPEN, LETTERS], ids=["open", "closing"])
def test_the_last_word_needs_a_separator_only_where_the_network_learned_one(
    search: type[BeamSearch], vocabulary: Vocabulary
) -> None:
    said = "AB|BA" + ("|" if vocabulary.closing else "")
    assert search(vocabulary, words=["AB", "BA"])(frames_of(vocabulary, said)) == "AB BA"


def test_a_lexicon_file_says_what_its_words_say(search: type[BeamSearch], tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.lst"
    lexicon.write_text("Ay\tA |\nBee\tB |\nBee\tB B |\n")
    frames = frames_of(LETTERS, "A|B|B-B|")
    assert search(LETTERS, lexicon=lexicon)(frames) == "Ay Bee Bee"


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffA\tA |\n\nB\tB |\n".encode(),  # a byte order mark, a blank line
        b"A\tA |\r\nB\tB |\r\n",
        "A\u00a0A\u00a0|\nB B |".encode(),  # blanks that flashlight takes for letters
    ],
)
def test_a_lexicon_is_read_however_an_editor_wrote_it(search: type[BeamSearch], tmp_path: Path, content: bytes) -> None:
    lexicon = tmp_path / "lexicon.lst"
    lexicon.write_bytes(content)
    assert search(LETTERS, lexicon=lexicon)(frames_of(LETTERS, "A|B|")) == "A B"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A\tA |\n\xe9\tB |\n", "line 2: the byte 0xe9 is not UTF-8"),
        ("A\tA |\n".encode("utf-16"), "UTF-16"),
        (gzip.compress(b"A\tA |\n", mtime=0), "is compressed by gzip; unpack it"),
        (b"A\t" + b"A " * 100_000 + b"|\n", "Line 1 .* spells 'A' in 100001 tokens"),  # flashlight would crash
    ],
)
def test_lexica_that_are_none(search: type[BeamSearch], tmp_path: Path, content: bytes, message: str) -> None:
    lexicon = tmp_path / "lexicon.lst"
    lexicon.write_bytes(content)
    with pytest.raises(UserError, match=message):
        search(LETTERS, lexicon=lexicon)


def test_whatever_flashlight_raises_names_the_file(search: type[BeamSearch], tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.lst"
    lexicon.write_text("A\tA |\n")
    decoder = search(LETTERS, lexicon=lexicon)
    with pytest.raises(UserError, match="The beam search failed: .* Choose -o decoding.method=greedy"):
        decoder(torch.zeros(2, 3, 4))
    with pytest.raises(UserError, match=r"The lexicon .*lexicon.lst cannot be used: .*"):
        search(LETTERS, lexicon=lexicon, beam="many")  # type: ignore[arg-type]


def test_words_in_another_case_than_transcripts_are_refused(search: type[BeamSearch], tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.lst"
    lexicon.write_text("ab\tA B |\n")
    words = search(LETTERS, lexicon=lexicon).words
    with pytest.raises(UserError, match="the first is 'ab' and would have to be 'AB'"):
        refuse_other_forms(lexicon, words)
    refuse_other_forms(lexicon, [*words, "AB"])


def with_bigrams(tmp_path: Path) -> Path:
    pytest.importorskip("kenlm")
    path = tmp_path / "bigrams.arpa"
    path.write_text(BIGRAMS)
    return path


def test_a_language_model_changes_the_answer(search: type[BeamSearch], tmp_path: Path) -> None:
    """The sound is a little for A A; the language model has B after A."""
    frames = frames_of(LETTERS, "A|A|")
    frames[2, [2, 3]] = torch.tensor([0.5, 0.45]).log()
    model = with_bigrams(tmp_path)
    words = ["A", "B"]
    assert search(LETTERS, words=words)(frames) == "A A"
    assert search(LETTERS, words=words, language_model=model)(frames) == "A B"
    assert search(LETTERS, words=words, language_model=model, lm_weight=0.0)(frames) == "A A"


def test_the_language_models_share_is_its_base_10_logarithm_times_its_weight(
    search: type[BeamSearch], tmp_path: Path
) -> None:
    """The answer turns where the sound's lead equals weight x (score of A B - score of A A), ends included."""
    model = with_bigrams(tmp_path)
    lead = (-0.1 - 0.05 - 0.4) - (-0.1 - (0.2 + 0.7) - (0.2 + 1.0))  # unseen: back-off plus unigram; log10
    for share, expected in ((0.98, "A B"), (1.02, "A A")):
        frames = frames_of(LETTERS, "A|A|", certainty=1 - 3e-6)
        frames[2, [2, 3]] = torch.tensor([0.0, -share * 2.0 * lead])
        assert search(LETTERS, words=["A", "B"], language_model=model)(frames) == expected


def test_superbs_scores_are_the_defaults(search: type[BeamSearch], monkeypatch: pytest.MonkeyPatch) -> None:
    """beam 5, threshold 25, all 32 tokens, weight 2, word score -1, silence 0, best path, unknown words impossible."""
    import torchaudio.models.decoder._ctc_decoder as peer

    made = []
    options = peer._LexiconDecoderOptions
    monkeypatch.setattr(peer, "_LexiconDecoderOptions", lambda **given: made.append(given) or options(**given))
    search(superb_vocabulary(), words=["A"])
    assert made[0] == {
        "beam_size": 5,
        "beam_size_token": 32,
        "beam_threshold": 25.0,
        "lm_weight": 2.0,
        "word_score": -1.0,
        "unk_score": -math.inf,
        "sil_score": 0.0,
        "log_add": False,
        "criterion_type": peer._CriterionType.CTC,
    }


def test_equals_s3prls_decoder(search: type[BeamSearch], tmp_path: Path) -> None:
    """Noise that is decoded to the same words, with SUPERB's recipe, lexicon and language model from files."""
    peer = pytest.importorskip("s3prl.downstream.asr.w2l_decoder")
    dictionary = pytest.importorskip("s3prl.downstream.asr.dictionary").Dictionary()
    vocabulary = superb_vocabulary()
    for token in vocabulary.tokens[4:]:
        dictionary.add_symbol(token)
    model, lexicon = with_bigrams(tmp_path), tmp_path / "lexicon.lst"
    lexicon.write_text("".join(f"{word}\t{' '.join(word)} |\n" for word in ("A", "B", "AB", "TEA", "TEE", "EAT")))
    files = {"lexicon": str(lexicon), "kenlm_model": str(model), "nbest": 1, "beam": 5, "beam_threshold": 25}
    weights = {"lm_weight": 2, "word_score": -1, "unk_weight": -math.inf, "sil_weight": 0, "beam_size_token": 32}
    theirs = peer.W2lKenLMDecoder(Namespace(**files, **weights), dictionary)
    ours = search(vocabulary, lexicon=lexicon, language_model=model)
    texts = set()
    for seed in range(20):
        frames = random_log_posteriors(60, seed, tokens=32, sharpness=3)
        words = theirs.decode(frames[None])[0][0]["words"]
        assert ours(frames) == " ".join(words)
        texts.add(" ".join(words))
    assert len(texts) > 10


def test_no_frames_say_nothing(search: type[BeamSearch]) -> None:
    for decoder in (search(OPEN), search(OPEN, words=["A"]), search(LETTERS, words=["A"])):
        assert decoder(torch.zeros(0, 4)) == ""


def test_words_outside_the_vocabulary_are_left_out(search: type[BeamSearch]) -> None:
    assert search(LETTERS, words=["Ä", "A", ""])(frames_of(LETTERS, "A|")) == "A"
    with pytest.raises(UserError, match="None of the words"):
        search(LETTERS, words=["Ä", "b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [("A\tA |\nAX\tA X |\n", "Line 2 .* X in the spelling of 'AX'"), ("A\n", "Line 1 .* found 'A'"), ("", "is empty")],
)
def test_lexicons_that_do_not_fit(search: type[BeamSearch], tmp_path: Path, content: str, message: str) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text(content)
    with pytest.raises(UserError, match=message):
        search(LETTERS, lexicon=lexicon)


def test_files_that_are_not_there(search: type[BeamSearch], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lexicon .*absent.* is not there"):
        search(LETTERS, lexicon=tmp_path / "absent")
    with pytest.raises(UserError, match="language model .*absent.* is not there"):
        search(LETTERS, words=["A"], language_model=tmp_path / "absent")


def test_a_language_model_needs_words_and_must_be_one(search: type[BeamSearch], tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    model = tmp_path / "model.arpa"
    model.write_text("no language model\n")
    with pytest.raises(UserError, match="neither a lexicon nor a list of words"):
        search(LETTERS, language_model=model)
    with pytest.raises(UserError, match="cannot be read .*no language model"):
        search(LETTERS, words=["A"], language_model=model)


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package were not installed."""
    for name in [name for name in sys.modules if name.startswith(package)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def test_a_missing_decoder_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = pytest.importorskip("torchaudio.models.decoder")
    without("flashlight", monkeypatch)
    monkeypatch.delitem(sys.modules, "torchaudio.models.decoder._ctc_decoder", raising=False)
    for name in ("_ctc_decoder", "ctc_decoder"):
        monkeypatch.delattr(decoder, name, raising=False)
    with pytest.raises(UserError, match=r"flashlight-text: pip install -e '.\[lm\]'"):
        BeamSearch(OPEN)


def test_a_missing_kenlm_says_what_to_install(
    search: type[BeamSearch], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tmp_path / "bigrams.arpa"
    model.write_text(BIGRAMS)
    without("flashlight.lib.text.decoder.kenlm", monkeypatch)
    with pytest.raises(UserError, match=r"kenlm: pip install -e '.\[lm\]'"):
        search(LETTERS, words=["A"], language_model=model)
