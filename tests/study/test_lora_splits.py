"""The LoRA study's splits and subsets, counted on tables of the official sizes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.data.manifest import Manifest
from fedretune.data.readers import READERS, Request
from fedretune.errors import UserError
from fedretune.findings import CHEXPERT5
from fedretune.study.lora.datasets import DATA_SETS, RATIOS, data_set, ratios_in
from fedretune.study.lora.manifests import at_ratio, load_task, split_table, write_manifests
from fedretune.study.lora.splits import by_patients, scaled, subset
from tests.data.readers.dicom_trees import rsna
from tests.data.readers.trees import CHEXPERT_HEADER, NIH_HEADER, chexpert_test, nih14

SUBSETS = {"nih14": (785, 7_847), "chexpert": (2_234, 22_341), "rsna": (251, 2_518)}


def nih14_table(folder: Path) -> dict[str, Path]:
    """Write a table of 112,120 images of 30,805 patients, as many of one image as NIH has about."""
    rng = np.random.default_rng(0)
    extra = rng.multinomial(112_120 - 30_805, rng.dirichlet(np.full(17_500, 0.6)))
    counts = 1 + np.concatenate([extra, np.zeros(30_805 - 17_500, dtype=int)])
    lines = [
        f"{person:08}_{number:03}.png,No Finding,{number},{person},58,M,PA,2682,2749,0.1,0.1,\n"
        for person, count in enumerate(counts, 1)
        for number in range(count)
    ]
    (folder / "labels.csv").write_text(NIH_HEADER + "".join(lines))
    return {"labels": folder / "labels.csv"}


def chexpert_tables(folder: Path) -> dict[str, Path]:
    """Write tables of 223,414, 234 and 668 images: every third mentions nothing but edema."""
    labels = (",,1.0,,,-1.0,-1.0,,-1.0,,-1.0,,,", "1.0,,,,,,,,,,,,,", ",,,,,1.0,,,0.0,,,,,")
    files, first = {}, 1
    for part, count in zip(("train", "valid", "test"), DATA_SETS["chexpert"].sizes, strict=True):
        lines = []
        for number in range(count):
            view = ("view1_frontal.jpg", "view2_lateral.jpg")[number % 7 == 6]
            path = f"{part}/patient{first + number // 3:05}/study{number % 3 + 1}/{view}"
            side = view[6:-4].capitalize()
            lines.append(f"CheXpert-v1.0/{path},Male,60,{side},AP,{labels[number % 3]}\n")
        first += count
        files[part] = folder / f"{part}.csv"
        files[part].write_text(CHEXPERT_HEADER + "".join(lines))
    return files


def rsna_tables(folder: Path) -> dict[str, Path]:
    """Write tables of 26,684 and 3,000 images."""
    files = {"labels": folder / "train.csv", "test-labels": folder / "test.csv"}
    for key, count, step in (("labels", 26_684, 4), ("test-labels", 3_000, 3)):
        lines = []
        for number in np.random.default_rng(1).permutation(count):
            positive = int(number % step == 0)
            lines.append(f"{key[0]}{number:07x},,,,,{positive}\n")
        files[key].write_text("patientId,x,y,width,height,Target\n" + "".join(lines))
    return files


TABLES = {"nih14": nih14_table, "chexpert": chexpert_tables, "rsna": rsna_tables}


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Give each data set's table of the official size, split as the study does."""
    found = {}
    for name, write in TABLES.items():
        data, folder = DATA_SETS[name], tmp_path_factory.mktemp(name)
        options = {option.key: option.default for option in READERS[name].options}
        request = Request(folder, write(folder), {**options, **data.options}, folder)
        table = READERS[name].read(request).table.reset_index(drop=True)
        if "split" not in table:
            table["split"] = ""
        findings = tuple(name for name in table if table[name].dtype == np.float32)
        findings = findings or data.findings
        lines = np.arange(len(table))
        found[name] = split_table(data, Manifest(folder / "m.csv", table, findings, lines))
    return found


@pytest.mark.parametrize("name", DATA_SETS)
def test_official_tables_split_into_exactly_the_study_s_sizes(official, name) -> None:
    counts = official[name]["split"].value_counts()
    assert tuple(counts[["train", "val", "test"]]) == DATA_SETS[name].sizes


