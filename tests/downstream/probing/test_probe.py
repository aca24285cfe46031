"""Layer probes: the runs behind them, their tables, pictures and files, and what they refuse."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from own_encoder import ENERGY
from small_runs import MANIFEST, SHORT, write_words

import downstream
from downstream.cli import main as cli
from downstream.probing import Probe, probed_recipes
from downstream.report import choices, mean_development
from downstream.results import read_result
from upstream.errors import UserError

COMMON = [word for one in (*MANIFEST, *(f"emotion:{short}" for short in SHORT), "emotion:training.batch=8",
                           "sv:split.longer_than=0") for word in ("-o", one)]  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("probe")
    (folder / "corpus").mkdir()
    return {"data": write_words(folder / "corpus"), "results": folder / "results", "store": folder / "store"}


def typed(places: dict[str, Path], *more: str) -> list[str]:
    flags = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    return ["probe", "-u", "wavlm_nano", "fbank_no_cmvn", "-d", "emotion", "sv", *flags, *COMMON, *more]


@pytest.fixture(scope="module")
def probe(places: dict[str, Path]) -> Probe:
    """A probe of an upstream with layers and one without, on a family that descends and one that does not."""
    import upstream

    return downstream.probe(
        ["emotion", "sv"],
        [upstream.load("wavlm_nano", random_init=True), "fbank_no_cmvn"],
        overrides=[word for word in COMMON if word != "-o"],
        progress=False,
        **places,  # type: ignore[arg-type]
    )


def test_every_layer_has_a_row_with_its_seeds(probe: Probe) -> None:
    table = probe.table
    own = table[(table.upstream == "wavlm_nano") & (table.recipe == "emotion") & table.is_primary]
    assert list(own.layer) == ["mix", 0, 1, 2, 3, "best"]
    assert list(own.depth[1:5]) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    seeds = own[["seed_0", "seed_1"]].to_numpy(dtype=float)
    np.testing.assert_allclose(seeds.mean(axis=1), own.value.astype(float))
    np.testing.assert_allclose(seeds.std(axis=1, ddof=1), own.deviation.astype(float))
    assert own.preferred[1:5].sum() == pytest.approx(1)
    assert not Path(own.record.iloc[0]).is_absolute()
    fitted = table[(table.recipe == "sv") & table.is_primary]
    assert set(fitted.upstream) == {"wavlm_nano", "fbank_no_cmvn"}
    assert fitted.deviation.isna().all()  # closed forms have no use for seeds
    assert not fitted.higher_is_better.any()


def test_weights_are_those_of_learned_sums_alone(probe: Probe) -> None:
    weights = probe.weights
    assert set(zip(weights.upstream, weights.recipe, strict=True)) == {("wavlm_nano", "emotion")}
    assert weights.weight.sum() == pytest.approx(1)
    assert weights.share.sum() == pytest.approx(1)
    products = weights.weight * weights.norm
    np.testing.assert_allclose(weights.share, products / products.sum())


def test_the_table_counts_what_development_prefers(probe: Probe) -> None:
    result = probe.probed[0].result
    counts, means = choices(result), mean_development(result)
    heads = [head for head in result.heads if head.setting == "best"]
    assert sum(counts.values()) == len(heads) == 2
    assert {layer for layer, count in counts.items() if count} == {head.layer for head in heads}
    of_layer = [fit.development for fit in result.grid if fit.layer == 1 and fit.development is not None]
    assert means[1] == pytest.approx(np.mean(of_layer))


def test_files_are_the_same_each_time_and_say_the_same(probe: Probe, tmp_path: Path) -> None:
    files = probe.write(str(tmp_path / "one"))
    depth = next(picture for picture in probe.pictures if picture.name == "depth")
    assert (tmp_path / "one" / "depth.png").read_bytes() == depth.rendered()
    names = {path.name for path in files}
    assert {"scores.csv", "layer_weights.csv", "depth.png", "depth.svg", "scores-wavlm_nano__untrained.png"} <= names
    with (tmp_path / "one" / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(probe.table)
    assert [float(row["value"]) for row in rows] == list(probe.table.value)


def test_upstreams_stand_over_relative_depth(probe: Probe) -> None:
    (picture,) = [one for one in probe.pictures if one.name == "depth"]
    figure = Figure()
    picture.draw(figure)
    emotion = figure.axes[0]
    (layers,) = [line for line in emotion.lines if line.get_label() == "wavlm_nano, untrained"]
    values = [100 * probe.probed[0].result.layers[1 + layer].scores[0].value for layer in range(4)]
    np.testing.assert_allclose(layers.get_xdata(), [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(layers.get_ydata(), values)
    (flat,) = [line for line in emotion.lines if line.get_label() == "fbank_no_cmvn"]
    assert len(set(flat.get_ydata())) == 1


def test_typed_again_it_reads_what_there_is(
    probe: Probe, places: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def learned(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished run was learned again")

    monkeypatch.setattr("downstream.experiment.learn", learned)
    arguments = [word for word in typed(places) if word != "wavlm_nano"]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "fbank_no_cmvn on emotion (manifest)" in shown
    assert "average" in shown  # of closed forms
    assert "fbank_no_cmvn has no untrained control" in shown
    record = probe.probed[-1].result
    assert record.folder is not None
    assert read_result(record.folder / "result.json").command.startswith("wavprobe run -u fbank_no_cmvn -d sv")


def test_an_upstream_of_a_file_is_compared_by_the_name_in_its_record(places: dict[str, Path], tmp_path: Path) -> None:
    """Records name a file without the folders before it."""
    (tmp_path / "encoder.py").write_text(ENERGY)
    found = downstream.probe(
        "sv", tmp_path / "encoder.py:build", overrides=[MANIFEST[0], "split.longer_than=0"], control=False,
        progress=False, **places,  # type: ignore[arg-type]
    )  # fmt: skip
    assert not found.failures
    assert not found.probed[0].result.upstream.name.startswith(str(tmp_path))


@pytest.mark.usefixtures("probe")
def test_an_upstream_that_cannot_be_loaded_does_not_stop_the_others(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(typed(places, "--no-similarity")) == 2
    shown = capsys.readouterr()
    assert "fbank_no_cmvn on emotion (manifest)" in shown.out
    assert "failed and is missing: wavlm_nano: There are no weights" in shown.err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-o", "sweep.layer=mix"], "has no single layer"),
        (["-o", "emotoin:training.steps=3"], "Did you mean emotion?"),
        (["-u", "fbank_no_cmvn"], "is named twice"),
        (["-d", "keywrd"], "Did you mean keyword?"),
        (["-d", "demo"], "It is a suite"),
        (["-o", "training.steps=3"], "has its name before it: -o emotion:KEY=VALUE"),
        (["-u", ""], "-u UPSTREAM is missing"),
        (["-u", "wavlm_bse"], "Did you mean wavlm_base"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_anything_is_encoded(
    more: list[str], said: str, places: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    apart = places | {"results": tmp_path / "results", "store": tmp_path / "store"}
    assert cli.main(typed(apart, *more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_what_is_said_of_one_recipe_is_for_it_alone() -> None:
    emotion, sv = probed_recipes(
        ["emotion", "sv"], seeds=[5], overrides=["emotion:training.steps=7"], data=["a", "sv:b"], corpora=["sv:demo"]
    )
    assert emotion.recipe.learned is not None
    assert emotion.recipe.learned.training.steps == 7
    assert (str(emotion.data), str(sv.data)) == ("a", "b")
    assert (emotion.recipe.corpus.name, sv.recipe.corpus.name) == ("ravdess", "demo")
    assert (emotion.recipe.sweep.seed, sv.recipe.sweep.seed) == ((5,), ())
    with pytest.raises(UserError, match="not run here"):
        probed_recipes(["sv"], seeds=None, overrides=["emotion:training.steps=7"])
