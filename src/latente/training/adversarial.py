"""The step of two players: the critic learns, then the generator does, each while the other stands still.

Phase 1, the critic: real images are labelled 1 and fakes 0; the generator only supplies fakes and is not changed.
Phase 2, the generator: its fakes go through the fixed critic and are labelled 1. It never sees a real image; with the
relativistic cost it is told how the critic scored some, no more.

"Label 1 for the generator" is the non-saturating cost of Goodfellow et al. 2014, section 3. With it the game is no
longer zero-sum: what one player loses, the other does not win. `objective.cost minimax` is.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from latente.config import AdversarialObjective, AdversarialOptim, CureConfig
from latente.data.augment import ada, diffaugment
from latente.data.stream import Batch
from latente.objectives.adversarial import critic_cost, generator_cost
from latente.objectives.penalties import clip_weights_, dragan, squared_gradient, wgan_gp, zero_centred
from latente.training.minimise import join, parts
from latente.training.schedule import geometric, learning_rate
from latente.training.state import Metrics, TrainState

_SURE = math.log(99)  # the logit of 0.99
_ADA_EVERY = 4  # steps from one change of the augmentation's strength to the next

Stage = tuple[int, float]  # the newest level of players that grow, and its weight
# a network, images and their labels, the stage -> a penalty on the network for each, [n]
Toll = Callable[[nn.Module, int, Tensor | None, Stage | None], Tensor]


class Growing(NamedTuple):
    """How players grow while they learn: all are pure functions of the clock. Networks keep their stage in a buffer
    `grown`."""

    at: Callable[[int], Stage]  # at so many images shown
    prepare: Callable[[Tensor, Any], Tensor]  # real images of full size -> those of a stage
    restarts: Callable[[int, int], bool]  # whether optimizers begin anew after n images at a clock


class Judged(NamedTuple):
    """Images and what the critic made of them."""

    images: Tensor  # [n, C, H, W]
    labels: Tensor | None  # [n]
    logits: Tensor  # [n / packing]


@dataclass(frozen=True)
class Adversarial:
    """Is a Step: (state, batch) -> metrics. `optim.critic_steps` moves of the critic, then one of the generator."""

    objective: AdversarialObjective
    cure: CureConfig
    optim: AdversarialOptim
    length: int  # images of the run: ramps end there
    autocast: Callable[[], AbstractContextManager[None]]
    growing: Growing | None = None
    generator_penalty: Toll | None = None  # for `objective.path_length`

    def __call__(self, state: TrainState, batch: Batch) -> Metrics:
        generator, critic = state.nets["generator"], state.nets["critic"]
        shown, batch = len(batch.images), self.grown(state, batch)
        turns = [part for part, _ in parts(batch, self.optim.critic_steps)]
        seen = []
        for turn, part in enumerate(turns):
            with torch.set_grad_enabled(part is turns[-1]), self.autocast():  # the last fakes serve both players
                made = fakes(generator, len(part.images), part.condition, self.stage(state)).float()
            seen.append(self.critic_learns(state, part, made.detach(), turn))
        metrics = join(seen)
        images, labels = turns[-1]
        critic.requires_grad_(False)
        scores = None  # of real images: the relativistic cost compares with them
        if self.objective.cost == "relativistic":
            with torch.no_grad():
                scores = self.judge(state, images, labels).logits
        metrics |= self.generator_learns(state, made, labels, scores)
        critic.requires_grad_(True)
        metrics |= self.generator_pays(state, len(images), labels)
        if self.growing is not None:
            grown: Any = state.nets["generator"].grown
            level, alpha = grown.clone()
            metrics |= {"growth/level": level, "growth/alpha": alpha}
            if self.growing.restarts(state.images, shown):
                for optimizer in state.optimizers.values():
                    optimizer.state.clear()
        return metrics

    # Growing

    def grown(self, state: TrainState, batch: Batch) -> Batch:
        """Real images as they look at the stage of this step, which the networks are told; those that do not grow see
        them as they are."""
        stage = self.stage(state)
        if self.growing is None or stage is None:
            return batch
        for net in state.nets.values():
            for place, value in enumerate(stage):
                net.grown[place].fill_(value)  # type: ignore[index]  # without waiting for the device
        return Batch(self.growing.prepare(batch.images, stage), batch.condition)

    def stage(self, state: TrainState) -> Stage | None:
        """The stage of this step."""
        return None if self.growing is None else self.growing.at(state.images)

    # Learning

    def critic_learns(self, state: TrainState, batch: Batch, fake: Tensor, turn: int) -> Metrics:
        """Phase 1: real images up, fakes [n, C, H, W] down; nothing flows back to the generator."""
        critic, optimizer = state.nets["critic"], state.optimizers["critic"]
        real, labels = batch
        fake, fake_labels = self.remember(state, fake, labels, turn)
        penalised = self.penalised(state.iteration)
        at_once = penalised and self.objective.every == 1  # in the same step, from the same logits
        if at_once:
            real, fake = real.detach().requires_grad_(), fake.requires_grad_()
        reals, made = self.judge(state, real, labels), self.judge(state, fake, fake_labels)
        loss = critic_cost(self.objective.cost, reals.logits, made.logits, self.cure.label_smoothing)
        metrics = {
            "critic/loss": loss.detach(),
            "critic/real": reals.logits.detach(),
            "critic/fake": made.logits.detach(),
            "critic/margin": (reals.logits - made.logits).detach(),
        }
        if (done := saturated(self.objective.cost, reals.logits, made.logits)) is not None:
            metrics["critic/saturated"] = done
        if self.objective.drift:
            loss = loss + self.objective.drift * reals.logits.square()
        if at_once:
            penalty, weight = self.penalty(state, reals, made)
            metrics["critic/penalty"] = penalty.detach()
            loss = loss + weight * penalty
        metrics["gradient/critic"] = self.move(critic, optimizer, loss.mean(), self.critic_rate(state.images))
        if penalised and not at_once:  # in a step of its own, as many times as strong as it is rare
            penalty, weight = self.penalty(state, reals, made, again=True)
            metrics["critic/penalty"] = penalty.detach()
            strong = self.objective.every * weight * penalty.mean()
            self.move(critic, optimizer, strong, self.critic_rate(state.images))
        if self.objective.penalty == "clip":
            clip_weights_(critic, self.objective.clip)
        if self.cure.augment != "none":
            metrics["augment/strength"] = self.adapt(state, reals.logits.detach(), turn)
        return metrics

    def generator_learns(
        self, state: TrainState, fake: Tensor, labels: Tensor | None, scores: Tensor | None
    ) -> Metrics:
        """Phase 2: fakes [n, C, H, W] up through the fixed critic. `scores`: the critic's, of real images, for a cost
        that compares."""
        loss = generator_cost(self.objective.cost, self.judge(state, fake, labels).logits, scores)
        norm = self.move(
            state.nets["generator"], state.optimizers["generator"], loss.mean(), self.generator_rate(state.images)
        )
        return {"generator/loss": loss.detach(), "gradient/generator": norm}

    def generator_pays(self, state: TrainState, n: int, labels: Tensor | None) -> Metrics:
        """The generator's own penalty, in a step every `path_every` times, as many times as strong, on half a batch of
        new latents (Karras et al. 2020, section 3.2 and appendix B)."""
        every = self.objective.path_every
        if self.generator_penalty is None or state.iteration % every:
            return {}
        n, generator = max(n // 2, 1), state.nets["generator"]
        penalty = self.generator_penalty(generator, n, None if labels is None else labels[:n], self.stage(state))
        strong = every * self.objective.path_length * penalty.mean()
        self.move(generator, state.optimizers["generator"], strong, self.generator_rate(state.images))
        return {"generator/penalty": penalty.detach()}

    def move(self, net: nn.Module, optimizer: Optimizer, loss: Tensor, rate: float) -> Tensor:
        """One step of one player down its loss -> the norm of its gradient, []."""
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])
        if self.optim.clip > 0:
            torch.nn.utils.clip_grads_with_norm_(list(net.parameters()), self.optim.clip, norm)
        optimizer.step()
        return norm.detach()

    def generator_rate(self, images: int) -> float:
        """The generator's learning rate, slowed as the critic's is."""
        return learning_rate(self.optim, images) * lazily(self.objective, "generator")

    def critic_rate(self, images: int) -> float:
        """The critic's learning rate. A lazy penalty adds a step to every k: Adam is slowed by k / (k + 1), as are its
        betas (Karras et al. 2020, appendix B)."""
        own = replace(self.optim, lr=self.optim.critic_lr or self.optim.lr)
        return learning_rate(own, images) * lazily(self.objective)

    # Penalties

    def penalised(self, iteration: int) -> bool:
        """Whether this step has a penalty on gradients."""
        return self.objective.penalty not in ("none", "clip") and iteration % self.objective.every == 0

    def penalty(self, state: TrainState, real: Judged, fake: Judged, again: bool = False) -> tuple[Tensor, float]:
        """The penalty, [n / packing], and its weight; `again`: the critic has moved, its logits are taken anew."""
        critic, o = at_stage(state.nets["critic"], self.stage(state)), self.objective
        gamma = geometric(o.gamma, o.gamma_final, o.gamma_images, state.images)
        if o.penalty == "wgan-gp":
            seen, made = (packed(side.images, self.cure.packing) for side in (real, fake))
            return wgan_gp(critic, seen, made, real.labels), gamma
        if o.penalty == "dragan":
            return dragan(critic, packed(real.images, self.cure.packing), real.labels), gamma
        view = partial(self.view, state=state)
        sides = {"r1": (real,), "r2": (fake,), "r1+r2": (real, fake)}[o.penalty]
        squares = [
            zero_centred(critic, side.images, side.labels, view)
            if again
            else squared_gradient(side.logits, side.images)
            for side in sides
        ]
        return torch.stack(squares).sum(0), gamma / 2

    # What the critic sees

    def judge(self, state: TrainState, images: Tensor, labels: Tensor | None) -> Judged:
        """Images [n, C, H, W] and the critic's logits of them, [n / packing]."""
        with self.autocast():
            logits = at_stage(state.nets["critic"], self.stage(state))(self.view(images, state), labels).float()
        return Judged(images, labels, logits)

    def view(self, images: Tensor, state: TrainState) -> Tensor:
        """Images as the critic sees them: augmented, noisy, packed. Gradients pass through."""
        if self.cure.augment == "diffaugment":
            images = diffaugment(images)
        elif self.cure.augment == "ada":
            images = ada(images, self.strength(state))
        if self.cure.instance_noise:
            left = max(1 - state.images / max(self.cure.instance_noise_images, 1), 0.0)
            # Sonderby et al. 2017; Arjovsky and Bottou 2017
            images = images + self.cure.instance_noise * left * torch.randn_like(images)
        return packed(images, self.cure.packing)

    def strength(self, state: TrainState) -> Tensor:
        """ADA's p, []: part of the state; where the sign of a logit means nothing, a fixed ramp."""
        if not self.signed:
            share = min(state.images / max(self.length, 1), 1.0)
            return torch.tensor(self.cure.augment_most * share, device=next(state.nets.parameters()).device)
        return state.memory["augment/strength"]

    def adapt(self, state: TrainState, real_logits: Tensor, turn: int) -> Tensor:
        """Karras et al. 2020 (ADA), section 3: r_t = E[sign(D(real))] above its target means that the critic
        overfits."""
        if self.cure.augment != "ada":
            return torch.ones((), device=real_logits.device)
        if not self.signed:
            return self.strength(state)
        memory, turns = state.memory, _ADA_EVERY * self.optim.critic_steps
        memory["augment/signs"] += real_logits.sign().mean()
        if (state.iteration * self.optim.critic_steps + turn + 1) % turns == 0:
            up = torch.sign(memory["augment/signs"] / turns - self.cure.augment_target)
            images = turns * len(real_logits) * self.cure.packing
            memory["augment/strength"].add_(up * images / max(self.cure.augment_images, 1)).clamp_(0, 1)
            memory["augment/signs"].zero_()
        return memory["augment/strength"].clone()

    @property
    def signed(self) -> bool:
        """Whether the sign of a logit says real or fake: 0 is the border for costs on both sides of it."""
        return self.objective.cost in ("minimax", "non-saturating", "hinge")

    # Experience replay

    def remember(
        self, state: TrainState, fake: Tensor, labels: Tensor | None, turn: int
    ) -> tuple[Tensor, Tensor | None]:
        """Current fakes [n] -> what the critic is shown of them: a share comes from the store of past ones, in distinct
        slots, and as many current ones take random slots (Shrivastava et al. 2017, section 2.3). The store fills
        first."""
        size, n = self.cure.replay, len(fake)
        if not size:
            return fake, labels
        store = state.memory["replay/images"]
        stored_labels = state.memory.get("replay/labels")
        filled = ((state.iteration - state.since) * self.optim.critic_steps + turn) * n
        if filled < size:
            room = min(size - filled, n)
            store[filled : filled + room] = fake[:room]
            if stored_labels is not None and labels is not None:
                stored_labels[filled : filled + room] = labels[:room]
            return fake, labels
        past = min(round(n * self.cure.replay_share), size)
        order = torch.randperm(size).to(store.device)
        read, write = order[:past], order[size - past :]
        shown = torch.cat([fake[: n - past], store[read]])
        told = labels
        if stored_labels is not None and labels is not None:
            told = torch.cat([labels[: n - past], stored_labels[read]])
            stored_labels[write] = labels[n - past :]
        store[write] = fake[n - past :]
        return shown, told