@pytest.mark.parametrize("name", DATA_SETS)
def test_no_patient_is_in_two_splits(official, name) -> None:
    assert (official[name].groupby("patient")["split"].nunique() == 1).all()


@pytest.mark.parametrize("name", DATA_SETS)
def test_subsets_have_the_study_s_sizes_and_lie_within_each_other(official, name) -> None:
    images = {}
    for ratio in RATIOS:
        kept = at_ratio(DATA_SETS[name], official[name], ratio)
        images[ratio] = set(kept["image"][kept["split"] == "train"])
        assert tuple(kept["split"].value_counts()[["val", "test"]]) == DATA_SETS[name].sizes[1:]
    assert (len(images[1]), len(images[10])) == SUBSETS[name]
    assert images[1] < images[10] < images[100]


def test_nih_patients_are_split_as_their_images_are(official) -> None:
    patients = official["nih14"].drop_duplicates("patient")["split"].value_counts(normalize=True)
    assert patients[["train", "val", "test"]].to_numpy() == pytest.approx([0.7, 0.1, 0.2], abs=0.01)


def test_uncertain_and_unmentioned_chexpert_labels_count_as_the_study_counts_them(official) -> None:
    table = official["chexpert"]
    assert table[list(CHEXPERT5)].isin([0.0, 1.0]).all(axis=None)
    uncertain, normal = table.iloc[0], table.iloc[1]
    assert {name: uncertain[name] for name in CHEXPERT5} == {
        "Atelectasis": 1,
        "Cardiomegaly": 1,
        "Consolidation": 0,
        "Edema": 1,
        "Pleural Effusion": 1,
    }
    assert not normal[list(CHEXPERT5)].any()
    assert table["image"].str.contains("lateral").any()


def test_rsna_s_first_images_by_name_train_and_the_first_of_those_are_a_tenth(official) -> None:
    table = official["rsna"]
    names = {split: sorted(table["image"][table["split"] == split]) for split in ("train", "val")}
    assert names["train"][-1] < names["val"][0]
    kept = at_ratio(DATA_SETS["rsna"], table, 10)
    assert sorted(kept["image"][kept["split"] == "train"]) == names["train"][:2_518]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=60), st.permutations(range(3)), st.integers(0)
)
@settings(max_examples=60)
def test_a_cut_by_patients_keeps_them_whole_and_is_near_its_sizes(counts, order, seed) -> None:
    patients = pd.Series(np.repeat([f"p{number}" for number in range(len(counts))], counts))
    sizes = scaled(tuple(np.array([70, 10, 20])[list(order)]), len(patients))
    split = by_patients(patients, sizes, seed)
    assert sum(sizes) == len(patients)
    assert (pd.Series(split).groupby(patients).nunique() == 1).all()
    for name, size in zip(("train", "val", "test"), sizes, strict=True):
        assert (split == name).sum() <= size + max(counts)
    shuffled = patients.sample(frac=1, random_state=0)
    again = pd.Series(by_patients(shuffled, sizes, seed), index=shuffled.index)
    assert again.sort_index().tolist() == split.tolist()


@given(st.integers(1, 400))
@settings(max_examples=30)
def test_any_number_of_images_has_nested_subsets_of_one_or_more(count: int) -> None:
    for data in DATA_SETS.values():
        names = [f"{number}.png" for number in range(count)]
        chosen = [subset(data, names, ratio) for ratio in RATIOS]
        assert [each.sum() for each in chosen] == [data.count(count, ratio) for ratio in RATIOS]
        assert chosen[0].sum() >= 1
        assert (chosen[0] <= chosen[1]).all()
        assert chosen[2].all()


