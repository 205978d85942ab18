import os

import pytest

from fedretune.cli.apart import apart
from fedretune.errors import UserError


def test_the_work_is_done_by_another_process():
    assert apart(os.getpid) != os.getpid()
    assert apart(pow, 3, 4) == 81


def refuse():
    raise UserError("the file is torn", public="a file cannot be read")


def test_what_a_user_can_mend_arrives_whole():
    with pytest.raises(UserError, match="the file is torn") as error:
        apart(refuse)
    assert error.value.public == "a file cannot be read"


def vanish():
    os._exit(9)


def test_a_process_that_ends_without_a_result_is_named():
    with pytest.raises(UserError, match="exit code 9"):
        apart(vanish)
