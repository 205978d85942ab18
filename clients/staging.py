"""What a simulation adds to sites that are honest and well: attackers, and failures."""

from collections.abc import Callable, Sequence
from functools import partial

from flwr.app import Context, Message

from clients.attacks import attack_of, attackers_among
from clients.attacks.attackers import Attackers, attacking
from clients.failures import Failing
from clients.network import Ask, Network
from scenarios import RunConfig
from scenarios.failures import Failures

ClientCallable = Callable[[Message, Context], Message]


def staged(client_app: ClientCallable, config: RunConfig) -> tuple[ClientCallable, Network]:
    """Return the app that the sites run, and the network through which the server reaches them.

    An attacker that has crashed or left attacks nobody, so failures come first.

    Raises
    ------
    UserError
        What `clients.attacks.attack_of` raises.
    """
    networks: list[Network] = []
    if config.attack:
        attack = attack_of(config.attack, config.attack_strength)
        positions = attackers_among(config.nodes, config.attackers, config.seed)
        networks.append(Attackers(attack, frozenset(each + 1 for each in positions), config.seed))
        client_app = attacking(attack, client_app)
    if config.failures:
        networks.append(Failing(Failures.of(config.failures), config.seed))
    return client_app, partial(_through, networks)


def _through(networks: Sequence[Network], messages: Sequence[Message], ask: Ask) -> list[Message]:
    """Return what comes back through `networks`, the last of them nearest to the server."""
    if not networks:
        return ask(messages)
    *inner, outer = networks
    return outer(messages, partial(_through, inner, ask=ask))