def laid_out(name: str, folder: Path) -> Path:
    """Write a small tree of the official layout; return the data set's folder."""
    if name == "nih14":
        nih14(folder)
    elif name == "chexpert":
        chexpert_test(folder)
        for part in ("train", "valid", "test"):
            (folder / "moved" / part).rename(folder / part)
    else:
        rsna(folder)
        lines = (folder / "stage_2_train_labels.csv").read_text().splitlines(keepends=True)
        rows = [line for line in lines[1:] if line.startswith(("00000000", "00000001"))]
        (folder / "stage_2_test_labels.csv").write_text(lines[0] + "".join(rows))
        rest = [line for line in lines[1:] if line not in rows]
        (folder / "stage_2_train_labels.csv").write_text(lines[0] + "".join(rest))
    return folder


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_folder_of_the_official_layout_becomes_a_manifest_a_ratio(tmp_path, name) -> None:
    data = DATA_SETS[name]
    folder = laid_out(name, tmp_path / "data")
    write_manifests(data, folder, RATIOS, tmp_path / "out")
    for ratio in RATIOS:
        manifest = load_task(data, ratio, tmp_path / "out")
        assert manifest.findings == data.findings
        assert all(path.is_file() for path in manifest.images)
        assert set(manifest.table["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nih14", "lacks Data_Entry_2017*.csv"),
        ("chexpert", "lacks train.csv or */train.csv"),
        ("rsna", "lacks stage_2_train_labels.csv"),
    ],
)
def test_a_folder_of_another_layout_says_what_it_lacks_and_has(tmp_path, name, words) -> None:
    (tmp_path / "scans").mkdir()
    with pytest.raises(UserError) as caught:
        write_manifests(DATA_SETS[name], tmp_path, RATIOS, tmp_path / "out")
    assert words in str(caught.value)
    assert "It has scans." in str(caught.value)


def study_lists(folder: Path) -> Path:
    """Write the study's lists of NIH beside 40 images, one of them in no list."""
    nih14(folder)
    row = "0 0 0 0 1 0 0 0 0 0 0 0 0 0"
    names = [f"{number // 2 + 1:08}_{number % 2:03}.png" for number in range(40)]
    parts = {
        "train_list": names[:28],
        "train_10": names[3:6],
        "train_1": names[9:10],
        "val_list": names[28:32],
        "test_list": names[32:39],
    }
    for name, images in parts.items():
        (folder / f"{name}.txt").write_text("".join(f"{image} {row}\n" for image in images))
    return folder


def test_the_study_s_own_lists_decide_where_they_are(tmp_path) -> None:
    data, folder = DATA_SETS["nih14"], study_lists(tmp_path / "data")
    (folder / "Data_Entry_2017.csv").unlink()
    write_manifests(data, folder, RATIOS, tmp_path / "out")
    counts = {}
    for ratio in RATIOS:
        manifest = load_task(data, ratio, tmp_path / "out")
        counts[ratio] = manifest.table["split"].value_counts()[["train", "val", "test"]].tolist()
        assert (manifest.table["Mass"] == 1).all()
        assert (manifest.table["Edema"] == 0).all()
    assert counts == {1: [1, 4, 7], 10: [3, 4, 7], 100: [28, 4, 7]}
    names = load_task(data, 1, tmp_path / "out").table["image"]
    assert names[0].endswith("00000005_001.png")


def test_a_line_that_is_none_of_the_study_s_and_a_missing_image_are_named(tmp_path) -> None:
    folder = study_lists(tmp_path / "data")
    with (folder / "val_list.txt").open("a") as file:
        file.write("\n00000001_000.png 1 0\n")
    with pytest.raises(UserError, match=r"val_list\.txt, line 6: not an image and 14 times 0 or 1"):
        write_manifests(DATA_SETS["nih14"], folder, [1], tmp_path / "out")
    study_lists(tmp_path / "again")
    next((tmp_path / "again").rglob("00000015_000.png")).unlink()
    with pytest.raises(UserError, match=r"val_list\.txt, line 1: its image is not under"):
        write_manifests(DATA_SETS["nih14"], tmp_path / "again", [1], tmp_path / "out")


def test_ratios_and_data_sets_that_the_study_has_not_are_refused() -> None:
    assert ratios_in("10%, 1,10") == (10, 1)
    with pytest.raises(UserError, match="the study has 1, 10 and 100"):
        ratios_in("1,50")
    with pytest.raises(UserError, match="Unknown data set of the LoRA study 'nih'"):
        data_set("nih")
