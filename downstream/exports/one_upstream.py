"""What is exported of one upstream alone."""

from __future__ import annotations

from collections.abc import Sequence

from downstream.results import Result
from upstream.errors import UserError


def refuse_several_upstreams(results: Sequence[Result], what: str) -> None:
    """Raise UserError for records of different upstreams; what: "A submission"."""
    names = {result.upstream.fingerprint: result.upstream.name for result in results}
    if len(names) > 1:
        raise UserError(
            f"{what} is of one upstream, and these runs are of {len(names)}: {', '.join(names.values())}. Name the "
            "runs of one."
        )
