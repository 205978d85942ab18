"""A second moment of public images, made by the command line."""

import json

from fedretune.backbones.moments import load_moments


def test_a_second_moment_is_made_of_a_manifest_and_overwrites_nothing(
    fedretune, refused, tiny, tmp_path
):
    path, backbone = tmp_path / "public.npy", f"local-dir:{tiny.backbone}"
    words = ("backbones", "moments", "--manifest", tiny.manifest, "--backbone", backbone)
    made = fedretune(*words, "--out", path, "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["file"] == str(path)
    assert load_moments(str(path), backbone, 16).second.shape == (16, 16)
    assert "already: give another" in refused(*words, "--out", path)
