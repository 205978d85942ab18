"""The server's folder: certificates, the SuperLink's start script, and how to reach it."""

from fedretune.superlink.certificates import write_certificates
from fedretune.superlink.folder import NewServer, ServerFolder, init_server, open_server

__all__ = ["NewServer", "ServerFolder", "init_server", "open_server", "write_certificates"]