def fakes(generator: nn.Module, n: int, labels: Tensor | None, stage: Stage | None = None) -> Tensor:
    """New images [n, C, H, W] from latents drawn for this step."""
    device = next(generator.parameters()).device
    z = generator.prior(n, torch.default_generator).to(device)  # type: ignore[operator]
    images: Tensor = at_stage(generator, stage)(z, labels)
    return images


def at_stage(net: nn.Module, stage: Stage | None) -> Callable[..., Tensor]:
    """A network as it is at a stage; without one, as it is."""
    return net if stage is None else partial(net, stage=stage)


def saturated(cost: str, real: Tensor, fake: Tensor) -> Tensor | None:
    """1 for each pair of logits [n] on which the critic is sure to 0.99: minimax's and the relativistic cost are flat
    there; with the others that have a border at 0 it still says that the critic has won. None for costs whose logits
    are no odds."""
    if cost == "relativistic":
        return (real - fake > _SURE).detach().float()
    if cost in ("minimax", "non-saturating", "hinge"):
        return ((real > _SURE) & (fake < -_SURE)).detach().float()
    return None


def packed(images: Tensor, m: int) -> Tensor:
    """[n, C, H, W] -> [n / m, m C, H, W]: m images a decision (PacGAN: Lin et al. 2018)."""
    return images if m == 1 else images.reshape(len(images) // m, m * images.shape[1], *images.shape[2:])


def lazily(objective: AdversarialObjective, player: str = "critic") -> float:
    """What Adam's rate is multiplied by and its betas are raised to: k / (k + 1), for a penalty that is a step of its
    own every k steps. The critic's penalty is not if k = 1."""
    if player == "generator":
        return objective.path_every / (objective.path_every + 1) if objective.path_length else 1.0
    if objective.penalty in ("none", "clip") or objective.every == 1:
        return 1.0
    return objective.every / (objective.every + 1)


def memory(cure: CureConfig, image_shape: tuple[int, int, int], conditional: bool) -> dict[str, Tensor]:
    """What a step keeps between steps besides networks and optimizers, empty."""
    kept: dict[str, Tensor] = {}
    if cure.replay:
        kept["replay/images"] = torch.zeros(cure.replay, *image_shape)
        if conditional:
            kept["replay/labels"] = torch.zeros(cure.replay, dtype=torch.int64)
    if cure.augment == "ada":
        kept |= {"augment/strength": torch.zeros(()), "augment/signs": torch.zeros(())}
    return kept


def scored(packing: int, together: int = 1) -> Callable[[TrainState, Batch], dict[str, Tensor]]:
    """What a checkpoint measures on held-out images: the critic's logits, [n / packing]. Far below those of training
    images they tell of a critic that learned its images by heart. `together`: the decisions that a critic compares."""

    def measure(state: TrainState, batch: Batch) -> dict[str, Tensor]:
        n = len(batch.images)
        decisions, whole = -(-n // packing), packing * together
        order = torch.arange(-(-n // whole) * whole) % n  # the last pack is filled up with the first images
        told = None if batch.condition is None else batch.condition[order]
        critic = state.nets["critic"].eval()
        return {"critic/real": critic(packed(batch.images[order], packing), told)[:decisions]}

    return measure
