"""`site init` and `site check`: the files, their modes, and every way not to take part."""

import json
import re
import shlex
import shutil
import stat
import subprocess
import tomllib

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from fedretune.errors import UserError
from fedretune.sites import load_site
from fedretune.sites.checks import check_site
from fedretune.sites.folder import NewSite, init_site


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_has_all_that_a_site_needs_and_its_key_is_its_own(fedretune, tmp_path):
    folder = tmp_path / "north"
    done = fedretune(
        "site", "init", folder, "--name", "north", "--superlink", "server.example:9092", "--json"
    )
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told == {
        "name": "north",
        "site": str(folder / "site.toml"),
        "policy": str(folder / "policy.toml"),
        "public_key": str(folder / "site.key.pub"),
        "start": str(folder / "start.sh"),
    }
    made = {path.name for path in folder.iterdir() if path.is_file()}
    scripts = {"start.sh", "fedretune-site.service"}
    assert made == {"site.toml", "policy.toml", "site.key", "site.key.pub", *scripts}
    assert (mode(folder), mode(folder / "site.key")) == (0o700, 0o600)
    private = load_ssh_private_key((folder / "site.key").read_bytes(), None)
    public = load_ssh_public_key((folder / "site.key.pub").read_bytes())
    assert private.public_key() == public
    assert public.curve.name == "secp384r1"
    site = load_site(folder)
    assert (site.name, site.superlink) == ("north", "server.example:9092")
    assert site.read_policy().backbone_may_travel is False


def test_the_start_script_is_the_supernodes_command_with_the_sites_own_values(tmp_path):
    folder = tmp_path / "a hospital's"
    init_site(folder, NewSite("St. Mary's", superlink="10.0.0.7:443"))
    subprocess.run(["sh", "-n", folder / "start.sh"], check=True)
    command = (folder / "start.sh").read_text().partition("exec ")[2].replace("\\\n", "")
    words = shlex.split(command.replace('"$@"', ""))
    assert words[0] == "flower-supernode"
    given = dict(zip(words[1::2], words[2::2], strict=True))
    assert given["--superlink"] == "10.0.0.7:443"
    assert given["--auth-supernode-private-key"] == str(folder / "site.key")
    assert given["--node-config"] == f'site="{folder / "site.toml"}"'
    assert given["--host"] == "127.0.0.1"
    assert "--insecure" not in words
    compile((folder / "bin" / "flwr-clientapp").read_text(), "flwr-clientapp", "exec")


def test_a_folder_with_something_in_it_is_never_overwritten(refused, fedretune, tmp_path):
    folder = tmp_path / "north"
    assert fedretune("site", "init", folder, "--name", "north").code == 0
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert "not an empty folder" in refused("site", "init", folder, "--name", "other")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "name", ["", "a/b", "@a", "..", ".hidden", "pooled", " a", "a\nb", "x" * 101]
)
def test_a_name_that_is_none_is_refused(refused, tmp_path, name):
    assert "cannot be the name of a site" in refused("site", "init", tmp_path / "f", "--name", name)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "Sankt Jürgen", "#1 = 'x'", "100%"])
def test_any_other_name_is_read_again_as_it_was_given(tmp_path, name):
    init_site(tmp_path / "f", NewSite(name))
    assert load_site(tmp_path / "f").name == name


@pytest.fixture
def fine(hospitals, monkeypatch):
    """A site of which nothing is to be mended but that there is no server."""
    monkeypatch.setattr("fedretune.sites.checks.check_connection", lambda site: "stands in")
    return hospitals


def failed(hospitals) -> dict[str, str]:
    return {f.name: f.detail for f in check_site(hospitals.folder("north")) if not f.passed}


def test_a_site_that_is_fine_passes_every_check(fine):
    assert failed(fine) == {}


def _no_manifest(hospitals):
    (hospitals.root / "north.csv").unlink()


def _bad_manifest(hospitals):
    (hospitals.root / "north.csv").write_text("image,patient\n")


def _no_test_split(hospitals):
    path = hospitals.root / "north.csv"
    path.write_text(path.read_text().replace(",test,", ",val,"))


def _no_image(hospitals):
    path = hospitals.root / "north.csv"
    path.write_text(path.read_text().replace(".png", ".gone.png", 1))


def _other_backbone(hospitals):
    hospitals.change("north", "site.toml", backbone_sha256="0" * 64)


def _no_backbone(hospitals):
    hospitals.change("north", "site.toml", backbone="local-dir:/nowhere")


