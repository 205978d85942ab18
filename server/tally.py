"""What the replies of a round add up to, beside the adaptor."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedretune import wire


@dataclass
class Tally:
    """What the sound replies of a round add up to, in the order of the sites' names."""

    sites: int = 0
    examples: int = 0
    loss: float = 0.0

    def add(self, metrics: Mapping[str, wire.Value]) -> int:
        """Add a reply's; return its examples."""
        examples = int(str(metrics["num-examples"]))
        self.sites += 1
        self.examples += examples
        self.loss += float(str(metrics["loss"])) * examples
        return examples
