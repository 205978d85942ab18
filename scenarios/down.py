"""What goes together with a compressed way down, and what does not."""

from typing import TYPE_CHECKING

from fedretune.compression import COMPRESSIONS, NONE
from fedretune.errors import UserError, one_of

if TYPE_CHECKING:
    from scenarios.config import RunConfig


def check_down(config: "RunConfig") -> None:
    """Raise `UserError` for an unknown `compression-down`, or a run that it makes no sense in."""
    name = one_of("compression-down", config.compression_down, [NONE, *COMPRESSIONS])
    if name == NONE:
        return
    how, end = f"compression-down = {name}", "leave compression-down out."
    if config.how.arrangement == "local":
        raise UserError(
            f"{how} is for the global adaptor, and with method '{config.method}' there is none: "
            f"{end}"
        )
    if config.averages_products:
        raise UserError(
            f"{how} sends what a round changed in each tensor, and with adaptor.averaging = exact "
            "a round writes the factors of LoRA anew: set adaptor.averaging = freeze-A, or "
            f"{end}"
        )
    if config.attack:
        raise UserError(f"{how}, and attacks are on whole adaptors: leave the attack out, or {end}")
