"""Training: the same seed and threads give the same weights, interrupted or not."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable

import numpy as np
import pytest

from synthtumour.errors import InputError
from synthtumour.pilot.canvas import Head
from synthtumour.signals import interruption

try:
    import torch

    from synthtumour.pilot.network import PilotNetwork
    from synthtumour.pilot.optimiser import Steps, Training, steps_in, take_steps, threads
except ModuleNotFoundError:  # not the environment of requirements.txt, so these tests are not asked for
    pass

pytestmark = pytest.mark.peer
SHAPE = (24, 24, 16)


def draw(rng: np.random.Generator) -> Head:
    """Noise with a bright cube somewhere in it."""
    brain = np.zeros(SHAPE, bool)
    brain[2:22, 2:22, 2:14] = True
    label = np.zeros(SHAPE, bool)
    i, j, k = (int(rng.integers(4, n - 10)) for n in SHAPE)
    label[i : i + 6, j : j + 6, k : k + 6] = True
    image = np.where(label, 600, 300 + rng.normal(0, 20, SHAPE))
    return Head(np.where(brain, image, 0).astype(np.float32), brain, label)


def begun(iterations: int = 12, seed: int = 1) -> Training:
    torch.manual_seed(seed)
    return Training(PilotNetwork(2), Steps(iterations, seed, "cpu"))


def run(training: Training, keep: Callable[[], None] = lambda: None) -> bool:
    with threads(1), interruption() as noted:
        return take_steps(training, draw, keep, noted, quiet=True)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert list(one) == list(other)
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole() -> Training:
    """Twelve steps without a break."""
    training = begun()
    assert run(training)
    return training


def test_the_same_seed_gives_the_same_weights_and_another_one_others(whole: Training) -> None:
    again, other = begun(), begun(seed=2)
    torch.manual_seed(99)  # what others have drawn since does not count
    assert run(again) and run(other)
    assert same(whole.averaged(), again.averaged())
    assert not same(whole.averaged(), other.averaged())


@pytest.mark.parametrize("after", [1, 7, 11])
def test_interrupted_and_carried_on_is_as_without_a_break(after: int, whole: Training) -> None:
    """What is kept goes through a file; Ctrl-C comes in the middle of a step."""
    first, content, drawn = begun(), io.BytesIO(), 0

    def interrupted(rng: np.random.Generator) -> Head:
        nonlocal drawn
        drawn += 1
        if drawn == 2 * after:
            signal.raise_signal(signal.SIGINT)
        return draw(rng)

    with threads(1), interruption() as noted:
        kept = lambda: torch.save(first.state(), content)  # noqa: E731
        assert not take_steps(first, interrupted, kept, noted, quiet=True)
    assert noted.asked == signal.SIGINT and first.done == after
    content.seek(0)
    torch.manual_seed(5)
    second = Training(PilotNetwork(2), Steps(12, 1, "cpu"))
    second.carry_on(torch.load(content, weights_only=True))
    assert second.done == after and run(second) and second.done == 12
    assert same(whole.averaged(), second.averaged())
    assert same(whole.network.state_dict(), second.network.state_dict())
    assert whole.schedule.get_last_lr() == second.schedule.get_last_lr()


def test_averaged_weights_are_neither_the_last_ones_nor_the_first(whole: Training) -> None:
    last, first = whole.network.state_dict(), begun().network.state_dict()
    for name, mean in whole.averaged().items():
        if last[name].numel() > 100:
            assert not torch.equal(mean, last[name]) and not torch.equal(mean, first[name])
            moved = (last[name] - first[name]).norm()
            assert (mean - first[name]).norm() < 1.2 * moved


def test_the_loss_falls() -> None:
    training = begun(iterations=30)
    with threads(1):
        losses = [training.step(draw) for _ in range(30)]
    assert np.mean(losses[-8:]) < 0.92 * np.mean(losses[:8])
    assert training.done == 30


@pytest.mark.parametrize("iterations", [1, 2, 9])
def test_any_number_of_steps_can_be_taken(iterations: int) -> None:
    training = begun(iterations)
    assert run(training) and training.done == iterations
    assert all(torch.isfinite(tensor).all() for tensor in training.averaged().values())


def test_what_is_kept_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthtumour.pilot.optimiser._SAVED_EVERY", 2)
    training, kept = begun(6), []
    assert run(training, lambda: kept.append(training.done))
    assert kept == [2, 4]


def test_a_loss_that_is_no_number_ends_it_with_one_line() -> None:
    def broken(rng: np.random.Generator) -> Head:
        head = draw(rng)
        return Head(head.image * np.float32(np.nan), head.brain, head.label)

    training = begun()
    with threads(1), interruption() as noted, pytest.raises(InputError, match="the loss is nan at step 1"):
        take_steps(training, broken, lambda: None, noted, quiet=True)


def test_minutes_become_steps() -> None:
    with threads(1):
        few, many = (steps_in(minutes, 2, draw, Steps(1, 0, "cpu")) for minutes in (1e-9, 5.0))
    assert few == 1 and many > 50


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before
