"""What a sick patient wears on a portable AP film: tubes, a central line, electrodes."""

import numpy as np

from fedretune.data.phantoms.canvas import bump, ellipse, splat
from fedretune.data.phantoms.chest import Chest


def lines_and_tubes(chest: Chest, rng: np.random.Generator) -> None:
    """Draw each device or not, by chance alone: none of them tells a finding."""
    present, side = rng.random(3), 1 if rng.random() < 0.4 else -1
    t = np.linspace(0.0, 1.0, 160)
    body = chest.body
    if present[0] < 0.30:
        u = side * (0.45 - 0.33 * t**0.6) * np.where(side > 0, 1 - 1.35 * t**3, 1.0)
        v = -0.70 + 0.10 * np.sin(3.1 * t) + 0.72 * t**2.2
        chest.extra += chest.blur(splat(chest.g, u, v, 0.30), 1)
    if present[1] < 0.18:
        v = -1.0 + (0.60 + 0.1 * rng.random()) * t
        u = body.trachea + 0.012 * np.sin(4.0 * t)
        chest.extra += chest.blur(splat(chest.g, u, v, 0.28), 1)
    if present[2] < 0.45:
        for x, y in ((-0.42, -0.46), (0.44, -0.48), (0.40, body.dome[1] + 0.12)):
            shift = (x + 0.08 * float(rng.normal()), y + 0.06 * float(rng.normal()))
            square = ellipse(chest.g, *shift, 0.028, 0.028)
            chest.extra += bump(square) * np.float32(1.4)
