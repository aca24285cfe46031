"""Layers are compared from whatever the store has of them, labels come with the dataset, and all of it can be shown."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from small_runs import FAMILIES, write_words

import upstream
from downstream.data.dataset import Dataset, read_dataset
from downstream.similarity import (
    Cka,
    LabelCorrelation,
    Similarity,
    cka_picture,
    label_picture,
    measure,
    measured,
    stored,
)
from downstream.similarity.similarity_plots import in_lines
from downstream.tasks.registry import family_of, load_recipe
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.extract import fill
from upstream.store import StateStore, StoreKey


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("similarity"))


@pytest.fixture(scope="module")
def encoders() -> dict[str, Upstream]:
    """Encoders whose frames are 20 ms and 10 ms apart."""
    return {"small": upstream.load("wavlm_nano", random_init=True), "banks": upstream.load("fbank_no_cmvn")}


def dataset_of(family: str, place: Path) -> Dataset:
    name, *own = FAMILIES[family]
    recipe = load_recipe(name, own)
    return read_dataset(recipe, family_of(recipe), place, place / "store", progress=False)


def filled(reduction: str, encoder: Upstream, dataset: Dataset, root: Path) -> None:
    """Store states of all utterances as float32."""
    store = StateStore(root, StoreKey.of(encoder, reduction, "float32"))
    fill(store, encoder, dataset.items, progress=False)


def test_layers_are_compared_within_and_between_encoders(place: Path, encoders: dict[str, Upstream]) -> None:
    found = measure(encoders, dataset_of("class", place), place / "states", progress=False)
    assert [(one.one, one.other) for one in found.cka] == [("small", "small"), ("small", "banks"), ("banks", "banks")]
    assert [one.values.shape for one in found.cka] == [(4, 4), (4, 1), (1, 1)]
    assert np.diag(found.cka[0].values) == pytest.approx(np.ones(4))
    np.testing.assert_allclose(found.cka[0].values, found.cka[0].values.T, atol=1e-9)
    assert (found.column, found.classes, found.utterances, found.labelled) == ("emotion", 4, 56, 56)
    assert [one.values.shape for one in found.labels] == [(4,), (1,)]
    assert found.labels[1].values[0] > 0.8  # words are pitches, which filterbanks show
    again = measure(encoders, dataset_of("class", place), place / "states", progress=False)
    assert again.tables() == found.tables()


def test_what_was_measured_is_read_back_for_the_same_inputs_alone(
    place: Path, encoders: dict[str, Upstream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dataset_of("class", place)
    found = measured(encoders, dataset, tmp_path, progress=False)
    counted = Mock(wraps=measure)
    monkeypatch.setattr("downstream.similarity.kept.measure", counted)
    again = measured(encoders, dataset, tmp_path, progress=False)
    assert counted.call_count == 0
    assert again.tables() == found.tables()
    assert (again.column, again.classes, again.compared, again.notes) == ("emotion", 4, "means", found.notes)
    measured({"small": upstream.load("wavlm_nano", random_init=True, seed=3)}, dataset, tmp_path, progress=False)
    measured(encoders, replace(dataset, labels=dataset.labels[::-1]), tmp_path, progress=False)
    assert counted.call_count == 2
    for path in (tmp_path / "similarity").iterdir():
        path.write_text('{"cka": [')  # cut off
    assert measured(encoders, dataset, tmp_path, progress=False).tables() == found.tables()
    assert counted.call_count == 3


@pytest.mark.parametrize("reduction", ["statistics", "frames"])
def test_what_the_store_has_is_not_encoded_again(
    reduction: str, place: Path, encoders: dict[str, Upstream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, own = dataset_of("class", place), {"small": encoders["small"]}
    expected = measure(own, dataset, tmp_path / "means", progress=False)
    filled(reduction, own["small"], dataset, tmp_path / reduction)
    monkeypatch.setattr(stored, "fill", None)
    found = measure(own, dataset, tmp_path / reduction, progress=False)
    np.testing.assert_allclose(found.cka[0].values, expected.cka[0].values, atol=1e-5)
    np.testing.assert_allclose(found.labels[0].values, expected.labels[0].values, atol=1e-3)


def test_speakers_are_labels_where_they_are_compared_and_words_are_none(
    place: Path, encoders: dict[str, Upstream]
) -> None:
    speakers = measure(encoders, dataset_of("fitted", place), place / "states", progress=False)
    assert (speakers.column, speakers.classes) == ("speaker", 7)
    text = measure(encoders, dataset_of("text", place), place / "states", progress=False)
    assert (text.labels, text.column, list(text.tables())) == ((), "", ["cka.csv"])
    assert text.notes == ("The task learns text and no classes, so layers have no labels to correlate with.",)
    assert label_picture(text) is None


def test_frames_of_one_moment_are_compared_where_they_are_stored(
    place: Path, encoders: dict[str, Upstream], tmp_path: Path
) -> None:
    dataset = dataset_of("class", place)
    with pytest.raises(UserError, match="The store has no frames of wavlm_nano"):
        measure(encoders, dataset, tmp_path, moments=2, progress=False)
    for encoder in encoders.values():
        filled("frames", encoder, dataset, tmp_path)
    found = measure(encoders, dataset, tmp_path, moments=2, progress=False)
    assert found.compared == "frames"
    assert np.diag(found.cka[0].values) == pytest.approx(np.ones(4))
    assert 0.05 < found.cka[1].values[0, 0] < 1  # both frames are of the same letter
    other = measure(encoders, dataset, tmp_path, moments=2, seed=1, progress=False)
    assert other.cka[1].values[0, 0] != found.cka[1].values[0, 0]


def test_equal_audio_counts_once_and_of_many_utterances_some_are_drawn(
    place: Path, encoders: dict[str, Upstream]
) -> None:
    dataset, own = dataset_of("class", place), {"banks": encoders["banks"]}
    twice = replace(dataset, items=(*dataset.items[:-1], dataset.items[0]))
    assert measure(own, twice, place / "states", progress=False).utterances == 55
    drawn = measure(own, dataset, place / "states", most=20, progress=False)
    assert drawn.utterances == 20
    few = replace(dataset, items=(dataset.items[0],) * 53 + dataset.items[:3])
    with pytest.raises(UserError, match=r"4 different utterances at least, and .* has 3"):
        measure(own, few, place / "states", progress=False)


def test_a_damaged_shard_is_encoded_again(place: Path, encoders: dict[str, Upstream], tmp_path: Path) -> None:
    dataset, own = dataset_of("class", place), {"banks": encoders["banks"]}
    expected = measure(own, dataset, tmp_path, progress=False)
    shard = next(tmp_path.rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    assert measure(own, dataset, tmp_path, progress=False).tables() == expected.tables()
    shutil.rmtree(tmp_path)


def similarity(*layers: int) -> Similarity:
    """Return what might have been measured of encoders with so many layers, the last one constant in the first."""
    names = [f"encoder with a long name, number {number}" for number in range(len(layers))]
    values = [np.full((one, other), 0.5) for one in layers for other in layers]
    values[0][-1] = np.nan
    pairs = [(one, other) for one in names for other in names]
    cka = [Cka(*pair, value) for pair, value in zip(pairs, values, strict=True) if pair[0] <= pair[1]]
    labels = tuple(
        LabelCorrelation(name, np.linspace(-0.02, 0.6, one)) for name, one in zip(names, layers, strict=True)
    )
    return Similarity(tuple(cka), labels, "emotion", 4, 100, 90, "means")


def test_tables_are_read_back() -> None:
    found = similarity(3, 2)
    rows = list(csv.DictReader(found.tables()["cka.csv"].splitlines()))
    assert len(rows) == 9 + 6 + 4
    assert [row["cka"] for row in rows if (row["layer"], row["upstream"]) == ("2", found.cka[0].one)][:3] == [
        "",
        "",
        "",
    ]
    assert {row["cka"] for row in rows} == {"", "0.5"}
    labels = list(csv.DictReader(found.tables()["label_cca.csv"].splitlines()))
    assert [float(row["canonical_correlation"]) for row in labels] == [-0.02, 0.29, 0.6, -0.02, 0.6]
    assert {(row["labels"], row["classes"], row["utterances"]) for row in labels} == {("emotion", "4", "90")}


@pytest.mark.parametrize("layers", [(3,), (13, 1), (25, 13, 1)])
def test_pictures_show_every_encoder(layers: tuple[int, ...]) -> None:
    import matplotlib.figure

    found = similarity(*layers)
    for picture in (cka_picture(found), label_picture(found)):
        assert picture is not None
        assert picture.rendered("svg") == picture.rendered("svg")
    figure = matplotlib.figure.Figure()
    cka_picture(found).draw(figure)
    drawn = [axes for axes in figure.axes if axes.get_images()]
    assert len(drawn) == len(layers) * (len(layers) + 1) // 2
    assert {"".join(axes.get_xlabel().split()) for axes in drawn} - {""} == {
        "".join(one.upstream.split()) for one in found.labels
    }


def test_layers_have_whole_numbers_and_names_break_behind_their_marks() -> None:
    import matplotlib.figure

    figure, picture = matplotlib.figure.Figure(), label_picture(similarity(5))
    assert picture is not None
    picture.draw(figure)
    ticks = figure.axes[0].get_xticks()
    assert len(ticks) > 1
    assert all(float(tick).is_integer() for tick in ticks)
    assert in_lines("small_wavlm_trial", 14) == "small_wavlm_\ntrial"
    assert in_lines("small_wavlm_trial", 60) == "small_wavlm_trial"
    assert in_lines("unbreakable", 4) == "unbreakable"
