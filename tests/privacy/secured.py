"""What the tests of secure runs share: their config, and how they are held against plain ones."""

import csv
from collections.abc import Callable

import numpy as np
import pytest

import clients.app
from fedretune.adaptors import load
from fedretune.privacy.secure.fixed import FRACTION

#: One round: after that, sites train from adaptors that differ in their last bits.
ONE = {"experiences": 1, "rounds": 1}
SECURE = {"secure_aggregation": True}
#: A site's change is rounded to the nearest multiple of ``2 ** -FRACTION``, and so is no mean of
#: them further away than half of it.
HALF = 2.0 ** -(FRACTION + 1)

#: Others stand for these in `make test`.
long = pytest.mark.long

App = Callable[[object, object], object]


def tensors(folder):
    return load(folder / "adaptors.safetensors")[1]


def same(secure, plain, times: float = 1.0) -> None:
    """Check that two runs end within the resolution of fixed point, and of float32."""
    for name, array in tensors(plain).items():
        atol = times * HALF + float(np.spacing(np.abs(array).max()))
        np.testing.assert_allclose(tensors(secure)[name], array, rtol=0, atol=atol)


def leaving(site: str, message_type: str) -> App:
    """Return a client app in which a site is gone when a message of this type comes to it.

    Of those of a training round, and from then on in that sum.
    """

    def app(message, context):
        told = message.content.config_records.get("position")
        trains = told is not None and int(told["round"]) >= 0
        of_type = trains and message.metadata.message_type == message_type
        if of_type and clients.app.open_site(context).name == site:
            raise OSError("gone")
        return clients.app.app(message, context)

    return app


def statuses(folder, status: str) -> list[str]:
    with (folder / "sites.csv").open(newline="") as file:
        return [row["site"] for row in csv.DictReader(file) if row["status"] == status]
