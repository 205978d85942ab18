"""``site.toml``: what a hospital brings to a federation, and where it lies on its own disk."""

from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pydantic import AfterValidator, Field

from fedretune.backbones import BackboneInfo, describe
from fedretune.backbones.source import KINDS
from fedretune.errors import UserError
from fedretune.identity import PEERS, read_keys
from fedretune.sites.ledger import Ledger
from fedretune.sites.policy import Policy
from fedretune.sites.tables import Table, read_table

SITE, POLICY = "site.toml", "policy.toml"
#: Longest name of a site, in characters.
MAX_NAME = 100


def checked_name(name: str) -> str:
    """Return a site's name. Raises `ValueError` for one that is no name of a file."""
    if not (0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()):
        raise ValueError(f"a site's name is 1 to {MAX_NAME} printable characters")
    if "/" in name or name.startswith(("@", ".")) or name == "pooled":
        raise ValueError(
            "a site's name has no '/', does not begin with '@' or '.', nor is 'pooled'"
        )
    return name


class SiteFile(Table):
    """A site; paths are absolute once `load_site` has read it.

    Parameters
    ----------
    name : str
        As it was registered at the server.
    manifest : Path
    backbone : str
        A name for `fedretune.backbones.describe`; never one that needs the internet.
    backbone_sha256 : str
        The backbone's fingerprint, as ``fedretune backbones verify`` prints it.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    cache, memory : Path
        Folders: of what can be computed again, and of what the site remembers of runs.
    arrival : str
        How experiences are cut: ``experience``, ``date``, ``patients``; ``auto`` takes the first
        of them that the manifest has.
    superlink : str
        The server's ``HOST:PORT``.
    root_certificate, private_key : Path
    port : int
        Of the SuperNode, on 127.0.0.1, for the processes that it starts.
    policy : Path
    peers : Path
        The list of the other sites' keys, which need not be there; see `fedretune.identity`.
    """

    name: Annotated[str, AfterValidator(checked_name)]
    manifest: Path
    backbone: str
    backbone_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    device: str = "auto"
    cache: Path = Path("cache")
    memory: Path = Path("memory")
    arrival: Literal["auto", "experience", "date", "patients"] = "auto"
    superlink: Annotated[str, Field(pattern=r"^\S+:[0-9]{1,5}$")]
    root_certificate: Path = Path("ca.crt")
    private_key: Path = Path("site.key")
    port: Annotated[int, Field(ge=1, le=65535)] = 9094
    policy: Path = Path(POLICY)
    peers: Path = Path(PEERS)

    def read_policy(self) -> Policy:
        """Read the site's policy. Raises `UserError`."""
        return read_table(self.policy, Policy)

    def read_peers(self) -> dict[str, EllipticCurvePublicKey]:
        """Return the keys of other sites that this site has been told by hand. Raises `UserError`.

        None where there is no list.
        """
        return read_keys(self.peers) if self.peers.exists() else {}

    @property
    def ledger(self) -> Ledger:
        """What the site has let out."""
        return Ledger(self.memory / "left.csv")

    def described(self) -> BackboneInfo:
        """Return the site's own backbone, without loading it.

        Raises
        ------
        UserError
            What `fedretune.backbones.describe` raises; or its fingerprint is not the pinned one.
        """
        info = describe(self.backbone)
        if info.fingerprint != self.backbone_sha256:
            raise UserError(
                f"The backbone '{self.backbone}' has the fingerprint {info.fingerprint}, and "
                f"backbone-sha256 in {SITE} is {self.backbone_sha256}. Find out which of them is "
                "right before you change either: a changed backbone can be made to leak images.",
                public="its backbone is not the one that it has pinned",
            )
        return info


def load_site(path: Path) -> SiteFile:
    """Read a ``site.toml``, or the one in a folder; make its paths absolute.

    Raises
    ------
    UserError
        It cannot be read, or a value is not allowed.
    """
    path = path.expanduser().absolute()
    file = path / SITE if path.is_dir() else path
    read = read_table(file, SiteFile)
    names = ("manifest", "cache", "memory", "root_certificate", "private_key", "policy", "peers")
    paths = {name: file.parent / getattr(read, name).expanduser() for name in names}
    backbone = absolute_backbone(file.parent, read.backbone)
    return read.model_copy(update={**paths, "backbone": backbone})


def absolute_backbone(folder: Path, backbone: str) -> str:
    """Return a backbone's name whose path, if it has one, is absolute, from `folder` on."""
    kind, colon, rest = backbone.partition(":")
    if colon and kind in KINDS:
        return f"{kind}:{folder / Path(rest).expanduser()}"
    path = folder / Path(backbone).expanduser()
    return str(path) if "/" in backbone and path.is_dir() else backbone
