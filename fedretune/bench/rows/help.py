"""What a person waits for before the first word of the command line."""

from fedretune.bench.frame import Case, Sample, Side
from fedretune.bench.options import Options
from fedretune.bench.process import python
from fedretune.errors import UserError

_MAIN = ("-m", "fedretune.cli.main", "--help")
#: Fails if torch is in memory once the command line is.
_LIGHT = "import sys, fedretune.cli.main; assert 'torch' not in sys.modules, 'torch is imported'"


def row(options: Options) -> Case:
    """The start of ``fedretune --help``, against the start of Python."""
    ours = Side("a new process: fedretune --help", lambda: python(_MAIN))
    bare = Side("a new process: Python, which does nothing", _nothing)
    return Case("s", ours, bare, {"torch_imported": _imports_torch()})


def _nothing() -> Sample:
    return python(("-c", "pass"))


def _imports_torch() -> bool:
    try:
        python(("-c", _LIGHT))
    except UserError:
        return True
    return False
