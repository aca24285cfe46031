"""Probe a frozen speech encoder for emotion: one fold of recipes/emotion.yaml, audio to accuracy, in plain PyTorch.

python examples/probe_emotion.py -u wavlm_base --random-init       # on synthetic speech, which is made on this machine
python examples/probe_emotion.py -u wavlm_base -c ravdess --data path/to/RAVDESS --fold 2

The harness records the same number for this fold: python run_downstream.py -u ... -d emotion -o sweep.layer=mix -c ...
(it stores states, learns all folds side by side, gives intervals, and without sweep.layer=mix also tries each layer by
itself). Heads agree to rounding, which training amplifies: after thousands of updates, single answers may differ.
"""

import argparse
import copy
from itertools import chain, count, islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import upstream
from downstream.data import speaker_folds
from downstream.data.corpora import load_corpus
from downstream.training import Shuffled
from upstream.files import DEFAULT_STORE

FOLDS, PROJECTION, BATCH, LEARNING_RATE, CLIP, EVALUATE_EVERY = 5, 256, 32, 1e-3, 1.0, 100  # as in the recipe

parser = argparse.ArgumentParser(description="Probe a frozen speech encoder for emotion, on one fold of speakers.")
parser.add_argument("-u", "--upstream", required=True, help="wavlm_base, fbank_no_cmvn, a checkpoint, hf:ORG/NAME")
parser.add_argument("--random-init", action="store_true", help="untrained weights, the control of every probe")
parser.add_argument("-c", "--corpus", default="demo", help="%(default)s, ravdess, crema_d, emodb, iemocap, manifest")
parser.add_argument("--data", type=Path, help="folder of the corpus; demo needs none")
parser.add_argument("--fold", type=int, default=1, choices=range(1, FOLDS + 1), help="which is tested (%(default)s)")
parser.add_argument("--steps", type=int, default=4000, help="updates of the head (%(default)s)")
parser.add_argument("--seed", type=int, default=0, help="of first weights: head, untrained upstream (%(default)s)")
args = parser.parse_args()

# ---- Utterances, U in all, sorted by id, and their classes in alphabetical order.
corpus = load_corpus(args.corpus, args.data, DEFAULT_STORE)  # the demo corpus is kept in DEFAULT_STORE
column = "emotion" if any("emotion" in u.labels for u in corpus.utterances) else "label"
utterances = sorted((u for u in corpus.utterances if column in u.labels), key=lambda u: u.id)  # demo has words as well
classes = sorted({u.labels[column] for u in utterances})
targets = torch.tensor([classes.index(u.labels[column]) for u in utterances])  # (U,)
# No speaker is in two parts: else the head could learn how a tested speaker sounds when angry.
fold = speaker_folds(utterances, FOLDS).folds[args.fold - 1]  # train, dev, test: indices into utterances
print(f"{args.corpus}, {fold.name}: {len(fold.train)} utterances to train, {len(fold.dev)} dev, {len(fold.test)} test")

# ---- Audio to states (L layers, T frames, D values a frame), averaged over time straight away.
# The head is affine up to a mean over time, which commutes with affine maps. So means, L x D numbers an utterance, give
# the same logits and gradients as all frames, and the encoder runs once over the corpus instead of at every update.
encoder = upstream.load(args.upstream, device="auto", random_init=args.random_init, seed=args.seed)
averaged = []
for utterance in tqdm(utterances, "encoding", unit=" utterances"):
    states = encoder([utterance.audio.load()]).layers[:, 0]  # (S,) samples at 16 kHz -> (L, T, D); alone, so unpadded
    averaged.append(states.float().mean(dim=1).cpu())
means = torch.stack(averaged, dim=1)  # (L, U, D)
# Layers of one scale: else one of large states would weigh more than its weight, and draw weight for its size alone.
deviation, mean = torch.std_mean(means[:, fold.train].double(), dim=1, correction=0, keepdim=True)  # (L, 1, D) each
means = (means - mean.float()) / torch.where(deviation > 0, deviation, 1.0).float()


class Head(nn.Module):
    """SUPERB's: weighted sum of layers, linear to 256, linear to the C classes, nothing in between."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(encoder.num_layers))  # through a softmax: equal at the start
        self.projection, self.output = nn.Linear(encoder.dim, PROJECTION), nn.Linear(PROJECTION, len(classes))
        generator = torch.Generator().manual_seed(args.seed)  # its own, so that nothing else moves the first weights
        for linear in (self.projection, self.output):
            bound = linear.in_features**-0.5  # uniform within it, as PyTorch does by default
            nn.init.uniform_(linear.weight, -bound, bound, generator)
            nn.init.uniform_(linear.bias, -bound, bound, generator)

    def forward(self, layers: Tensor) -> Tensor:
        mixed = torch.tensordot(self.layer_weights.softmax(dim=0), layers, dims=1)  # (L, B, D) -> (B, D)
        logits: Tensor = self.output(self.projection(mixed))  # (B, C)
        return logits


@torch.no_grad()
def accuracy(part: tuple[int, ...]) -> float:
    return int((head(means[:, part]).argmax(dim=1) == targets[list(part)]).sum()) / len(part)


# ---- Learn. The development set chooses the step: the test set must not, or its score would flatter.
head = Head()
torch.set_num_threads(1)  # the products are small: more threads would wait for each other
optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
order = Shuffled(fold.train, BATCH, seed=0)  # a seed of its own: other --seed, other first weights, the same batches
batches = chain.from_iterable(order.epoch(number) for number in count())  # (B,) indices each; an epoch's last is short
best_step, best_development, best_weights = 0, -1.0, head.state_dict()
losses: list[float] = []
for step, batch in enumerate(islice(batches, args.steps), start=1):
    optimizer.zero_grad()
    loss = F.cross_entropy(head(means[:, batch]), targets[batch])  # nats, mean over the batch
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(head.parameters(), CLIP)
    optimizer.step()
    losses.append(loss.item())
    if step % EVALUATE_EVERY == 0 or step == args.steps:
        development = accuracy(fold.dev)
        print(f"step {step:4}  training loss {sum(losses) / len(losses):.4f}  development accuracy {development:.2%}")
        losses.clear()
        if development > best_development:  # of equal ones the earliest
            best_step, best_development, best_weights = step, development, copy.deepcopy(head.state_dict())

# ---- Test, once, with the weights of the chosen step.
head.load_state_dict(best_weights)
test_accuracy = accuracy(fold.test)
print(f"test accuracy {test_accuracy:.2%} of {fold.name}, at step {best_step} (development {best_development:.2%})")
print("weight of each layer:", *(f"{weight:.3f}" for weight in head.layer_weights.softmax(dim=0).tolist()))
