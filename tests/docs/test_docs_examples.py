"""The Python examples of the docs are real."""

import re

import torch

from tests.docs.blocks import ROOT


def test_the_adaptor_of_the_page_on_adding_ones_own_is_one():
    text = (ROOT / "docs" / "adding.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict = {}
    exec(compile(code, "docs/adding.md", "exec"), names)
    kind = names["BOTTLENECK"]
    module = kind.module(12)
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    assert shapes == kind.shapes(12)
    assert module(torch.zeros(3, 12)).shape == (3, 12)
