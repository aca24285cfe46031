"""A user's model, loaded from `module.py:function`.

The function returns a model: a callable that takes a list of 1-D waveforms (float, 16 kHz, in [-1, 1], of different
lengths, at least 400 samples) and has the attributes `num_layers` (L), `dim` (D) and `stride` (samples between two
frames; 16000 / 75 is right for 75 frames a second, and so is `frames_per_second = 75` in its place). A call returns
`HiddenStates` or a pair `(layers, lengths)` of tensors (L, B, T, D) and (B,). A complete example:

    import torch
    from torch import nn
    from upstream import HiddenStates

    class Spectrum(nn.Module):
        num_layers, dim, stride = 2, 201, 320

        def __init__(self):
            super().__init__()
            self.register_buffer("window", torch.hann_window(400))

        def forward(self, waveforms):
            return HiddenStates.from_utterances([self.states(waveform) for waveform in waveforms])

        def states(self, waveform):
            frames = waveform.unfold(0, 400, self.stride) * self.window  # (T, 400)
            spectrum = torch.fft.rfft(frames).abs()  # (T, 201)
            return torch.stack([spectrum, spectrum.log1p()])  # (L, T, D)

    def build():
        return Spectrum()

A torch module is set to evaluation mode, moved to the device and precision, and called with waveforms of these. Any
other object gets float32 waveforms on the device and must be frozen already. A model with the attribute `shortest` gets
at least so many samples, in place of 400.

On loading, the model is tested on noise, loud and quiet, alone and in batches. A UserError describes what breaks the
contract: wrong shapes, lengths that do not match the stride, states that are not finite, differ between two calls or
depend on the batch, and parameters that can change. Shapes and lengths are checked again at every call.

The function is called without arguments, unless it takes them without a default. For the untrained control
(`--random-init`) it is called as `function(random_init=True, seed=0)` if it has both parameters or one of them; if it
has neither, every part of a torch module draws its own parameters by its `reset_parameters`. See `untrained`.

The fingerprint covers the file and what it imports, except installed packages, the name of the function, and the
tensors, numbers and text that the model and the global variables of these files hold when it is loaded. The states of
the test waveforms are in it only where something cannot be looked into, such as another library's session.
"""

from upstream.custom.upstream import CustomUpstream, load
from upstream.custom.user_code import import_file

__all__ = ["CustomUpstream", "import_file", "load"]
