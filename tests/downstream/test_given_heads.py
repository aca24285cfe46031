"""Heads that were learned before are tested on a corpus, and their records say so (--head-from)."""

from __future__ import annotations

from pathlib import Path

import pytest
from s3prl_runs import DOWNSTREAMS, Run, Utterance
from small_runs import FAMILIES, small_run, write_words

import downstream
from downstream.cli.main import main
from downstream.conversion import convert
from downstream.results import checked
from downstream.results.record import Result
from upstream.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # s3prl's, of what torch deprecates
SCORED = ("speaker", "text", "class")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


def record_of(
    recipe: str, upstream: str, heads: Path, corpus: Path, place: Path, *overrides: str, **given: object
) -> Result:
    """Return the record of heads on a corpus."""
    return downstream.run(
        recipe,
        upstream,
        data=corpus,
        overrides=["corpus.name=manifest", "split.rule=published", *overrides],
        head_from=heads,
        results=place / "tested",
        store=place / "store",
        progress=False,
        **given,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("family", SCORED)
def test_a_runs_own_heads_have_its_score(family: str, corpus: Path, tmp_path: Path) -> None:
    """The same heads on the same test set, without any training: the same scores, to the bit."""
    record = small_run(family, corpus, tmp_path)
    assert record.folder is not None
    recipe, *overrides = FAMILIES[family]
    upstream = "fbank_no_cmvn" if family == "text" else "wavlm_nano"
    again = record_of(
        recipe, upstream, record.folder, corpus, tmp_path, *overrides, seed=3, random_init=family != "text"
    )
    assert again.metrics == record.metrics
    assert again.given is not None
    assert again.given.origins == []
    assert again.recipe.protocol == "given heads"
    assert any(caveat.startswith("The heads were not learned by this run") for caveat in again.caveats)
    assert not any("training may have stopped" in caveat for caveat in again.caveats)
    assert again.folder is not None
    assert checked(again.folder).unchecked == ()
    replayed = downstream.replay(
        again.folder, data=corpus, to=tmp_path / "replayed", store=tmp_path / "store", progress=False
    )
    assert replayed.is_identical
    assert replayed.again.learned == again.learned
    if family == "class":
        assert main(["compare", str(record.folder), str(again.folder)]) == 0


@pytest.fixture
def s3prl_head(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, Path]:
    """A run of s3prl for the classes of the corpus, and its head here."""
    monkeypatch.setitem(DOWNSTREAMS, "emotion", lambda dim: Utterance(dim, 4))
    run = Run(tmp_path, "emotion", "base")
    (tmp_path / "names.txt").write_text("A\nAB A\nB C\nCAB\n".replace(" ", ""))
    convert(run.save(tmp_path / "run.ckpt"), tmp_path / "head.safetensors", labels=tmp_path / "names.txt")
    return run, tmp_path / "head.safetensors"


PLAIN = ("head.standardised=false", "head.projection=16", "corpus.effects.gain=0")


def test_a_result_of_s3prl_is_evaluated_here(s3prl_head: tuple[Run, Path], corpus: Path, tmp_path: Path) -> None:
    run, head = s3prl_head
    record = record_of("emotion", str(run.microsoft), head, corpus, tmp_path, *PLAIN)
    assert record.given is not None
    (origin,) = record.given.origins
    assert (origin.program, origin.task, origin.development) == ("s3prl", "emotion", pytest.approx(0.61))
    assert any("but by s3prl's emotion (step 30,000" in caveat for caveat in record.caveats)
    assert record.folder is not None
    own = downstream.predict(record.folder, [str(corpus / "f0-A.wav")], upstream=str(run.microsoft), progress=False)
    other = downstream.predict(head, [str(corpus / "f0-A.wav")], upstream=str(run.microsoft), progress=False)
    assert [row["posteriors"] for row in own] == [row["posteriors"] for row in other]
    assert checked(record.folder).unchecked == ()


def test_what_does_not_fit_is_refused_with_what_to_type(
    s3prl_head: tuple[Run, Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, head = s3prl_head
    upstream = str(run.microsoft)
    for words, arguments in (
        ("type -o head.projection=16 -o head.standardised=false", ("emotion", upstream, head)),
        ("is not the upstream of the head fold2-seed1337", ("emotion", "fbank", head, *PLAIN)),
        ("a task of another kind", ("sv_xvector", upstream, head, "split.longer_than=0")),
        ("the same names in the same order", ("emotion", upstream, head, *PLAIN, "corpus.classes=[CAB, BC, ABA, A]")),
        ("wavprobe convert .*run.ckpt head.safetensors", ("emotion", upstream, tmp_path / "run.ckpt", *PLAIN)),
    ):
        recipe, name, file, *overrides = arguments
        with pytest.raises(UserError, match=words):
            record_of(str(recipe), str(name), Path(file), corpus, tmp_path, *map(str, overrides))
    command = ["run", "-u", upstream, "-d", "emotion", "--head-from", str(head)]
    assert main([*command, "-l", "1"]) == 2
    assert main([*command, "-d", "keyword"]) == 2
    assert main(["run", "-u", upstream, "-d", "emotion", "-m", "evaluate", "-e", str(tmp_path / "run.ckpt")]) == 2
    said = capsys.readouterr().err
    assert "-l 1 is the layer of heads to learn, and --head-from tests some" in said
    assert "--head-from is of one upstream and one recipe" in said
    assert "wavprobe convert CHECKPOINT head.safetensors" in said
