"""Ranks: read from torchrun's environment, and refused where a scheduler or a notebook has set a part of it."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from upstream import ranks
from upstream.errors import UserError
from upstream.ranks import ALONE, NEEDED, Ranks, current

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*NEEDED, "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def set_all(environment: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        environment.setenv(name, value)


def test_ranks_are_read_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    assert current() == ALONE == Ranks(0, 1, 0)
    assert current().main
    environment.setenv("WORLD_SIZE", "4")  # batch systems set it for other ends
    assert current() == ALONE
    set_all(environment, **TORCHRUN)
    assert current() == Ranks(3, 4, 1)
    assert not current().main


def test_a_single_rank_is_alone_whoever_has_set_it(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, RANK="0", WORLD_SIZE="1")
    assert current() == ALONE


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "cannot meet: MASTER_ADDR and MASTER_PORT are not set"),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK is not set"),
        ({"RANK": "4"}, "RANK is 4 and WORLD_SIZE 4"),
        ({"RANK": "-1"}, "RANK is '-1'"),
        ({"RANK": "junior"}, "RANK is 'junior'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0' in the environment; expected a whole number from 1 on"),
        ({"WORLD_SIZE": "9" * 5_000}, "WORLD_SIZE is '999"),
        ({"LOCAL_RANK": "1.5"}, "LOCAL_RANK is '1.5'"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        ({"MASTER_PORT": "65536"}, "ports end at 65535"),
    ],
)
def test_what_torchrun_cannot_have_set_is_refused(
    values: dict[str, str], words: str, environment: pytest.MonkeyPatch
) -> None:
    set_all(environment, **TORCHRUN | values)
    with pytest.raises(UserError) as refusal:
        current()
    assert words in str(refusal.value)
    assert "unset RANK WORLD_SIZE" in str(refusal.value)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_whose_fellows_stay_away_waits_a_while(rank: int, environment: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    set_all(environment, **TORCHRUN | {"RANK": str(rank), "MASTER_PORT": str(port)})
    environment.setattr(ranks, "MEETING_TIMEOUT", timedelta(seconds=0.3))
    with pytest.raises(UserError, match=f"The 4 processes of WORLD_SIZE cannot meet at 127.0.0.1:{port} "):
        current().meet()


def test_another_program_at_that_port_is_not_waited_for(environment: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        set_all(environment, **TORCHRUN | {"MASTER_PORT": str(silent.getsockname()[1])})
        environment.setattr(ranks, "MEETING_TIMEOUT", timedelta(seconds=0.2))
        environment.setattr(ranks, "MEETING_NOTICE", 0.1)
        with pytest.raises(UserError, match="cannot meet at"):
            current().meet()


def test_an_address_that_nobody_knows(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, **TORCHRUN | {"MASTER_ADDR": "a..b"})
    with pytest.raises(UserError, match="cannot meet at a..b:29500"):
        current().meet()
