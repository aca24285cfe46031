"""WavLM (Chen et al. 2022): configuration, model, checkpoints.

Importing this package does not import torch; using one of its names does.
"""

from typing import TYPE_CHECKING

from upstream.lazy import lazy_exports

if TYPE_CHECKING:
    from upstream.wavlm.checkpoint import Checkpoint
    from upstream.wavlm.config import WavLMConfig
    from upstream.wavlm.model import WavLM, untrained
    from upstream.wavlm.upstream import WavLMUpstream, standardise, untrained_fingerprints
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "Checkpoint": "upstream.wavlm.checkpoint",
            "WavLMConfig": "upstream.wavlm.config",
            "WavLM": "upstream.wavlm.model",
            "untrained": "upstream.wavlm.model",
            "WavLMUpstream": "upstream.wavlm.upstream",
            "standardise": "upstream.wavlm.upstream",
            "untrained_fingerprints": "upstream.wavlm.upstream",
        },
    )

__all__ = ["Checkpoint", "WavLM", "WavLMConfig", "WavLMUpstream", "standardise", "untrained", "untrained_fingerprints"]
