"""The transform of MONAI, held to what that library's own transforms promise."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthtumour.errors import InputError
from synthtumour.presets import PRESETS
from tests.conftest import torchio_subject

try:
    import torch
    import torchio as tio
    from monai.data import MetaTensor
    from monai.transforms import Compose, RandGaussianNoised

    from synthtumour.monai_transforms import RandTumourd
except ModuleNotFoundError:  # not the environment of requirements.txt, so these tests are not asked for
    pass

pytestmark = pytest.mark.peer
SMALL = replace(PRESETS["paper"], min_volume_mm3=8_000, max_volume_mm3=20_000)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(7)


def arrays(subject: Any) -> dict[str, Any]:
    return {
        name: MetaTensor(image.data, affine=torch.from_numpy(image.affine)) for name, image in subject.items()
    }


def test_monai_draws_from_its_own_random_state() -> None:
    data = arrays(torchio_subject())
    transform = Compose([RandTumourd("flair"), RandGaussianNoised("flair", prob=1.0)])
    one, other, again = (transform.set_random_state(seed)(data) for seed in (1, 2, 1))
    assert torch.equal(one["flair"], again["flair"]) and torch.equal(one["label"], again["label"])
    assert not torch.equal(one["label"], other["label"])
    assert not torch.equal(transform(data)["label"], again["label"])
    made = pickle.loads(pickle.dumps(RandTumourd("flair").set_random_state(1)))(data)
    assert torch.equal(made["label"], RandTumourd("flair").set_random_state(1)(data)["label"])


def test_monai_marks_what_it_changes() -> None:
    data = arrays(torchio_subject(spacing=(2.0, 2.5, 3.0)))
    data["again"] = data["flair"].clone()
    made = RandTumourd(["flair", "again"], preset=SMALL).set_random_state(3)(data)
    assert torch.equal(made["flair"], made["again"])
    assert made["label"].unique().tolist() == [0, 1] and made["label"].dtype == torch.uint8
    assert torch.equal(made["label"].affine, data["flair"].affine)
    changed = np.asarray(made["flair"] != data["flair"])
    assert changed[np.asarray(made["label"]) > 0].mean() > 0.9
    assert not changed[np.asarray(data["brain_mask"]) == 0].any()
    assert "label" not in data

    never = RandTumourd("flair", prob=0.0)(data)
    assert torch.equal(never["flair"], data["flair"]) and not never["label"].any()
    plain = {name: value.numpy() for name, value in data.items()}
    assert isinstance(RandTumourd("flair")(plain)["flair"], np.ndarray)
    with pytest.raises(InputError, match="is needed"):
        RandTumourd("flair")({**data, "flair": data["flair"][0]})
    with pytest.raises(KeyError, match="t1"):
        RandTumourd("t1")(data)
    assert not RandTumourd("t1", allow_missing_keys=True)(data)["label"].any()
    with pytest.raises(ValueError, match="must be one of"):
        RandTumourd("flair", preset="papre")
    with pytest.raises(ValueError, match="task 'training': must be one of"):
        RandTumourd("flair", task="training")(data)


def test_monai_label_lies_as_the_mask_does() -> None:
    subject = torchio_subject()
    turned = arrays(tio.ToOrientation("SPL")(subject))
    data = arrays(subject)
    label = RandTumourd("flair").set_random_state(1)({**data, "brain_mask": turned["brain_mask"]})["label"]
    expected = RandTumourd("flair").set_random_state(1)(turned)["label"]
    assert torch.equal(label, expected) and torch.equal(label.affine, turned["flair"].affine)
