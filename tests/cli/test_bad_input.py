"""Bad input ends with one message that names the thing and the mend, and loses nothing."""

from pathlib import Path

import pytest

from tests.cli.tiny import Tiny


@pytest.fixture
def spoilt(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """Files of one's own, with a cache of their own."""
    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path / "cache"))
    return tiny.copy(tmp_path)


def test_a_missing_image_names_the_file_and_the_manifest_line(refused, spoilt, out):
    image = spoilt.image(5)
    image.unlink()
    message = refused("simulate", *spoilt.options(out))
    assert f"{spoilt.manifest}, line 7: there is no image {image}" in message
    assert "take its line out" in message


def test_an_unreadable_image_names_the_file_and_the_line_and_can_be_mended(
    refused, fedretune, spoilt, out
):
    image = spoilt.image(5)
    whole = image.read_bytes()
    image.write_bytes(whole[:300])
    message = refused("simulate", *spoilt.options(out))
    assert f"{spoilt.manifest}, line 7: Cannot read the image {image}" in message
    assert "Replace the file" in message
    image.write_bytes(whole)
    assert fedretune("simulate", *spoilt.options(out)).code == 0


def _second_split(rows):
    same = next(n for n in range(1, len(rows)) if rows[n]["patient"] == rows[n - 1]["patient"])
    rows[same]["split"] = "test" if rows[same]["split"] == "train" else "train"


def test_a_patient_in_two_splits_is_counted_and_the_mend_given(refused, spoilt, out):
    spoilt.edit(_second_split)
    message = refused("simulate", *spoilt.options(out))
    assert "1 patient is in more than one split" in message
    assert "the same split" in message


def test_a_finding_with_another_value_names_column_line_and_the_allowed(refused, spoilt, out):
    spoilt.edit(lambda rows: rows[3].update(Mass="yes"))
    message = refused("simulate", *spoilt.options(out))
    assert "line 5: the finding 'Mass' is none of 1 (present), 0 (absent)" in message


def test_a_manifest_without_train_images_is_refused(refused, spoilt, out):
    spoilt.edit(lambda rows: [row.update(split="test") for row in rows])
    assert "no 'train' images" in refused("simulate", *spoilt.options(out))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("tokenizer.json", "has no tokenizer: put tokenizer.json"),
        ("open_clip_model.safetensors", "must hold one file of weights"),
        ("open_clip_config.json", "Cannot read the backbone's config"),
    ],
)
def test_a_backbone_folder_that_is_not_whole_names_what_it_lacks(refused, spoilt, out, file, words):
    (spoilt.backbone / file).unlink()
    message = refused("simulate", *spoilt.options(out))
    assert str(spoilt.backbone) in message
    assert words in message


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.lrr=1", "Unknown config key 'train.lrr'. Did you mean 'train.lr'?"),
        ("train.lr=-1", "'train.lr' cannot be '-1': Input should be greater than 0"),
        ("train.lr=fast", "'train.lr' cannot be 'fast'"),
        ("train.optimizer=adm", "'adam', 'adamw' or 'sgd'"),
        ("partition=random", "'natural', 'iid' or 'dirichlet'"),
        ("adaptor.kind=mpl", "Unknown adaptor 'mpl'. Did you mean 'mlp'? Allowed: linear, mlp"),
        ("adaptor.scale=big", "adaptor.scale is 'big'; allowed: none, learnable"),
        ("prompts=mine", "Unknown prompt set 'mine'. Allowed: precursor"),
        ("quorum=2", "'quorum' cannot be '2'"),
        ("secure-threshold=0.4", "'secure-threshold' cannot be '0.4'"),
        ("secure-aggregation=true", "needs at least 3 sites, and a round has 2: in a sum of two"),
        ("resume=maybe", "'resume' cannot be 'maybe'"),
        ("quorum", "--set takes KEY=VALUE, such as train.lr=1e-3, and got 'quorum'"),
    ],
)
def test_an_unknown_key_or_value_names_the_allowed_ones(refused, tiny, out, setting, words):
    assert words in refused("simulate", *tiny.options(out), "--set", setting)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("recipe", "precursr", "Unknown recipe 'precursr'. Did you mean 'precursor'?"),
        ("scenario", "data", "Unknown scenario 'data'."),
        ("method", "magic", "Unknown method 'magic'"),
        ("backbone", "magic", "Unknown backbone 'magic'. Give phantom-clip"),
        ("backbone", "local-dir:/no/such/folder", "no backbone folder /no/such/folder"),
        ("backbone", "ViT-B-32/openai", "has to be fetched from the internet"),
        ("manifest", "/no/such.csv", "There is no manifest /no/such.csv"),
        ("experiences", 0, "'experiences' cannot be 0"),
        ("experiences", 900, "has too few training patients for 900 experiences"),
        ("sites", 7, "has 2 sites (site-1, site-2) and the run has 7: use --sites 2"),
        ("seed", -1, "'seed' cannot be -1"),
        ("name", "a/b", "one folder's name, not 'a/b'"),
        ("app", "/", "There is no FedRETune app in /: --app names a clone"),
    ],
)
@pytest.mark.parametrize("engine", ["simulate", "run"])
def test_an_option_that_cannot_be_names_what_can(
    in_place, refused, tiny, out, engine, option, value, words
):
    assert words in refused(engine, *tiny.options(out, **{option: value}))


def test_what_is_wrong_is_told_by_the_process_that_run_prepares_in(refused, tiny, out):
    assert "There is no manifest /no/such.csv" in refused(
        "run", *tiny.options(out, manifest="/no/such.csv")
    )


def test_an_option_of_the_wrong_type_is_refused_too(fedretune, tiny, out):
    result = fedretune("simulate", *tiny.options(out, rounds="x"))
    assert result.code == 2
    assert "Invalid value for '--rounds': 'x' is not a valid integer" in result.err
    assert list(out.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(refused, tiny, out, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    message = refused("simulate", *tiny.options(file))
    assert f"Cannot write to {file}" in message
    assert "another --out" in message
    assert file.read_text() == "mine"


def test_a_cache_that_cannot_be_written_is_named(refused, tiny, out, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("mine")
    monkeypatch.setenv("FEDRETUNE_CACHE", str(file))
    message = refused("simulate", *tiny.options(out))
    assert str(file) in message
    assert "FEDRETUNE_CACHE" in message


@pytest.mark.parametrize("engine", ["simulate", "run"])
def test_a_folder_of_the_runs_name_is_refused_and_left_alone(refused, tiny, out, engine):
    (out / "it").mkdir()
    (out / "it" / "mine.txt").write_text("mine")
    message = refused(engine, *tiny.options(out))
    assert f"The run folder {out / 'it'} exists: --resume it, or choose another --name" in message
    assert (out / "it" / "mine.txt").read_text() == "mine"


def test_there_must_be_a_run_to_resume(refused, tiny, out):
    message = refused("simulate", *tiny.options(out), "--resume")
    assert f"There is no run to resume at {out / 'it'}. {out} holds no run" in message


def test_resuming_without_a_name_says_which_runs_there_are(refused, tiny, out):
    for name in ("a", "b"):
        (out / name).mkdir()
        (out / name / "config.toml").touch()
    message = refused("simulate", *tiny.options(out, name=""), "--resume")
    assert "no name of a run to resume" in message
    assert "holds a, b: name one with --name" in message