def _hub_backbone(hospitals):
    hospitals.change("north", "site.toml", backbone="hf-hub:someone/something")


def _no_tokenizer(hospitals):
    own = hospitals.root / "backbone"
    shutil.copytree(hospitals.backbone.removeprefix("local-dir:"), own)
    for name in ("tokenizer.json", "vocab.txt", "vocab.json"):
        (own / name).unlink(missing_ok=True)
    hospitals.change("north", "site.toml", backbone=f"local-dir:{own}")


def _no_device(hospitals):
    hospitals.change("north", "site.toml", device="cuda:7")


def _open_key(hospitals):
    (hospitals.folder("north") / "site.key").chmod(0o644)


def _no_key(hospitals):
    (hospitals.folder("north") / "site.key").unlink()


def _other_key(hospitals):
    (hospitals.folder("north") / "site.key").write_text("no key")


def _bad_policy(hospitals):
    hospitals.change("north", "policy.toml", smallest_cell=-1)


def _travelling(hospitals):
    hospitals.change("north", "policy.toml", backbone_may_travel="perhaps")


def _unknown_policy(hospitals):
    path = hospitals.folder("north") / "policy.toml"
    path.write_text(path.read_text() + "smalest-cell = 3\n")


def _stale_start(hospitals):
    hospitals.change("north", "site.toml", superlink="elsewhere:1")


def _damaged_ledger(hospitals):
    (hospitals.folder("north") / "memory" / "left.csv").write_text("time,run\n1\n")


def _bad_site(hospitals):
    (hospitals.folder("north") / "site.toml").write_text("name = ")


@pytest.mark.parametrize(
    ("spoil", "check", "says"),
    [
        (_no_manifest, "manifest", "no manifest"),
        (_bad_manifest, "manifest", "lacks the column split"),
        (_no_test_split, "manifest", "no 'test' images"),
        (_no_image, "images", "there is no image"),
        (_other_backbone, "backbone", "expects|backbone-sha256"),
        (_no_backbone, "backbone", "nowhere"),
        (_hub_backbone, "backbone", "allow"),
        (_no_tokenizer, "backbone", "tokenizer"),
        (_no_device, "device", "device = cuda:7 is not there"),
        (_open_key, "key", "chmod 600"),
        (_no_key, "key", "No such file"),
        (_other_key, "key", "ssh-keygen"),
        (_bad_policy, "policy", "'smallest-cell' cannot be -1"),
        (_travelling, "policy", "'backbone-may-travel' cannot be 'perhaps'"),
        (_unknown_policy, "policy", "Did you mean 'smallest-cell'"),
        (_stale_start, "start", "another superlink than site.toml"),
        (_damaged_ledger, "ledger", "damaged"),
        (_bad_site, "site.toml", "not valid TOML"),
    ],
)
def test_each_fault_fails_its_own_check_and_says_what_to_do(fine, spoil, check, says):
    spoil(fine)
    found = failed(fine)
    assert check in found
    assert re.search(says, found[check])
    assert set(found) <= {check, "images"}


def test_a_full_disk_is_told(fine, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "make room" in failed(fine)["disk"]


def test_the_check_changes_nothing_and_its_json_says_what_is_to_be_mended(hospitals, fedretune):
    folder = hospitals.folder("north")
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    result = fedretune("site", "check", folder, "--json")
    assert result.code == 2
    told = {each["name"]: each["passed"] for each in json.loads(result.out)}
    assert [name for name, passed in told.items() if not passed] == ["superlink"]
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before


def test_a_policy_is_read_as_it_was_written(tmp_path):
    init_site(tmp_path / "f", NewSite("north"))
    written = tomllib.loads((tmp_path / "f" / "policy.toml").read_text())
    read = load_site(tmp_path / "f").read_policy().model_dump(by_alias=True)
    assert written == read


@pytest.mark.parametrize("written", ["local-dir:here", "./here"])
def test_a_backbones_folder_named_from_here_is_found_from_anywhere(
    tmp_path, monkeypatch, tiny, written
):
    (tmp_path / "here").symlink_to(tiny.backbone)
    monkeypatch.chdir(tmp_path)
    init_site(tmp_path / "site", NewSite("north", backbone=written))
    monkeypatch.chdir("/")
    assert load_site(tmp_path / "site").described().dim == 16


def test_a_folder_that_is_no_sites_is_refused(tmp_path):
    with pytest.raises(UserError, match="`fedretune site init` makes it"):
        load_site(tmp_path)
