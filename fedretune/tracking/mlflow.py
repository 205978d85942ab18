"""MLflow, at the address of ``MLFLOW_TRACKING_URI``: without one nothing is sent anywhere."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedretune.errors import UserError

ADDRESS, EXPERIMENT = "MLFLOW_TRACKING_URI", "FedRETune"
#: By this tag a resumed run is found again.
TAG = "fedretune.folder"
#: MLflow takes a parameter's first 6,000 characters, and so many parameters at once.
LONGEST, TOGETHER = 6000, 100


class MLflow:
    """A run of the experiment `EXPERIMENT`, or of ``MLFLOW_EXPERIMENT_NAME``.

    Raises `UserError` where the package is missing, or no address is given.
    """

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
        if not os.environ.get(ADDRESS):
            raise UserError(
                f"{ADDRESS} is not set: it says where MLflow is, such as http://host:5000."
            )
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise UserError("MLflow is not installed: pip install 'fedretune[mlflow]'.") from error
        self._client: Any = MlflowClient(tracking_uri=os.environ[ADDRESS])
        self._id = ""

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Make a run with the config as its parameters, or find the one that is resumed."""
        from mlflow.entities import Param

        experiment = self._experiment()
        tag = f"tags.`{TAG}` = '{run}'"
        known = self._client.search_runs([experiment], tag, max_results=1) if step else []
        if known:
            self._id = known[0].info.run_id
            return
        made = self._client.create_run(experiment, tags={TAG: str(run)}, run_name=run.name)
        self._id = made.info.run_id
        parameters = [Param(key, str(value)[:LONGEST]) for key, value in config.items()]
        for first in range(0, len(parameters), TOGETHER):
            self._client.log_batch(self._id, params=parameters[first : first + TOGETHER])

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send a point of each curve."""
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def end(self) -> None:
        """Tell that the run is over."""
        if self._id:
            self._client.set_terminated(self._id)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))
