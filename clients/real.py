"""A site that is no simulation. What it brings is said by its own ``site.toml`` alone.

The server's config says how to learn: of the paths, folders and addresses that it may name, none
is used here.
"""

import os
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import pandas as pd

from clients.rules import Rules
from clients.site import Site
from clients.world import World, world_of
from fedretune.data.manifest import load_manifest
from fedretune.errors import UserError
from fedretune.identity import read_private
from fedretune.privacy.ledger import PrivacyLedger
from fedretune.prompts import prompt_set_names
from fedretune.sites import SiteFile, load_site
from scenarios import RunConfig

#: What only a simulation can do, with the only value that a real site takes.
_SIMULATED = {"partition": "natural", "schedule": "synchronous", "attack": "", "failures": ""}


def open_real_site(config: RunConfig, path: Path) -> Site:
    """Return the site that a ``site.toml`` describes, in a run.

    Raises
    ------
    UserError
        Anything wrong with the site's files; or a config that only a simulation can follow.
    """
    site = load_site(path)
    try:
        _check_possible(config)
        privacy = PrivacyLedger(site.memory / "privacy.csv")
        key = partial(read_private, site.private_key)
        rules = Rules(site.read_policy(), site.ledger, privacy, key, site.read_peers)
        return Site(site.name, _open(config, site), rules)
    except UserError as error:
        raise UserError(f"{site.name}: {error}", public=f"{site.name}: {error.public}") from error


def _check_possible(config: RunConfig) -> None:
    for key, value in _SIMULATED.items():
        if getattr(config, key) != value:
            raise _impossible(f"{key} = {getattr(config, key)}")
    if config.how.arrangement == "central":
        raise _impossible(f"method = {config.method}")
    if config.adaptor.ranks:
        raise _impossible("adaptor.ranks")
    if config.prompts not in prompt_set_names():
        raise UserError(
            "The run's prompt set is none that comes with FedRETune, and a real site reads no "
            "file that a server names.",
            public="the prompt set is none that comes with FedRETune",
        )


def _impossible(what: str) -> UserError:
    public = f"{what[:80]} is for simulations"
    return UserError(f"The run says {what}, which is for simulations.", public=public)


@lru_cache(maxsize=2)
def _open(config: RunConfig, site: SiteFile) -> World:
    os.environ["FEDRETUNE_CACHE"] = str(site.cache)  # this process plays no other site
    site.described()
    manifest = load_manifest(site.manifest)
    table = manifest.table.assign(site=site.name)
    here = config.model_copy(
        update={
            "manifest": str(site.manifest),
            "backbone": site.backbone,
            "allow_hub": False,
            "device": site.device,
            "out": str(site.memory / "runs"),  # whose names a server chooses: none is the ledger's
            "arrival": arrival_of(site, table),
        }
    )
    return world_of(here, replace(manifest, table=table), 0)


def arrival_of(site: SiteFile, table: pd.DataFrame) -> str:
    """Return how a site's experiences are cut: as it says, or by what its manifest has."""
    if site.arrival != "auto":
        return site.arrival
    there = (name for name in ("experience", "date") if name in table and (table[name] != "").all())
    return next(there, "patients")
