"""`fedretune --version`."""

import fedretune as library


def test_the_version_is_told_to_stdout(fedretune):
    told = fedretune("--version")
    assert (told.code, told.out.strip()) == (0, f"fedretune {library.__version__}")
