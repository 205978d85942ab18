"""A hospital's folder: what it brings, what it allows, and what it has let out.

``site.toml`` says what the site brings and ``policy.toml`` what it allows. Both are the site's own:
no message of a server changes or names them.
"""

from fedretune.sites.ledger import Ledger
from fedretune.sites.policy import Policy, Proposal
from fedretune.sites.site_file import SiteFile, load_site

__all__ = ["Ledger", "Policy", "Proposal", "SiteFile", "load_site"]
