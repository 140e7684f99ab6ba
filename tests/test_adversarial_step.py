"""The step of two players: what each one learns from, and what it does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latente.config import AdversarialObjective, AdversarialOptim, CureConfig
from latente.data.datasets import Dataset
from latente.data.stream import Batch, Stream
from latente.objectives.adversarial import critic_cost, generator_cost
from latente.training.adversarial import Adversarial, fakes, lazily, memory, packed, saturated, scored
from latente.training.assemble import Assembly, assemble, refit_batch_norm
from latente.training.state import TrainState
from toy import CURED, GAMES, image_set, toy

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)


def game(name: str, **sections: dict[str, Any]) -> Assembly:
    config = toy(name)
    for section, changes in sections.items():
        config = replace(config, **{section: replace(getattr(config, section), **changes)})
    images = image_set(24, SHAPE)
    return assemble(config, Dataset(images, image_set(4, SHAPE, seed=1), {}, Path()), CPU)


def batch(n: int = 8, position: int = 0, conditional: bool = False) -> Batch:
    return Stream(image_set(24, SHAPE), conditional=conditional).take(position, n)


def weights(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("name", [*GAMES, *CURED])
def test_each_player_stands_still_while_the_other_moves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assembly = game(name)
    state, step = assembly.state, assembly.step
    generator, critic = state.nets["generator"], state.nets["critic"]
    moves = []
    for player in ("critic", "generator"):
        phase = getattr(Adversarial, f"{player}_learns")

        def learns(self: Any, *arguments: Any, phase: Any = phase, player: str = player) -> Any:
            before = weights(generator), weights(critic)
            found = phase(self, *arguments)
            moved = not same(before[0], weights(generator)), not same(before[1], weights(critic))
            moves.append((player, *moved))
            return found

        monkeypatch.setattr(Adversarial, f"{player}_learns", learns)
    metrics = step(state, batch(conditional=assembly.conditional))
    assert moves[-1] == ("generator", True, False)
    assert len(moves) == toy(name).optim.critic_steps + 1  # type: ignore[attr-defined]
    assert all(move == ("critic", False, True) for move in moves[:-1])
    assert all(p.requires_grad for p in critic.parameters())  # free again
    assert {"critic/loss", "critic/real", "critic/fake", "generator/loss", "gradient/critic"} <= metrics.keys()
    assert all(value.isfinite().all() and not value.requires_grad for value in metrics.values())


@pytest.mark.parametrize("cost", ["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic"])
def test_the_generator_never_sees_a_real_image(cost: str) -> None:
    """What goes into it are latents. With a critic that does not learn, other real images leave it exactly where it
    was: nothing of them reaches it but, with the relativistic cost, their scores."""
    ends = []
    for real in (batch().images, -batch(position=8).images):
        assembly = game("dcgan", objective={"cost": cost}, optim={"critic_lr": 1e-30})
        seen: list[Tensor] = []
        generator, critic = assembly.state.nets["generator"], assembly.state.nets["critic"]
        generator.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(inputs[0]))
        if cost == "relativistic":  # the same score for every real image
            critic.forward = blind(critic, real)  # type: ignore[method-assign]
        torch.manual_seed(1)
        assembly.step(assembly.state, Batch(real, None))
        assert [z.shape for z in seen] == [(8, 4)]  # one batch of fakes serves both players
        ends.append(weights(generator))
    assert same(*ends)


def blind(critic: nn.Module, real: Tensor) -> Any:
    """The critic, but for one thing: real images have the score 0."""
    forward = type(critic).forward

    def score(x: Tensor, condition: Tensor | None = None) -> Tensor:
        logits = forward(critic, x, condition)
        return logits * 0 if torch.equal(x, real) else logits

    return score


def test_a_step_is_what_the_paper_says() -> None:
    """Algorithm 1 of Goodfellow et al. 2014 with the non-saturating cost, written down by hand."""
    assembly, other = game("dcgan"), game("dcgan")
    torch.manual_seed(3)
    assembly.step(assembly.state, batch())

    generator, critic = other.state.nets["generator"], other.state.nets["critic"]
    by_hand = {name: torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for name, net in other.state.nets.items()}
    torch.manual_seed(3)
    fake = generator(torch.randn(8, 4))
    probability = torch.sigmoid(critic(batch().images)), torch.sigmoid(critic(fake.detach()))
    loss = -(probability[0].log() + (1 - probability[1]).log()).mean()
    loss.backward()
    by_hand["critic"].step()
    generator.zero_grad()
    (-torch.sigmoid(critic(fake)).log()).mean().backward()
    by_hand["generator"].step()
    for name, net in assembly.state.nets.items():
        for mine, theirs in zip(net.parameters(), other.state.nets[name].parameters(), strict=True):
            assert torch.allclose(mine, theirs, atol=2e-6)


def test_r1_and_r2_by_hand() -> None:
    """The penalised loss of the critic, against gradients of one image at a time."""
    settings = {"cost": "relativistic", "penalty": "r1+r2", "gamma": 3.0, "gamma_final": -1.0, "every": 1}
    assembly = game("r3gan", objective=settings)
    critic = assembly.state.nets["critic"]
    for p in critic.parameters():  # residual blocks begin as nothing at all
        p.data += 0.1 * torch.randn_like(p)
    untouched = weights(critic)
    torch.manual_seed(3)
    metrics = assembly.step(assembly.state, batch())
    for p, before in zip(critic.parameters(), untouched, strict=True):
        p.data.copy_(before)
    generator = game("r3gan").state.nets["generator"]
    torch.manual_seed(3)
    fake = fakes(generator, 8, None).detach()
    for i, found in enumerate(metrics["critic/penalty"]):
        squares = 0.0
        for images in (batch().images, fake):
            x = images[i : i + 1].clone().requires_grad_()
            (slope,) = torch.autograd.grad(critic(x).sum(), x)
            squares += float(slope.square().sum())
        assert float(found) == pytest.approx(squares, rel=1e-4)
    cost = critic_cost("relativistic", critic(batch().images), critic(fake))
    assert torch.allclose(metrics["critic/loss"], cost, atol=1e-5)


def test_a_lazy_penalty_is_a_step_of_its_own() -> None:
    """Every k-th step has two moves of the critic; rate and betas make up for them (StyleGAN2, appendix B)."""
    assembly = game("dcgan cured")
    state, k = assembly.state, 3
    assert lazily(AdversarialObjective(penalty="r1", gamma=1, every=k)) == k / (k + 1)
    assert lazily(AdversarialObjective(penalty="r1", gamma=1)) == lazily(AdversarialObjective(every=k)) == 1
    moved = []
    for i in range(6):
        metrics = assembly.step(state, batch(position=8 * i))
        assert ("critic/penalty" in metrics) == (i % k == 0)
        state.images += 8
        state.iteration += 1
        first = next(iter(state.optimizers["critic"].state.values()))
        moved.append(int(first["step"]))
    assert moved == [2, 3, 4, 6, 7, 8]
    group = state.optimizers["critic"].param_groups[0]
    assert group["lr"] == pytest.approx(2e-4 * k / (k + 1)) and group["betas"] == (0.5**0.75, 0.999**0.75)
    assert state.optimizers["generator"].param_groups[0]["lr"] == 2e-4


def test_the_generators_turn_costs_what_the_cost_says() -> None:
    assembly = game("dcgan", objective={"cost": "hinge"})
    state = assembly.state
    again = game("dcgan", objective={"cost": "hinge"})
    torch.manual_seed(5)
    images = fakes(state.nets["generator"], 8, None)
    expected = generator_cost("hinge", state.nets["critic"](images))
    torch.manual_seed(5)
    made = fakes(again.state.nets["generator"], 8, None)
    found = again.step.generator_learns(again.state, made, None, None)  # type: ignore[attr-defined]
    assert torch.allclose(found["generator/loss"], expected.detach())


def test_critic_steps_cut_the_batch() -> None:
    assembly = game("wgan", optim={"critic_steps": 4})
    seen: list[Tensor] = []
    assembly.state.nets["critic"].register_forward_hook(
        lambda module, inputs, output, seen=seen: seen.append(inputs[0])
    )
    real = batch().images
    assembly.step(assembly.state, Batch(real, None))
    shown = [x for x in seen if any(torch.equal(x, part) for part in real.chunk(4))]
    assert torch.equal(torch.cat(shown), real)
    assert len(seen) == 9  # four times a real and a generated part, then the generator's turn
    assert (
        max(float(p.detach().abs().max()) for p in assembly.state.nets["critic"].parameters()) <= 0.01 + 1e-9
    )  # clipped


def step_with(cure: CureConfig, cost: str = "non-saturating", length: int = 100) -> Adversarial:
    objective = AdversarialObjective(cost=cost)  # type: ignore[arg-type]
    return Adversarial(objective, cure, AdversarialOptim(), length, torch.no_grad)  # type: ignore[arg-type]


def test_the_store_of_past_fakes() -> None:
    """It fills first; then half of what the critic is shown comes out of distinct slots, and as many new ones go in."""
    cure = CureConfig(replay=20, replay_share=0.5)
    step, state = step_with(cure), TrainState(nn.ModuleDict(), {}, memory=memory(cure, (1, 1, 1), True))
    past: list[float] = []
    for i in range(12):
        state.iteration = i
        new = torch.arange(8.0).add(8 * i).view(8, 1, 1, 1)
        before = state.memory["replay/images"].flatten().tolist()
        shown, told = step.remember(state, new, new.flatten().long(), 0)
        after = state.memory["replay/images"].flatten().tolist()
        assert told is not None and shown.flatten().tolist() == told.tolist()  # labels stay with their images
        assert state.memory["replay/labels"].tolist() == [int(x) for x in after]
        if i < 3:  # 8, 16, 20 are kept
            assert torch.equal(shown, new)
            past = (past + new.flatten().tolist())[:20]
            assert after == past + [0.0] * (20 - len(past))
            continue
        values = shown.flatten().tolist()
        assert values[:4] == new.flatten().tolist()[:4]
        assert len(set(values[4:])) == 4 and set(values[4:]) <= set(before)
        gone, come = set(before) - set(after), set(after) - set(before)
        assert come == set(new.flatten().tolist()[4:]) and len(gone) == 4


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_the_past(share: float) -> None:
    cure = CureConfig(replay=16, replay_share=share)
    step = step_with(cure)
    state = TrainState(nn.ModuleDict(), {}, memory=memory(cure, (1, 1, 1), False), iteration=2)
    shown, _ = step.remember(state, torch.ones(8, 1, 1, 1), None, 0)
    assert int((shown == 0).sum()) == 8 * share


def test_adaptive_augmentation_follows_the_sign_of_the_critic() -> None:
    """ADA: every four batches p moves by (batch x 4) / 500k images, up while E[sign(D(real))] is above its target."""
    cure = CureConfig(augment="ada")
    step, state = step_with(cure), TrainState(nn.ModuleDict(), {}, memory=memory(cure, SHAPE, False))
    sure, unsure = torch.ones(64), torch.cat([torch.ones(36), -torch.ones(28)])
    for logits, expected in ((sure, 1), (sure, 2), (unsure, 1), (unsure, 0), (unsure, 0)):
        for _ in range(4):
            step.adapt(state, logits, 0)
            state.iteration += 1
        assert float(state.memory["augment/strength"]) == pytest.approx(expected * 64 * 4 / 500_000)


def test_adaptive_augmentation_with_several_critic_steps() -> None:
    cure = CureConfig(augment="ada")
    step = replace(step_with(cure), optim=AdversarialOptim(critic_steps=3))
    state = TrainState(nn.ModuleDict(), {}, memory=memory(cure, SHAPE, False))
    for state.iteration in range(8):
        for turn in range(3):
            step.adapt(state, torch.ones(10), turn)
    assert float(state.memory["augment/strength"]) == pytest.approx(8 * 3 * 10 / 500_000)


def test_relativistic_logits_have_no_sign_so_the_strength_is_a_ramp() -> None:
    cure = CureConfig(augment="ada", augment_most=0.4)
    step = step_with(cure, "relativistic", length=100)
    state = TrainState(nn.ModuleDict({"net": nn.Linear(1, 1)}), {}, memory=memory(cure, SHAPE, False))
    found = []
    for state.images in (0, 50, 100, 200):
        found.append(float(step.adapt(state, torch.ones(8), 0)))
    assert found == pytest.approx([0, 0.2, 0.4, 0.4])


def test_instance_noise_falls_to_nothing() -> None:
    step = step_with(CureConfig(instance_noise=0.5, instance_noise_images=1000))  # type: ignore[arg-type]
    images = torch.zeros(64, 1, 16, 16)
    deviations = []
    for clock in (0, 500, 1000, 2000):
        deviations.append(float(step.view(images, TrainState(nn.ModuleDict(), {}, images=clock)).std()))
    assert deviations == pytest.approx([0.5, 0.25, 0, 0], rel=0.02)


def test_what_is_recorded_lies_where_the_scores_lie() -> None:
    """A tick stacks what it records: one number on another device would stop the run."""
    step, state = step_with(CureConfig(augment="diffaugment")), TrainState(nn.ModuleDict(), {})
    assert step.adapt(state, torch.ones(8, device="meta"), 0).device.type == "meta"


@pytest.mark.parametrize(("n", "packs"), [(1, [[0, 0]]), (2, [[0, 1]]), (3, [[0, 1], [2, 0]])])
def test_held_out_images_are_packed_however_few_they_are(n: int, packs: list[list[int]]) -> None:
    seen: list[Tensor] = []

    class Critic(nn.Module):
        def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
            seen.append(x)
            return x.flatten(1).sum(1)

    state = TrainState(nn.ModuleDict({"critic": Critic()}), {})
    found = scored(2)(state, Batch(torch.arange(float(n)).view(n, 1, 1, 1), None))
    assert seen[0].flatten(1).tolist() == packs and found["critic/real"].shape == (len(packs),)


@pytest.mark.parametrize("name", ["dcgan conditional", "r3gan conditional"])
def test_a_packed_decision_is_told_every_label(name: str) -> None:
    one, other = (game(name, cure={"packing": 2}) for _ in range(2))
    shown = batch(conditional=True)
    assert shown.condition is not None
    told = shown.condition.clone()
    told[1] = (told[1] + 1) % 3  # of the second image of the first pack
    with torch.no_grad():
        a = one.step.judge(one.state, shown.images, shown.condition).logits  # type: ignore[attr-defined]
        b = other.step.judge(other.state, shown.images, told).logits  # type: ignore[attr-defined]
    assert a.shape == (4,) and ((a - b).abs() > 1e-7).tolist() == [True, False, False, False]
    assert {len(value) for key, value in one.step(one.state, shown).items() if key.startswith("critic/")} == {4}


def test_packing_joins_neighbours() -> None:
    images = torch.arange(24.0).view(6, 2, 1, 2)
    assert torch.equal(packed(images, 3)[1], torch.cat([images[3], images[4], images[5]]))
    assert packed(images, 3).shape == (2, 6, 1, 2) and packed(images, 1) is images


def test_averaged_weights_get_their_own_batch_norm() -> None:
    """Statistics from the same latents every time, and of the averaged weights, not of those they came with."""
    assembly = game("dcgan")
    state = assembly.state
    for i in range(4):
        assembly.step(state, batch(position=8 * i))
        state.images += 8
        state.average(16, 8)
    assert state.averaged is not None and list(state.averaged) == ["generator"]  # nobody draws from a critic
    shown = state.shown("generator")
    refit_batch_norm(shown, image_set(24, SHAPE), conditional=False)
    norm = next(m for m in shown.modules() if isinstance(m, nn.BatchNorm2d))
    kept = norm.running_mean.clone(), norm.running_var.clone()  # type: ignore[union-attr]
    inputs: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    with torch.no_grad():
        shown(shown.prior(2000, torch.Generator().manual_seed(7)))
    hook.remove()
    assert torch.allclose(inputs[0].mean((0, 2, 3)), kept[0], atol=0.05)
    assert torch.allclose(inputs[0].var((0, 2, 3)), kept[1], rtol=0.15)
    refit_batch_norm(shown, image_set(24, SHAPE), conditional=False)
    assert torch.equal(norm.running_mean, kept[0]) and norm.momentum == 0.1  # type: ignore[arg-type]
    assert not norm.training


def test_batch_norm_is_estimated_over_every_class() -> None:
    seen: list[Tensor] = []

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def prior(self, n: int, generator: torch.Generator) -> Tensor:
            return torch.randn(n, 2, generator=generator)

        def forward(self, z: Tensor, condition: Tensor) -> Tensor:
            seen.append(condition)
            return self.norm(z)

    many = replace(image_set(4, SHAPE), classes=tuple(str(i) for i in range(1000)))
    refit_batch_norm(Generator(), many, conditional=True)
    assert (torch.bincount(torch.cat(seen)) == 2).all()


def test_a_penalty_of_the_generator_is_a_step_of_its_own() -> None:
    """Every k-th step has two moves of the generator, k times as strong, and Adam is slowed (StyleGAN2, appendix B)."""
    k, asked = 3, []
    assembly = game("progan-r1", objective={"path_length": 2.0, "path_every": k})
    assert lazily(AdversarialObjective(path_length=2.0, path_every=k), "generator") == k / (k + 1)
    assert lazily(AdversarialObjective(path_every=k), "generator") == 1

    def toll(net: nn.Module, n: int, labels: Tensor | None, stage: Any) -> Tensor:
        asked.append((n, labels, stage))
        return next(net.parameters()).square().sum().expand(n)

    state, step = assembly.state, replace(assembly.step, generator_penalty=toll)  # type: ignore[type-var]
    weight = next(state.nets["generator"].parameters())
    moved = []
    for i in range(4):
        before = weight.detach().square().sum()
        metrics = step(state, batch(position=8 * i))
        assert ("generator/penalty" in metrics) == (i % k == 0)
        if i == 0:
            assert metrics["generator/penalty"].tolist() == pytest.approx([float(before)] * 4, rel=0.1)
            assert torch.allclose(weight.grad, 2 * k * 2.0 * weight, rtol=0.1, atol=0.1)  # type: ignore[arg-type]
        state.iteration += 1
        moved.append(int(state.optimizers["generator"].state[weight]["step"]))
    assert moved == [2, 3, 4, 6] and asked == [(4, None, (0, 1.0))] * 2  # on half a batch
    group = state.optimizers["generator"].param_groups[0]
    assert group["lr"] == pytest.approx(5e-3 * k / (k + 1)) and group["betas"] == (0.0, 0.99**0.75)


def test_critics_that_compare_are_given_whole_groups() -> None:
    """Of five held-out images the last would be compared with none: the first ones fill its group."""
    seen: list[Tensor] = []

    class Critic(nn.Module):
        def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
            seen.append(x)
            return x.flatten(1).sum(1)

    state = TrainState(nn.ModuleDict({"critic": Critic()}), {})
    found = scored(1, together=4)(state, Batch(torch.arange(5.0).view(5, 1, 1, 1), None))
    assert seen[0].flatten().tolist() == [0, 1, 2, 3, 4, 0, 1, 2] and found["critic/real"].tolist() == [0, 1, 2, 3, 4]


# ---- What the diagnosis is told --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*GAMES, *CURED])
def test_margins_are_differences_of_the_pairs(name: str) -> None:
    assembly = game(name)
    metrics = assembly.step(assembly.state, batch(conditional=assembly.conditional))
    assert torch.allclose(metrics["critic/margin"], metrics["critic/real"] - metrics["critic/fake"])
    cost = toy(name).objective.cost  # type: ignore[attr-defined]
    assert ("critic/saturated" in metrics) == (cost not in ("wasserstein", "least-squares"))
    if "critic/saturated" in metrics:
        assert metrics["critic/saturated"].shape == metrics["critic/margin"].shape
        assert set(metrics["critic/saturated"].tolist()) <= {0.0, 1.0}


def test_a_saturated_critic_is_sure_of_both_or_of_their_difference() -> None:
    """D(real) > 0.99 and D(fake) < 0.01, or sigmoid(real - fake) > 0.99: by the sigmoid itself."""
    real, fake = torch.meshgrid(torch.linspace(-8, 8, 33), torch.linspace(-8, 8, 33), indexing="ij")
    sure = (torch.sigmoid(real.double()) > 0.99) & (torch.sigmoid(fake.double()) < 0.01)
    for cost in ("minimax", "non-saturating", "hinge"):
        found = saturated(cost, real, fake)
        assert found is not None and torch.equal(found, sure.float()) and 0 < found.mean() < 0.1
    apart = torch.sigmoid(real.double() - fake.double()) > 0.99
    found = saturated("relativistic", real, fake)
    assert found is not None and torch.equal(found, apart.float())
    shifted = saturated("relativistic", real + 100, fake + 100)  # which has no zero
    assert shifted is not None and torch.equal(shifted, found)
    assert saturated("wasserstein", real, fake) is None and saturated("least-squares", real, fake) is None


def test_where_a_critic_is_saturated_minimax_gives_the_generator_next_to_nothing() -> None:
    fake = torch.linspace(-10, 10, 200, requires_grad=True)
    (gradient,) = torch.autograd.grad(generator_cost("minimax", fake).sum(), fake)
    done = saturated("minimax", torch.full((200,), 5.0), fake)
    assert (
        done is not None
        and (gradient.abs()[done.bool()] < 0.011).all()
        and (gradient.abs()[~done.bool()] > 0.0099).all()
    )
