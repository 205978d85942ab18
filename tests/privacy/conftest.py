from tests.cli.conftest import fedretune, out, refused  # noqa: F401
